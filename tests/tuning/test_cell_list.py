"""A sweep over an explicit list of cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.errors import HydraException

from mnist_scaling import cli
from mnist_scaling.errors import InputError, explain
from mnist_scaling.tuning.cell import partitioning

from .helpers import make_cells

CSV = "model.width,data.fraction,optim\n4,0.5,sgd\n8,0.25,adam\n"
YAML = """
- {model.width: 4, data.fraction: 0.5, optim: sgd}
- model: {width: 8}
  data.fraction: 0.25
  optim: adam
"""


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(("name", "text"), [("a.csv", CSV), ("a.yaml", YAML)])
def test_the_cells_are_those_of_the_list_and_its_columns_are_the_axes(tmp_path: Path, name: str, text: str) -> None:
    cells = make_cells(listed=partitioning.read_cell_list(write(tmp_path, name, text)))
    assert [cell.axes for cell in cells] == [
        {"width": 4, "data_fraction": 0.5, "optimizer": "sgd"},
        {"width": 8, "data_fraction": 0.25, "optimizer": "adam"},
    ]
    assert [cell.values["optim.name"] for cell in cells] == ["sgd", "adam"]


def test_a_listed_cell_is_the_same_cell_as_in_a_grid(tmp_path: Path) -> None:
    (listed,) = make_cells(
        listed=partitioning.read_cell_list(write(tmp_path, "a.csv", "model.width,data.fraction\n4,0.5\n"))
    )
    of_grid = make_cells("data.fraction=0.5,1", "model.width=4,8")[0]
    assert (listed.name, listed.folder, listed.values) == (of_grid.name, of_grid.folder, of_grid.values)


def test_a_list_can_be_crossed_with_an_axis_of_another_key(tmp_path: Path) -> None:
    listed = partitioning.read_cell_list(write(tmp_path, "a.csv", "model.width,data.fraction\n4,0.5\n8,0.25\n"))
    names = [cell.name for cell in make_cells("seed=0,1", listed=listed)]
    assert len(set(names)) == 4
    assert names[0] == "seed=0 width=4 data_fraction=0.5"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "must be CSV with a header, but .*a.csv is empty"),
        ("a.csv", "model.width\n", "must list one cell or more"),
        ("a.yaml", "[]", "must list one cell or more"),
        ("a.yaml", "model.width: 4", "must be a list of mappings"),
        (
            "a.yaml",
            "- {model.width: 4}\n- {data.fraction: 1}",
            "cell 2 of .* sets data.fraction and cell 1 sets model.width",
        ),
        ("a.csv", "model.width,data.fraction\n4\n", "line 2 has 1 and the header 2"),
        ("a.csv", "model.width,data.fraction\n4,\n", "cell 1 of .* has `data.fraction=`"),
        ("a.csv", "model.width,model.width\n4,8\n", "model.width is there twice"),
        ("a.csv", 'model.width\n"4,8"\n', "cell 1 of .* has `model.width=4,8`"),
        ("a.csv", "model.width\n4,8\n", "line 2 has 2 and the header 1"),
    ],
)
def test_a_list_that_is_none_is_explained(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        partitioning.read_cell_list(write(tmp_path, name, text))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="`hydra.sweeper.cells` must be a CSV or YAML file, but nowhere.csv"):
        partitioning.read_cell_list("nowhere.csv")


@pytest.mark.parametrize("argument", ["model.width=4,8", "model.width=4"])
def test_a_key_has_one_home(tmp_path: Path, argument: str) -> None:
    path = write(tmp_path, "a.csv", "model.width,data.fraction\n4,0.5\n")
    with pytest.raises(InputError, match=r"`model.width` is set by .*a.csv and beside it"):
        partitioning.read_cell_list(path, partitioning.partition([argument], ()).keys)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    listed = partitioning.read_cell_list(write(tmp_path, "a.csv", "model.widht\n4\n"))
    with pytest.raises(HydraException) as error:
        make_cells(listed=listed)
    assert "did you mean `model.width`" in (explain(error.value, lambda: cli.known_keys("train")) or "")
