"""The notebooks: each is its Markdown, run in order, and says what a fresh run says."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of Jupyter's own packages

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("render", ROOT / "notebooks/render.py")
assert SPEC is not None
assert SPEC.loader is not None
RENDER = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(RENDER)
SOURCES = RENDER.sources()

MOST_BYTES = 400_000
"""Of a notebook: it is browsed, and changes are kept for ever."""

CLOSE = {"rel": 0.02, "abs": 0.011}
"""Last digits that another processor may round otherwise, for numbers that are computed from kept tables."""

TRAINED = {"rel": 0.25, "abs": 0.05}
"""For those of networks that are trained on the spot: another processor's rounding leads to other weights."""


@pytest.fixture(scope="module")
def folder(data_dir: str) -> Iterator[Path]:
    """Where all of them are run, as `make notebooks` does."""
    with RENDER.clean_folder() as place:
        yield place


def kept(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), 4)


def code(notebook: nbformat.NotebookNode) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell: Any) -> str:
    """What a cell prints, and its value as text."""
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


def numbers(text: str) -> list[float]:
    """Every number of a text; a true minus counts as one."""
    return [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", text.replace("−", "-"))]


def words(text: str) -> str:
    """A text without its numbers, and without the spaces and rules that go with their lengths."""
    return re.sub(r"[\s─]+", " ", re.sub(r"[−-]?\d+(\.\d+)?(e[+-]?\d+)?", "#", text))


def kinds(cell: Any) -> list[Any]:
    """What each output of a cell is: a stream's name, or the forms of a value or a figure."""
    return [output.get("name") or sorted(output.get("data", {})) for output in cell.outputs]


def test_there_are_seven() -> None:
    assert [source.stem[:2] for source in SOURCES] == [f"{n:02d}" for n in range(1, 8)]
    assert {p.stem for p in SOURCES} == {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_kept_notebook_is_its_source_run_in_order(source: Path) -> None:
    notebook, written = kept(source), jupytext.read(source)
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in written.cells]
    assert [cell.execution_count for cell in code(notebook)] == [*range(1, len(code(notebook)) + 1)]
    assert source.with_suffix(".ipynb").stat().st_size < MOST_BYTES


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_page_says_what_it_is_for_and_ends_with_things_to_try(source: Path) -> None:
    text = [cell.source for cell in kept(source).cells if cell.cell_type == "markdown"]
    assert re.match(r"# \d\. .+\n\nAfter this page you can ", text[0]) or "After this page you can" in text[0]
    assert re.search(r"## Try it\n\n1\. [\s\S]+\n2\. [\s\S]+", text[-1])


CLAIMS = {
    "02_tuning_one_cell": (
        "there the learning rate's is the largest", "certificate_sentence",
        lambda told: max(re.findall(r"([a-z ]+?) explains (\d+)", told), key=lambda one: int(one[1]))[0][-4:] == "rate",
    ),
    "03_scaling_laws": (
        "Its intervals miss zero", "plane_table",
        lambda told: all(low * high > 0 for low, high in intervals(told)),
    ),
    "05_two_studies": (
        'Every verdict here is "not settled"', r"_summary\(pair|exponent_table",
        lambda told: set(re.findall(r"\] +(not settled|differs|equivalent)", told)) == {"not settled"},
    ),
    "06_your_table": ("Both intervals end below 1", "found.sentence", lambda told: ends(told) < 1),
    "07_the_exercise": ("Its interval ends below 1", r'"accuracy"\).sentence', lambda told: ends(told) < 1),
}  # fmt: skip
"""By notebook: what its text says of numbers that may change, the calls that print these, and whether they say so."""


def intervals(text: str) -> list[tuple[float, float]]:
    """Every [low, high] of a text."""
    return [(float(low), float(high)) for low, high in re.findall(r"\[(-?[\d.]+), (-?[\d.]+)\]", text)]


def ends(text: str) -> float:
    """The largest end of the intervals of a text."""
    return max(high for _, high in intervals(text))


@pytest.mark.parametrize("name", CLAIMS)
def test_what_the_text_says_of_its_numbers_is_so(name: str) -> None:
    claim, calls, holds = CLAIMS[name]
    notebook = kept(RENDER.FOLDER / f"{name}.md")
    assert any(claim in " ".join(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    told = [" ".join(printed(cell).split()) for cell in code(notebook) if re.search(calls, cell.source)]
    assert told
    assert all(map(holds, told)), told


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_fresh_run_says_the_same(source: Path, folder: Path) -> None:
    fresh = RENDER.execute(source, folder)
    for old, new in zip(code(kept(source)), code(fresh), strict=True):
        tags = old.metadata.get("tags", [])
        assert "stderr" not in kinds(old) + kinds(new), printed(new)
        if "varies" in tags:
            continue
        assert kinds(old) == kinds(new), old.source
        assert words(printed(old)) == words(printed(new)), old.source
        close = TRAINED if "trains" in tags else CLOSE
        assert numbers(printed(old)) == pytest.approx(numbers(printed(new)), **close), old.source
