"""The whole page: every kind of study renders, nothing is loaded from elsewhere, text is escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest

from mnist_scaling.reporting import figure_files, figures
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.pages import report_page
from mnist_scaling.reporting.text import Missing, power_of_ten
from mnist_scaling.reporting.words.report_words import opening
from tests.reporting.builder import load, refit, replace_cells

pytestmark = pytest.mark.slow

VOID = {"meta", "br", "link", "img", "hr", "input"}
ALL = {plot.name for plot in figures.FIGURES if not plot.detail}


class Page(HTMLParser):
    """Checks nesting and collects ids, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found[k] or "" for k in ("href", "src", "data", "action", "poster") if k in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def render(
    folder: Path, out: Path, formats: tuple[str, ...] = (), only: set[str] = ALL
) -> tuple[str, list[figure_files.Shown]]:
    study = load(folder)
    shown = figure_files.make_all(study, out, formats, 40, [p for p in figures.FIGURES if p.name in only])
    return report_page.page(study, shown), shown


@pytest.fixture(scope="module")
def normal(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[figure_files.Shown], Path]:
    out = tmp_path_factory.mktemp("figures")
    return (*render(grid, out, ("png", "svg", "pdf")), out)


def test_a_grid_gets_every_figure_in_every_format(normal: tuple[str, list[figure_files.Shown], Path]) -> None:
    _, shown, out = normal
    drawn = {s.plot.name for s in shown if s.svg}
    # A step of 2 in width is too coarse for isoFLOP curves here, and there is no record of what each cell tried.
    assert drawn == ALL - {"isoflop", "best_settings", "further_axes"}
    assert {p.name for p in out.iterdir()} == {f"{n}.{f}" for n in drawn for f in ("png", "svg", "pdf")}
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for path in out.iterdir():
        content = path.read_bytes()
        assert content.startswith(starts[path.suffix[1:]])
        assert len(content) > 2000


def test_the_page_is_well_formed_and_self_contained(normal: tuple[str, list[figure_files.Shown], Path]) -> None:
    text, shown, _ = normal
    page = Page(text)
    assert not page.tags & {"link", "img", "iframe", "object", "embed"}
    assert text.count("<script") == 2  # the draws and the one script, both in the page
    assert len(text) < 1_000_000
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "http" not in text
    drawn = [svg for svg in re.findall("<svg[^>]*>", text[: text.index("<script")]) if "0 0 310 206" not in svg]
    assert len(drawn) == sum(s.svg is not None for s in shown)  # beside the two of the sliders


def test_figures_on_a_dark_screen_have_its_colours_and_stay_light_in_files(
    normal: tuple[str, list[figure_files.Shown], Path],
) -> None:
    text, shown, _ = normal
    dark = text[text.index("@media screen and (prefers-color-scheme: dark)") : text.index("</style>")]
    drawn = "".join(s.svg for s in shown if s.svg)
    for part, colour in {*re.findall(r"(fill|stroke): (#[0-9a-f]{6})", drawn)}:
        rule = f'[style*="{part}: {colour}"] {{ {part}: '
        assert (rule in dark) == (colour not in (style.MUTED, style.ON_COLOUR))
    assert f'"stroke: {style.GRID}"] {{ stroke: var(--rule)' in dark
    assert "var(--" not in drawn


def test_it_says_what_came_out_and_what_did_not(normal: tuple[str, list[figure_files.Shown], Path]) -> None:
    text, _, _ = normal
    plain = re.sub(r"<[^>]+>", "", text)
    assert "16 cells (4 widths × 4 data fractions)" in plain
    assert "4 trials and its best setting confirmed by 3 repeats" in plain
    assert "What these data do not show" in plain
    row = r"−∂ ln L/∂ ln N\s*0\.\d+\s*\[[^]]*\]\s*(?:high|fair|low)[^\n]*?\s*"
    assert re.search(row + r"at N = [\d,]+, D = [\d,]+: with 1 % more parameters the loss changes by −0\.\d+ %", plain)
    assert "loss at 8 times the largest compute" in plain
    assert re.search(
        r"The law \w+ (describes these data|is the nearest,) within|No law is shown to hold: \w+ is the nearest", plain
    )
    assert "python -m mnist_scaling.fit name=grid" in plain
    assert re.search(r"Report written \d+ \w+ 20\d\d\.", plain)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_the_same_study_gives_the_same_bytes(grid: Path, tmp_path: Path) -> None:
    study = load(grid)
    plot = next(p for p in figures.FIGURES if p.name == "loss_vs_data")
    written = []
    for part in "ab":
        (tmp_path / part).mkdir()
        figure_files.save(figures.draw(plot, plot.prepare(study)), tmp_path / part, "x", ("svg", "pdf", "png"), 40)
        written.append([p.read_bytes() for p in sorted((tmp_path / part).iterdir())])
    assert written[0] == written[1]


ONE_AXIS = {
    "width": {"width": (4, 8, 16, 32)},
    "data": {"data_fraction": (0.125, 0.25, 0.5, 1.0)},
}


@pytest.mark.parametrize("axis", ONE_AXIS)
def test_one_axis(make: Callable[..., Path], tmp_path: Path, axis: str) -> None:
    text, shown = render(make(axes=ONE_AXIS[axis], noise=0.02), tmp_path / "figures")
    Page(text)
    drawn = {s.plot.name for s in shown if s.svg}
    assert "what_tuning_changed" in drawn
    other = "loss_vs_data" if axis == "width" else "loss_vs_parameters"
    assert other not in drawn
    assert "so there is no line to draw" in text
    assert "A frontier needs model size and data size to vary" in text


GRID = {"width": (4, 8, 16), "data_fraction": (0.25, 0.5, 1.0)}
ODD: dict[str, tuple[dict[str, object], list[str]]] = {
    "one repeat, no noise": ({"axes": GRID, "repeats": 1}, ["no cell has two repeats", "no error bars"]),
    "one trial, lost cells": (
        {"axes": GRID, "trials": 1, "without_trials": 2, "noise": 0.02},
        ["The loss of 2 of 9 cells", "no test loss"],
    ),
    "every cell of a size is lost": (
        {"axes": GRID, "without_trials": 3, "noise": 0.02},
        ["The loss of 3 of 9 cells", "Left out, because N or D is not known: 3 cells."],
    ),
    "further axis": (
        {"axes": {"width": (4, 8), "data_fraction": (0.5, 1.0), "depth": (1, 2)}, "noise": 0.02},
        ["Lines join cells that differ in this axis alone"],
    ),
    "two by two": (
        {"axes": {"width": (4, 8), "data_fraction": (0.5, 1.0)}, "trials": 2, "repeats": 2, "noise": 0.02},
        ["Fewer than three cells in a line"],
    ),
}  # fmt: skip
"""Options of the builder, and what the page must say."""


@pytest.mark.parametrize("kind", ODD)
def test_odd_studies_render_with_words(make: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    options, words = ODD[kind]
    text, shown = render(make(**options), tmp_path / "figures", only={*ALL, "winners_curse"})
    Page(text)
    for sentence in words:
        assert sentence in text
    assert "loss_vs_compute" in {s.plot.name for s in shown if s.svg}
    words = re.sub(r"<(svg|style|script).*?</\1>", "", text, flags=re.DOTALL)
    assert "nan" not in words.lower().split()


def test_a_study_whose_trials_are_gone(copy: Path, tmp_path: Path) -> None:
    (copy / "trials.csv").unlink()
    text, _ = render(copy, tmp_path / "figures", only={"pairs", "loss_vs_data"})
    Page(text)
    assert "112 runs" in text


def test_html_is_escaped(copy: Path, tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"
    fits = json.loads((copy / "fits.json").read_text())
    fits["flags"].append({"code": "odd", "severity": "error", "message": evil, "cells": [{"row": 2}, {"N": evil}]})
    fits["laws"]["power_N"]["status"] = evil
    fits["laws"][evil] = fits["laws"]["additive"]
    fits["frontier"]["isoflop"]["status"] = evil
    (copy / "fits.json").write_text(json.dumps(fits))
    study = json.loads((copy / "study.json").read_text())
    (copy / "study.json").write_text(json.dumps(study | {"command": evil, "versions": {"torch": evil}, evil: evil}))
    cells = pd.read_csv(copy / "cells.csv")
    cells["flags"] = cells["flags"].astype(object)
    cells.loc[3, "flags"] = evil
    replace_cells(copy, cells)
    text, _ = render(copy, tmp_path / "figures", only={"isoflop", "what_tuning_changed"})
    Page(text)
    assert text.count("<script") == 2
    assert text.count("&lt;script&gt;") >= 8
    severities = re.findall(r'class="flag (\w+)"', text)
    assert severities == sorted(severities, key=report_page.SEVERITIES.index)
    assert severities[0] == "error"


def test_a_figure_that_can_no_longer_be_drawn_loses_its_files(copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures"
    out.mkdir()
    stale, foreign = out / "isoflop.png", out / "mine.png"
    stale.touch()
    foreign.touch()
    render(copy, out, only={"isoflop"})
    assert not stale.exists()
    assert foreign.exists()


def test_drawing_leaves_matplotlib_as_it_was(grid: Path) -> None:
    before = dict(mpl.rcParams)
    assert not isinstance(figures.show(load(grid), "loss_vs_data"), Missing)
    assert dict(mpl.rcParams) == before
    pyplot = __import__("matplotlib.pyplot").pyplot
    assert pyplot.get_fignums() == []


def test_a_misspelt_figure_names_the_known(grid: Path) -> None:
    with pytest.raises(KeyError, match="loss_vs_data"):
        figures.show(load(grid), "loss_vs_dta")


def test_names_and_captions_are_complete() -> None:
    assert len({plot.name for plot in figures.FIGURES}) == len(figures.FIGURES)
    for plot in figures.FIGURES:
        assert plot.caption.endswith(".")
        assert re.fullmatch(r"[a-z_]+", plot.name)


def test_cells_where_tuning_saved_nothing_are_counted(copy: Path, tmp_path: Path) -> None:
    cells = pd.read_csv(copy / "cells.csv")
    cells.loc[[0, 5], "repeat_val_loss"] *= 3
    replace_cells(copy, cells)
    refit(copy)
    text, _ = render(copy, tmp_path / "figures", only={"what_tuning_changed"})
    assert "and nothing in 2 of 16, whose untuned loss is no worse" in text


def test_the_cost_is_what_was_spent_and_ranges_are_those_of_every_cell(copy: Path, tmp_path: Path) -> None:
    trials = pd.read_csv(copy / "trials.csv")
    trials["flops_spent"] = trials["flops"] * 3
    trials.loc[0, "flops_spent"] = None  # a run that ended before it knew
    trials.to_csv(copy / "trials.csv", index=False)
    ranges = {1e-1: range(14), 1e0: range(14, 16)}
    for high, cells in ranges.items():
        for i in cells:
            text = json.dumps({"name": "FloatDistribution", "attributes": {"low": 1e-3, "high": high, "log": True}})
            record = {"keys": {}, "axes": {"width": i}, "space": {"optim.lr": text}}
            (copy / f"width={i}").mkdir()
            (copy / f"width={i}" / "cell.json").write_text(json.dumps(record))
    text, _ = render(copy, tmp_path / "figures", only=set())
    spent = 3 * trials["flops"].sum() - 2 * trials.loc[0, "flops"]
    assert f"{power_of_ten(float(spent))} training FLOPs" in text
    assert "0.001 to 0.1, logarithmic in 14 cells; 0.001 to 1, logarithmic in 2 cells" in text


def test_how_far_the_cells_are_tuned_is_said(copy: Path, tmp_path: Path) -> None:
    cells = pd.read_csv(copy / "cells.csv")
    cells["expected_gain"], cells["noise"] = 0.004, 0.02
    cells["tuned"] = ["yes"] * (len(cells) - 1) + ["no"]
    cells["widened"] = ["batch_size"] + [""] * (len(cells) - 1)
    cells["importance_lr"], cells["importance_batch_size"] = 0.75, 0.25
    replace_cells(copy, cells)
    assert set(load(copy).axes) == {"width", "data_fraction"}
    text, _ = render(copy, tmp_path / "figures", only={"loss_vs_data"})
    assert f"<b>{len(cells) - 1} of {len(cells)} cells are certified tuned:</b>" in text
    assert "a gain of 0.40 % against a noise of 2.0 %. 1 cell had a range widened on the way." in text
    assert "learning rate explains 75 % and batch size explains 25 %" in text
    assert "widened: batch size" in text


def test_what_became_of_irregularities_stands_below_the_flags(copy: Path, tmp_path: Path) -> None:
    one = {"code": "search_edge", "cell": "width=4", "status": "gone", "before": 0.5, "after": 0.25}
    slope = {"value": 0.3, "low": 0.2, "high": 0.4}
    record = {"before": {"slope_N": slope}, "now": {"slope_N": {**slope, "value": 0.35}}, "earlier": []}
    (copy / "resolve.json").write_text(json.dumps({**record, "outcomes": [one]}))
    text, _ = render(copy, tmp_path / "figures", only={"hold_out"})
    Page(text)
    (said,) = (line for line in text.splitlines() if "Of 1: 1 gone. The fit moved: slope N 0.300" in line)
    assert said.index("0.300") < said.index("0.350")
    row = text[text.index("search_edge</td>") :][:200]
    assert row.index("width=4") < row.index("gone") < row.index("0.5000") < row.index("0.2500")


def test_a_study_that_is_not_fitted_has_a_page_of_its_cells(copy: Path, tmp_path: Path) -> None:
    (copy / "fits.json").unlink()
    cells = pd.read_csv(copy / "cells.csv").head(1)
    cells.to_csv(copy / "cells.csv", index=False)
    alone = {"isoflop", "what_tuning_changed", "best_settings"}
    text, _ = render(copy, tmp_path / "figures", only={"pairs", "hold_out", "loss_vs_data", *alone})
    Page(text)
    assert text.count("because one cell shows no slope") >= 3 + len(alone)  # and not: run `fit`, which refuses
    assert "fits.json in" not in text
    assert "run it" not in text
    assert "No law is fitted, because one cell shows no slope: give an axis more values." in text
    assert 'id="what-if"' not in text
    words = re.sub(r"<(svg|style|script).*?</\1>", "", text, flags=re.DOTALL)
    assert "nan" not in words.lower().split()
    assert set(re.findall(r'<tr data-cell="(\d+)"', text)) == {"0"}


def test_the_page_of_a_program_of_ones_own_with_small_losses_says_how_large_they_are(make: Callable[..., Path]) -> None:
    folder = make(noise=0.03)
    for table in (folder / "cells.csv", folder / "trials.csv"):
        rows = pd.read_csv(table)
        rows[[c for c in rows if "loss" in c]] *= 0.01
        if table.name == "cells.csv":
            rows[["flops", "test_error", "test_error_se"]] = None
            replace_cells(folder, rows)
        else:
            rows.to_csv(table, index=False)
    refit(folder)
    text, _ = render(folder, folder / "figures", only={"loss_map", "loss_vs_compute"})
    cells = text[text.index('id="cells"') :]
    shown = re.findall(r"<td>(0\.\d+)(?: ± (0\.\d+))?</td>", cells)
    assert shown
    assert all(float(part) for pair in shown for part in pair if part)
    assert "FLOPs</button>" not in cells
    assert "test error (%)" not in cells
    assert "The table names no training FLOPs." in text
    study = load(folder)
    of_n = replace(study, axes=("width", "n"), cells=study.cells.assign(n=study.cells["data_fraction"]))
    assert "16 cells (4 widths × 4 values of n);" in opening(of_n)[0]


def test_a_study_whose_cells_are_not_repeated_yet_has_a_page(copy: Path, tmp_path: Path) -> None:
    """As a sweep leaves it that is stopped while its cells are tuned."""
    (copy / "fits.json").unlink()
    cells = pd.read_csv(copy / "cells.csv")
    cells[[c for c in cells if c.startswith(("test_", "repeat_"))]] = None
    cells["n_repeats"] = 0
    cells.to_csv(copy / "cells.csv", index=False)
    trials = pd.read_csv(copy / "trials.csv")
    trials[trials["stage"] == "trial"].to_csv(copy / "trials.csv", index=False)
    text, shown = render(copy, tmp_path / "figures", only={plot.name for plot in figures.FIGURES})
    Page(text)
    assert "loss_map" in {one.plot.name for one in shown if one.svg is None}
    assert "0 of them measured" in text
    assert "its best setting not repeated yet" in text
