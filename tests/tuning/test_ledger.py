"""A sweep over damaged and missing files: each is named, kept beside itself, and made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling.arms.reading import mixed, read
from mnist_scaling.config.fit_schema import FitConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study import files, layout, missing, records
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.sweep.study_tables import join

from .helpers import InProcess, Study, make_cells

pytestmark = pytest.mark.slow

AXIS = "data.fraction=1,0.5"
CELL = "data_fraction=1"
TABLES = (layout.TRIALS, layout.CELLS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two cells with two trials and one repeat each."""
    folder = tmp_path_factory.mktemp("finished") / "study"
    sweep(folder)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(finished, tmp_path / "study")
    return tmp_path / "study"


def sweep(folder: Path) -> list[str]:
    """Run the study's sweep; the runs that it launched."""
    launch = InProcess()
    Study(folder, launch, AXIS, n_trials=2, n_repeats=1).run()
    return [job for batch in launch.batches for job in batch]


def tables(folder: Path) -> list[pd.DataFrame]:
    found = [pd.read_csv(folder / name) for name in TABLES]
    return [table.drop(columns="seconds") for table in found]


def change(key: str, value: object) -> Callable[[bytes], bytes]:
    """A file whose JSON has another value."""

    def changed(content: bytes) -> bytes:
        record = json.loads(content)
        *nodes, last = key.split("/")
        node = record
        for name in nodes:
            node = node[name]
        if value is None:
            del node[last]
        else:
            node[last] = value
        return json.dumps(record).encode()

    return changed


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "a list": lambda content: b"[1, 2]",
}
RECORD_DAMAGES = DAMAGES | {
    "no config": change("config", None),
    "no tuned key": change("config/optim.lr", None),
    "a text for a seed": change("seed", "zero"),
    "a loss that is no number": change("result/val_loss", "low"),
    "an infinite loss": lambda content: content.replace(b'"val_loss":', b'"val_loss": 1e999, "was": '),
    "an unknown state": change("state", "DONE"),
    "another run's": change("number", 7),
    "no parameter count": change("result/n_params", None),
}


@pytest.mark.parametrize("damage", RECORD_DAMAGES)
def test_a_damaged_repeat_is_kept_aside_and_made_again(
    damage: str, folder: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / CELL / "repeat-000" / layout.RESULT
    content = RECORD_DAMAGES[damage](path.read_bytes())
    path.write_bytes(content)
    (said,) = missing.complaints(folder)
    assert said.startswith(f"{path} is damaged (")
    assert sweep(folder) == [f"{CELL}/repeat-000"]
    assert f"Warning: {path} is damaged (" in capsys.readouterr().err
    assert path.with_name("result.json.damaged").read_bytes() == content
    for ours, theirs in zip(tables(folder), tables(finished), strict=True):
        pd.testing.assert_frame_equal(ours, theirs)
    assert missing.complaints(folder) == []


@pytest.mark.parametrize("damage", RECORD_DAMAGES)
def test_a_damaged_trial_counts_for_nothing(damage: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / CELL / "trial-001" / layout.RESULT
    path.write_bytes(RECORD_DAMAGES[damage](path.read_bytes()))
    (cell, _) = make_cells(AXIS)
    ledger = Ledger(folder, [cell])
    assert [trial.index for trial in ledger.trials(cell)] == [0]
    assert len(ledger.repeats(cell)) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize("damage", [*DAMAGES, "no axes"])
@pytest.mark.parametrize("name", [f"{CELL}/{layout.CELL}", layout.STUDY])
def test_a_damaged_description_is_written_anew(
    name: str, damage: str, folder: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / name
    path.write_bytes((DAMAGES | {"no axes": change("axes", None)})[damage](path.read_bytes()))
    (said,) = missing.complaints(folder)
    assert said.startswith(f"{path} is damaged (")
    assert sweep(folder) == []
    assert f"It is kept as {path.name}.damaged, and is written anew." in capsys.readouterr().err
    assert json.loads(path.read_text()).keys() == json.loads((finished / name).read_text()).keys()
    for ours, theirs in zip(tables(folder), tables(finished), strict=True):
        pd.testing.assert_frame_equal(ours, theirs)
    assert missing.complaints(folder) == []


def test_a_deleted_description_of_a_cell_is_said_and_written_anew(folder: Path, finished: Path) -> None:
    (folder / CELL / layout.CELL).unlink()
    assert missing.complaints(folder) == [
        f"{folder / CELL} has runs but no cell.json: start its sweep again, which writes it."
    ]
    assert sweep(folder) == []
    for ours, theirs in zip(tables(folder), tables(finished), strict=True):
        pd.testing.assert_frame_equal(ours, theirs)


@pytest.mark.parametrize(("name", "was", "now"), [(layout.TRIALS, "COMPLETE", "FAILED"), (layout.CELLS, "0.", "0.1")])
def test_a_table_that_was_edited_is_said_and_written_anew(name: str, was: str, now: str, folder: Path) -> None:
    """They are made of the records, but are what `fit` reads."""
    path = folder / name
    text = path.read_text()
    path.write_text(text.replace(was, now, 1))
    (said,) = missing.complaints(folder)
    assert said.startswith(f"{path} is not as its sweep wrote it: start its sweep again")
    assert sweep(folder) == []
    assert path.read_text() == text
    assert missing.complaints(folder) == []


def test_a_deleted_description_of_a_study_is_said_and_written_anew(folder: Path) -> None:
    (folder / layout.STUDY).unlink()
    assert missing.complaints(folder) == [f"{folder / layout.STUDY} is gone: start its sweep again, which writes it."]
    assert sweep(folder) == []
    assert missing.complaints(folder) == []


def test_a_deleted_repeat_is_said_and_made_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / CELL / "repeat-000")
    gone = f"{folder / layout.TRIALS} lists a run whose record is gone"
    assert missing.complaints(folder) == [f"{gone}: start its sweep again, which makes them again."]
    assert sweep(folder) == [f"{CELL}/repeat-000"]
    assert f"Warning: {gone}: what this sweep needs of it is made again." in capsys.readouterr().err
    assert missing.complaints(folder) == []


def test_a_deleted_cell_is_said(folder: Path) -> None:
    shutil.rmtree(folder / CELL)
    (said,) = missing.complaints(folder)
    assert "lists 3 runs whose records are gone" in said


def test_a_cell_of_another_sweep_without_description_is_left_out_in_words(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / CELL / layout.CELL).write_text("")
    other = make_cells("data.fraction=0.5")
    ledger = Ledger(folder, other)
    said = capsys.readouterr().err
    assert "It is kept as cell.json.damaged, and is written by the next sweep of this cell." in said
    assert f"{folder / CELL} has no cell.json: the tables are without it until a sweep of this cell." in said
    assert {path.parent.name for path in ledger.rows} == {"data_fraction=0.5"}


@pytest.mark.parametrize("copy", ["data_fraction=0.125", f"{CELL} copy", f"backup/{CELL}"])
def test_a_copy_of_a_cell_counts_once(folder: Path, copy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder is a cell's by its name: runs of a backup would be folded in as further repeats."""
    expected = tables(folder)
    shutil.copytree(folder / CELL, folder / copy)
    said = f"{folder / copy} holds a copy of the cell {CELL}: its runs are left out; move it out of the study."
    assert missing.complaints(folder) == [said]
    assert sweep(folder) == []
    assert f"Warning: {said}" in capsys.readouterr().err
    for found, wanted in zip(tables(folder), expected, strict=True):
        pd.testing.assert_frame_equal(found, wanted)


def test_the_description_of_another_cell_is_written_anew(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected, other = tables(folder), next(p for p in folder.glob(f"*/{layout.CELL}") if p.parent.name != CELL)
    (folder / CELL / layout.CELL).write_bytes(other.read_bytes())
    assert sweep(folder) == []
    assert f"it is the record of {other.parent.name}" in capsys.readouterr().err
    for found, wanted in zip(tables(folder), expected, strict=True):
        pd.testing.assert_frame_equal(found, wanted)


def test_the_axes_of_a_study_are_known_without_study_json(folder: Path) -> None:
    (folder / layout.STUDY).write_text("{")
    with pytest.raises(ValueError, match="A study must keep the axes of its grid, but .* has data_fraction"):
        join(folder, make_cells("model.width=4,8"))


def test_a_sound_study_has_no_complaints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert missing.complaints(folder) == []
    Ledger(folder)
    assert capsys.readouterr().err == ""


def test_a_record_is_at_most_four_kilobytes_and_alone_in_its_folder(folder: Path) -> None:
    for place in records.cell_folders(folder):
        for run in place.glob("*-00?"):
            assert [path.name for path in run.iterdir()] == [layout.RESULT]
            assert (run / layout.RESULT).stat().st_size < 4096


def test_a_table_that_was_cut_short_stops_no_sweep(tmp_path: Path) -> None:
    study = Study(tmp_path, InProcess(), "model.width=4", n_trials=2, n_repeats=0)
    study.run()
    table = tmp_path / layout.TRIALS
    whole = table.read_text()
    table.write_text(whole[: whole.rstrip().rfind("\n") + 3])
    Study(tmp_path, InProcess(), "model.width=4", n_trials=2, n_repeats=0).run()
    assert table.read_text() == whole


@pytest.mark.parametrize("linked", [CELL, f"{CELL}/trial-000", f"{CELL}/repeat-000"])
def test_a_linked_folder_is_refused_before_it_is_written_through(finished: Path, folder: Path, linked: str) -> None:
    mine, other = folder / linked, finished / linked
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    shutil.rmtree(mine)
    mine.symlink_to(other)
    with pytest.raises(InputError, match=f"but {mine} is a link to {other}: put a copy in its place"):
        Study(folder, InProcess(), AXIS, n_trials=3, n_repeats=2).run()
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_study_may_lie_behind_a_link(folder: Path) -> None:
    link = folder.with_name("elsewhere")
    link.symlink_to(folder)
    assert sweep(link) == []


def test_runs_of_different_code_are_flagged_with_their_numbers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record has its commit and versions, and a fit flags them where they differ."""
    assert missing.mixed_code(folder) == ""
    path = folder / CELL / "repeat-000" / layout.RESULT
    record = json.loads(path.read_text())
    assert record["versions"]["torch"]
    del record["crc32"]
    files.write_sealed(path, record | {"commit": "0123456789ab"})
    said = missing.mixed_code(folder)
    assert said.startswith("The runs were made by different code: ")
    assert "(5 runs), commit 0123456789ab with torch" in said
    assert "(1 run). Their losses may not compare." in said
    (tmp_path / layout.MULTIRUN).mkdir()
    folder.rename(tmp_path / layout.MULTIRUN / "study")
    monkeypatch.chdir(tmp_path)
    source = read(FitConfig(name="study"))
    assert [(flag.code, flag.message) for flag in mixed(source, source.rows.arms[0])] == [("mixed_code", said)]
