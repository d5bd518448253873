"""The notebook runs from top to bottom on a small study, and is committed without outputs."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "explore_study.ipynb"


def code_cells() -> list[dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, object]) -> object:
    """Execute a cell and return the value of its last expression, as Jupyter would show it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names) if last else None


def test_every_cell_runs(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(grid.parent.parent)
    monkeypatch.setenv("STUDY", grid.name)
    names: dict[str, object] = {}
    sources = ["".join(line for line in cell["source"] if not line.startswith("%")) for cell in code_cells()]
    shown = [run_cell(source, names) for source in sources]
    assert sum(isinstance(value, Figure) for value in shown) == 3
    refit = names["rows"]
    assert isinstance(refit, list)
    alpha = next(row for row in refit if row["parameter"] == "alpha")
    assert alpha["low"] < 0.3 < alpha["high"]  # the builder's law


def test_without_its_study_it_says_so_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY", "nope")
    source = "".join(line for line in code_cells()[0]["source"] if not line.startswith("%"))
    with pytest.raises(SystemExit, match=r"there is no multirun/nope: run a study first\. STUDY=… names another one\."):
        run_cell(source, {})


def test_outputs_are_stripped() -> None:
    for cell in code_cells():
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
