"""The table that a finished study prints, whatever its axes are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.sweep import announcement


@pytest.mark.parametrize("axes", [["tag"], ["tag", "width"]])
def test_words_that_look_like_markup_are_printed_as_they_are(
    axes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{tag},{width},9,10,0.5,0.6,1,1," for tag in ("x[/]", "[red]y") for width in (4, 8)]
    (tmp_path / "cells.csv").write_text(
        "\n".join(["tag,width,n_params,n_seen,test_loss,val_loss,n_trials,n_repeats,flags", *rows]) + "\n"
    )
    (tmp_path / "study.json").write_text(json.dumps({"axes": axes, "tuned": []}))
    (tmp_path / "trials.csv").write_text("stage,state\n")
    announcement.show_result(tmp_path, Console(width=80))
    shown = capsys.readouterr().out
    assert "x[/]" in shown
    assert "[red]y" in shown


def test_it_says_how_many_cells_are_tuned_and_within_which_limits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = "width,n_params,n_seen,test_loss,val_loss,n_trials,n_repeats,flags,tuned,limits\n"
    rows = ["4,9,10,0.5,0.6,1,1,,yes,batch_size", "8,9,10,0.5,0.6,1,1,,no,batch_size;dropout", "9,9,10,,,0,0,,,"]
    (tmp_path / "study.json").write_text(json.dumps({"axes": ["width"], "tuned": []}))
    (tmp_path / "trials.csv").write_text("width,stage,state,error\n4,trial,COMPLETE,\n8,trial,COMPLETE,\n")
    (tmp_path / "cells.csv").write_text(header + "\n".join(rows) + "\n")
    announcement.show_result(tmp_path, Console(width=80))
    shown = capsys.readouterr().out
    assert "1 of 3 cells are certified tuned within limits: batch_size is at its limit in 2 cells, dropout" in shown
    assert "(within 10 % of its range from it).\n" in shown
    (tmp_path / "cells.csv").write_text(header + "4,9,10,0.5,0.6,1,1,,yes,\n")
    announcement.show_result(tmp_path, Console(width=80))
    assert "1 of 1 cells are certified tuned.\n" in capsys.readouterr().out


HEADER = "width,n_params,n_seen,test_loss,val_loss,n_trials,n_repeats,flags\n"


def study(folder: Path, *rows: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps({"axes": ["width"], "tuned": []}))
    (folder / "trials.csv").write_text("stage,state\n")
    (folder / "cells.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return folder


def test_the_next_command_is_as_a_shell_takes_it_and_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{width},{width},10,0.5,0.6,1,1," for width in (4, 8, 16)]
    announcement.show_result(study(Path("multirun/two words"), *rows), Console(width=80))
    assert capsys.readouterr().out.endswith("Next:   python -m mnist_scaling.fit 'name=two words'\n")
    announcement.show_result(study(Path("elsewhere"), *rows), Console(width=80))
    assert capsys.readouterr().out.endswith(f"fit name={tmp_path}/elsewhere\n")
    for name, n, few in (("few", 2, rows[:2]), ("same", 1, [rows[0]] * 3), ("untested", 0, ["4,4,10,,0.6,1,0,"])):
        announcement.show_result(study(Path("multirun", name), *few), Console(width=80))
        shown = capsys.readouterr().out
        assert "Next:" not in shown
        assert f"A fit needs 3 sizes of model or data with a test loss, and this study has {n}: give" in shown


def test_a_cell_whose_runs_all_failed_is_told_with_its_error_and_how_to_try_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study(tmp_path / "some", "4,9,10,0.5,0.6,1,1,", "8,,,,,1,0,")
    (folder / "trials.csv").write_text(
        'width,stage,state,error\n4,trial,COMPLETE,\n8,trial,FAILED,"Traceback\nValueError: no"\n'
    )
    announcement.show_result(folder, Console(width=80))
    shown = capsys.readouterr().out
    assert "1 cell has no finished trial, the first error: ValueError: no. A run that failed is not made" in shown
    assert "delete the folders of these cells, and give the same command again." in shown


def test_a_study_without_any_loss_fails_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study(tmp_path / "lost", "4,,,,,2,0,", "8,,,,,1,0,")
    (folder / "trials.csv").write_text(
        'width,state,error\n4,FAILED,"Traceback\nValueError: no"\n4,DIVERGED,\n8,DIVERGED,\n'
    )
    with pytest.raises(InputError, match=r"none does \(2 DIVERGED, 1 FAILED, the first error: ValueError: no\): mend"):
        announcement.show_result(folder, Console(width=80))
    assert "Next:" not in capsys.readouterr().out
