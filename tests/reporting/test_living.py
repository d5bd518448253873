"""What the page's script lives on: points that know their cell and their numbers, draws, a checklist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mnist_scaling.asking.drawn import ARM, answer_figure, draw_answer
from mnist_scaling.config.ask_schema import FigureSpec
from mnist_scaling.reporting import figure_files, marks
from mnist_scaling.reporting.documents.comparison_json import Pair
from mnist_scaling.reporting.documents.json_form import read
from mnist_scaling.reporting.figures import show, style
from mnist_scaling.reporting.pages import HERE, answer_page, comparison_page
from mnist_scaling.reporting.text import TextTable
from mnist_scaling.reporting.words.checklist import checklist
from tests.reporting.builder import load

NODE = shutil.which("node")


def points(svg: str) -> pd.DataFrame:
    """Data of every point that knows its cell."""
    found = re.findall(r'data-x="([^"]*)" data-y="([^"]*)"[^>]*?data-cell="([^"]*)"', svg)
    return pd.DataFrame(found, columns=["x", "y", "cell"])


def drawn(kind: str) -> tuple[str, np.ndarray]:
    """Three points, one of them without a number, in two panels' worth of markup."""
    x, y = np.array([1.0, 2.0, 3.0]), np.array([0.123456, np.nan, 0.3])
    with style.theme():
        figure = style.new_figure()
        axes = figure.subplots()
        artist = {
            "errorbar": lambda: axes.errorbar(x, y, [0.1, 0.1, 0.1], fmt="o-"),
            "plot": lambda: axes.plot(x, y, "o"),
            "scatter": lambda: axes.scatter(x, y),
        }[kind]()
        axes.axhline(0.2)
        style.identify(artist, [7, 8, 9])
    return str(figure_files.on_page(figure, "name", "Title", {"p-7": "the seventh"}, "p-")), y


@pytest.mark.parametrize("kind", ["errorbar", "plot", "scatter"])
def test_each_point_that_is_drawn_knows_its_cell_and_its_numbers(kind: str) -> None:
    svg, _ = drawn(kind)
    found = points(svg)
    assert found["cell"].tolist() == ["p-7", "p-9"]
    assert found["x"].tolist() == ["1", "3"]
    assert found["y"].tolist() == ["0.12346", "0.3"]
    bar = " [0.023456, 0.22346]" if kind == "errorbar" else ""
    assert f"<title>the seventh\nx: 1\ny: 0.12346{bar}</title>" in svg
    assert ('data-y-low="0.023456" data-y-high="0.22346"' in svg) == (kind == "errorbar")
    assert "http" not in svg
    assert set(re.findall(r'(?: id|href)="#?([^"]*)"', svg)) <= set(re.findall(r'"#?(name-[^"]*)"', svg))


def test_points_that_are_drawn_as_an_image_show_on_a_page() -> None:
    with style.theme():
        figure = style.new_figure()
        figure.subplots().scatter([1, 2], [1, 2], rasterized=True)
    (image,) = re.findall(r"<image [^>]*>", figure_files.on_page(figure, "name", "Title", {}))
    assert ' href="data:image/png;base64' in image  # with a prefix, a page takes it for no address


def test_a_line_of_one_cell_knows_it_and_wrong_numbers_of_cells_are_refused() -> None:
    with style.theme():
        figure = style.new_figure()
        axes = figure.subplots()
        (line,) = axes.plot(range(1, 40), range(1, 40))
        style.identify(line, [3])
        with pytest.raises(ValueError, match="longer"):
            style.identify(line, [3, 4])
    svg = figure_files.on_page(figure, "name", "Title", {})
    (group,) = re.findall(r"<g [^>]*data-cell[^>]*>", svg)
    assert 'data-cell="3"' in group
    assert 1 < group.count(";") < marks.LONGEST


def test_series_are_told_apart_by_the_key_of_the_figure() -> None:
    with style.theme():
        figure = style.new_figure()
        axes = figure.subplots()
        for colour in ("#c8553d", "#1f6f9f"):
            axes.errorbar([1, 2], [1, 2], [0.1, 0.1], fmt="o", color=colour, capsize=2)
        style.key(figure, "arm", {"$a$": "#c8553d", "b": "#1f6f9f"})
    svg = figure_files.on_page(figure, "name", "Title", {})
    for series in ("a", "b"):  # the line, its bars and both caps: all that has to be hidden with it
        assert svg.count(f'data-series="{series}"') == 4


@pytest.mark.slow
def test_points_of_a_study_are_its_cells(grid: Path) -> None:
    study = load(grid)
    figure = show(study, "loss_vs_compute")
    found = points(figure_files.on_page(figure, "x", "X", {})).set_index("cell")  # type: ignore[arg-type]
    assert set(found.index) == {str(i) for i in pd.read_csv(grid / "cells.csv").index}
    for column, name in (("C", "x"), ("loss", "y")):
        measured = study.cells[column].set_axis(study.cells.index.map(str))
        assert found[name].astype(float).to_numpy() == pytest.approx(measured[found.index].to_numpy(), rel=1e-4)


@pytest.mark.slow
def test_kept_surfaces_give_the_losses_that_are_quoted(grid: Path) -> None:
    headline = load(grid).fits.headline
    kept = headline.draws
    assert kept is not None
    loss = np.array(kept.loss)
    assert loss.shape == (len(kept.floor), len(kept.C))
    assert len(kept.floor) >= 200
    for place, one in enumerate(headline.loss, len(kept.C) - len(headline.loss)):
        assert kept.C[place] == pytest.approx(one.C, rel=1e-3)
        assert np.median(loss[:, place]) == pytest.approx(one.value, rel=0.01)
        assert np.quantile(loss[:, place], 0.975) == pytest.approx(one.high, rel=0.05)
    assert (np.array(kept.floor) <= loss.min(axis=1) * 1.001).all()


@pytest.mark.slow
def test_every_question_of_the_checklist_has_an_answer_from_the_study(grid: Path) -> None:
    found = {question: str(answer) for part in checklist(load(grid)) for question, answer in part.rows}
    assert len(found) >= 20
    assert all(found.values())
    assert "nan" not in " ".join(found.values())
    assert found["How many models, of which sizes, on how much data?"].startswith("16 cells, ")
    assert "tuned in every cell by itself, in 4 trials" in found["How were hyperparameters chosen?"]


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_script_reads_numbers_as_people_write_them() -> None:
    source = (HERE / "living.js").read_text(encoding="utf-8")
    function = source[source.index("const RAISED") : source.index("function sort")]
    texts = [
        "1/16",
        "50k",
        "1.2 × 10¹³",
        "2.0 × 10⁻³",
        "−0.30",
        "0.280 [0.250, 0.310]",
        "20,490",
        "12 + 3",
        "adam",
        "—",
    ]
    code = f"{function}; console.log(JSON.stringify({json.dumps(texts)}.map(value)))"
    done = subprocess.run([str(NODE), "-e", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == pytest.approx([0.0625, 5e4, 1.2e13, 2e-3, -0.3, 0.28, 20490, 12, None, None])
    assert len(source) < 10_100
    assert "http" not in source


@pytest.mark.slow
def test_squares_of_a_map_are_cells(grid: Path) -> None:
    study = load(grid)
    svg = figure_files.on_page(show(study, "loss_map"), "x", "X", {})  # type: ignore[arg-type]
    found = dict(re.findall(r'data-value="([^"]*)" data-cell="([^"]*)"', svg))
    assert len(found) == len(study.cells)
    for value, cell in found.items():
        assert float(value) == pytest.approx(study.cells.loc[int(cell), "loss"], rel=1e-4)


def rows_and_points(text: str) -> tuple[set[str], set[str]]:
    """Cells that a page's tables list, and those that its figures know."""
    drawn = "".join(re.findall(r"<figure.*?</figure>", text, flags=re.DOTALL))
    return set(re.findall(r'<tr data-cell="([^"]*)"', text)), set(re.findall(r'data-cell="([^"]*)"', drawn))


def test_points_of_a_comparison_are_rows_of_its_table_pair_by_pair() -> None:
    sizes = [(n, d) for n in (1e3, 4e3) for d in (1e4, 4e4)]
    points = [{"N": n, "D": d, "C": 6 * n * d, "loss_a": 9 / n**0.2, "loss_b": 8 / d**0.2} for n, d in sizes]
    exponent = {"value": 0.1, "low": 0.05, "high": 0.2}
    pair = {
        "arms": [{"name": "adam", "cells": 4}, {"name": "sgd", "cells": 4}],
        "paired": True,
        "cells": 4,
        "points": points,
        "slopes": {k: {"a": exponent, "b": exponent, "difference": exponent} for k in ("alpha", "beta")},
        "verdict": {"alpha": "differs", "beta": "not settled", "offset": "not settled"},
        "settings": {"draws": 10, "level": 0.95, "seed": 0},
        "margin": 0.03,
        "settling": {"C": 3e10, "p_better": 0.2, "noise_share": 0.3, "runs": 2.4, "trials": 2.0, "repeats": 1.5},
        "target": {"C": 1e12, "reach": 8.0, "p_better": 0.9, "ratio": exponent},
    }
    text = comparison_page.page(read(Pair, pair | {"pairs": [pair, pair]}), "two pairs")
    listed, drawn = rows_and_points(text)
    assert listed == drawn == {f"{place}-{i}" for place in (0, 1) for i in range(4)}
    assert 'data-series="sgd"' in text
    assert "http" not in text
    assert text.count("adam has the lower loss with a probability of 0.80") == 2
    assert text.count("should settle it in 4 of 5 cases") == 2
    assert text.count("8.00 times the most that both cover, sgd has the lower loss with a probability of 0.90") == 2


def test_points_of_an_answer_are_rows_of_its_table() -> None:
    arms = pd.DataFrame({"n_params": [1e3, 2e3] * 2, "loss": [0.4, 0.3, 0.5, 0.45], ARM: ["one"] * 2 + ["two"] * 2})
    with style.theme():
        figure = draw_answer(answer_figure(arms, FigureSpec(x="n_params", y="loss", colour=ARM), {}))
    cells = TextTable([ARM, "loss"], arms[[ARM, "loss"]].to_numpy().tolist(), ids=[f"part-{i}" for i in arms.index])
    record: dict[str, Any] = {
        "name": "part",
        "title": "T",
        "question": "Q?",
        "sentence": "S.",
        "short": "In short.",
        "notes": [],
        "numbers": {},
        "words": {},
    }
    record |= {"cells": 4, "minutes": 1.0, "studies": {}, "trust": "fair", "reasons": ["few cells"]}
    svg = figure_files.on_page(figure, "part", "T", cells.cells, "part-")
    text = answer_page.page("T", "Q?", "smoke", [answer_page.Section(record, svg, "x.svg", cells)], "ask", "x.json")
    listed, drawn = rows_and_points(text)
    assert listed == drawn == {f"part-{i}" for i in range(4)}
    assert "<title>arm two, loss 0.45\n" in text
