"""``python -m mnist_scaling.report``: draw a study's figures and write its report.html."""

from __future__ import annotations

from dataclasses import dataclass

import hydra
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.config import build, register, require
from mnist_scaling.reporting import figure_files, html, loading
from mnist_scaling.study import layout, missing
from mnist_scaling.study.files import write_atomically
from mnist_scaling.study.layout import REPORT


@dataclass(frozen=True)
class ReportConfig:
    """A report: of which study, and the files of its figures."""

    name: str | None = None
    """A study in multirun/ that has been fitted."""
    formats: tuple[str, ...] = ("png", "svg", "pdf")
    """Formats of the files in figures/; the page has its own copies."""
    dpi: int = 200
    """Resolution of the PNGs."""

    def __post_init__(self) -> None:
        require(bool(self.name), "`name` must be a study in multirun/, but none was given: add name=STUDY.")
        wrong = sorted(set(self.formats) - set(figure_files.FORMATS))
        require(not wrong, f"`formats` must be of {', '.join(figure_files.FORMATS)}, but got {', '.join(wrong)}.")
        require(30 <= self.dpi <= 1200, f"`30 <= dpi <= 1200` must hold, but got {self.dpi}.")


register("report", ReportConfig)


@hydra.main(config_path=cli.conf_dir(), config_name="report")
def main(cfg: DictConfig) -> None:
    """Read, draw, write, say where."""
    with cli.user_errors("report"):
        write(build(ReportConfig, cfg))


def write(config: ReportConfig) -> None:
    """Figures and page of one study."""
    folder = layout.study_folder(str(config.name))
    loaded = loading.load(folder)
    missing.warn(folder)
    shown = figure_files.make_all(loaded, folder / layout.FIGURES, config.formats, config.dpi)
    write_atomically(folder / REPORT, html.page(loaded, shown))
    for figure in shown:
        if figure.svg is None:
            print(f"Not drawn: {figure.plot.name}. {figure.note}")
    print(f"Figures: {folder / layout.FIGURES}")
    print(f"Report:  {folder / REPORT}")


if __name__ == "__main__":
    cli.run(main, "report")
