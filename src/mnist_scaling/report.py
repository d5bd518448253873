"""``python -m mnist_scaling.report``: draw the figures of a fitted study or table and write its report.html."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import hydra
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.config import JSON, PRINTED, TEXT, build, one_of, register, require
from mnist_scaling.errors import InputError
from mnist_scaling.reporting import figure_files
from mnist_scaling.reporting.documents import loading
from mnist_scaling.reporting.figures import FIGURES
from mnist_scaling.reporting.pages import index_page, report_page
from mnist_scaling.study import layout, missing
from mnist_scaling.study.files import write_atomically


@dataclass(frozen=True)
class ReportConfig:
    """A report: of which fits, and the files of its figures."""

    name: str | None = None
    """A study in multirun/ that has been fitted, or one elsewhere by the path of its folder; all: an index of
    multirun/."""
    fits: str | None = None
    """Instead of a study: the fits.json that `fit` wrote for any table, or its folder."""
    out: str | None = None
    """Folder of the page and its figures; that of fits.json by default."""
    formats: tuple[str, ...] = ("png", "svg", "pdf")
    """Formats of the files in figures/; the page has its own copies."""
    dpi: int = 200
    """Resolution of the PNGs."""
    details: bool = False
    """Whether the page holds every figure, and not only those that answer a question."""
    format: str = TEXT
    """What is printed: text, or json: where the page and its figures are, for scripts."""

    def __post_init__(self) -> None:
        given = "both" if self.name and self.fits else "neither"
        require(
            bool(self.name) != bool(self.fits),
            f"Exactly one of `name` and `fits` must be given, but got {given}: `name` must be a study in multirun/, "
            "`fits` the folder that `fit table=… out=FOLDER` wrote to.",
        )
        require(
            not self.out or self.name != layout.ALL, "`out` must go with one study, but got name=all: leave it out."
        )
        one_of("format", self.format, PRINTED)
        wrong = sorted(set(self.formats) - set(figure_files.FORMATS))
        require(not wrong, f"`formats` must be of {', '.join(figure_files.FORMATS)}, but got {', '.join(wrong)}.")
        require(30 <= self.dpi <= 1200, f"`30 <= dpi <= 1200` must hold, but got {self.dpi}.")

    @property
    def folder(self) -> Path:
        """Folder of fits.json."""
        if not self.fits:
            return layout.found_folder(str(self.name))
        path = Path(self.fits)
        path = path / layout.FITS if path.is_dir() else path
        if path.name != layout.FITS or not path.is_file():
            raise InputError(
                f"`fits` must be a {layout.FITS} or its folder, but {self.fits} is neither: fit a table first with "
                "`python -m mnist_scaling.fit table=FILE.csv columns.loss=… out=FOLDER`."
            )
        return path.parent


register("report", ReportConfig)


@hydra.main(config_path=cli.conf_dir(), config_name="report")
def main(cfg: DictConfig) -> None:
    """Read, draw, write, say where."""
    with cli.user_errors("report"):
        config = build(ReportConfig, cfg)
        with contextlib.redirect_stdout(sys.stdout if config.format == TEXT else sys.stderr):
            made = write_index(Path(layout.MULTIRUN)) if config.name == layout.ALL else write(config)
        if config.format == JSON:
            print(json.dumps({kind: str(path) for kind, path in made.items()}, indent=1))


def write_index(folder: Path) -> dict[str, Path]:
    """The page of all studies, comparisons and answers; where it is."""
    path = folder / index_page.NAME
    write_atomically(path, index_page.page(folder))
    print(f"Index: {path}")
    return {"index": path}


def write(config: ReportConfig) -> dict[str, Path]:
    """Figures and page of what was fitted, and where they are; for several arms, a page of each and one that holds them
    side by side."""
    folder = config.folder
    arms = loading.load_arms(folder)
    if config.name:
        missing.note_kept(folder)
        missing.warn(folder)
    folder = Path(config.out) if config.out else folder
    for old in folder.glob(layout.arm_page("*")):
        if report_page.KICKER in old.read_text(encoding="utf-8", errors="replace"):  # of arms that there may be no more
            old.unlink()
    if len(arms) == 1:
        _page(arms[0], folder / layout.FIGURES, folder / layout.REPORT, config)
    else:
        names = layout.arm_names([arm.arm for arm in arms])
        for arm, name in zip(arms, names, strict=True):
            _page(arm, folder / layout.FIGURES / name, folder / layout.arm_page(name), config)
        pages = [layout.arm_page(name) for name in names]
        compared = loading.load_comparison(arms[0])
        write_atomically(folder / layout.REPORT, report_page.overview(arms, pages, compared, folder))
    more = "" if config.details else "  (details=true draws more)"
    print(f"Figures: {folder / layout.FIGURES}{more}")
    print(f"Report:  {folder / layout.REPORT}")
    return {"report": folder / layout.REPORT, "figures": folder / layout.FIGURES}


def _page(arm: loading.Study, figures: Path, page: Path, config: ReportConfig) -> None:
    """Figures and page of one arm; figures that can't be drawn are named."""
    plots = [plot for plot in FIGURES if config.details or not plot.detail]
    for old in (figures / f"{p.name}.{suffix}" for p in FIGURES if p not in plots for suffix in figure_files.FORMATS):
        old.unlink(missing_ok=True)  # of another fit
    shown = figure_files.make_all(arm, figures, config.formats, config.dpi, plots)
    write_atomically(page, report_page.page(arm, shown, figures_at=str(figures.relative_to(page.parent))))
    absent = [figure for figure in shown if figure.svg is None]
    if not arm.is_study:
        trials = [figure.plot.name for figure in absent if figure.plot.needs_trials]
        print(f"Left out: {', '.join(trials)}, which need a study's trials.")
        absent = [figure for figure in absent if not figure.plot.needs_trials]
    for figure in absent:
        print(f"Not drawn: {f'{arm.arm}: ' if arm.arm else ''}{figure.plot.name}. {figure.note}")


if __name__ == "__main__":
    cli.run(main, "report")
