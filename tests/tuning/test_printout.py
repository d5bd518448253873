"""The table that a finished study prints, whatever its axes are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from mnist_scaling.tuning.sweep import announcement


@pytest.mark.parametrize("axes", [["tag"], ["tag", "width"]])
def test_words_that_look_like_markup_are_printed_as_they_are(
    axes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{tag},{width},9,10,0.5,0.6,1,1," for tag in ("x[/]", "[red]y") for width in (4, 8)]
    (tmp_path / "cells.csv").write_text(
        "\n".join(["tag,width,n_params,n_seen,test_loss,val_loss,n_trials,n_repeats,flags", *rows]) + "\n"
    )
    (tmp_path / "study.json").write_text(json.dumps({"axes": axes}))
    announcement.show_result(tmp_path, Console(width=80))
    shown = capsys.readouterr().out
    assert "x[/]" in shown
    assert "[red]y" in shown


def test_it_says_how_many_cells_are_tuned_and_within_which_limits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = "width,n_params,n_seen,test_loss,val_loss,n_trials,n_repeats,flags,tuned,limits\n"
    rows = ["4,9,10,0.5,0.6,1,1,,yes,batch_size", "8,9,10,0.5,0.6,1,1,,no,batch_size;dropout", "9,9,10,,,0,0,,,"]
    (tmp_path / "study.json").write_text(json.dumps({"axes": ["width"]}))
    (tmp_path / "cells.csv").write_text(header + "\n".join(rows) + "\n")
    announcement.show_result(tmp_path, Console(width=80))
    shown = capsys.readouterr().out
    assert "1 of 3 cells are certified tuned within limits: batch_size is at its limit in 2 cells, dropout" in shown
    (tmp_path / "cells.csv").write_text(header + "4,9,10,0.5,0.6,1,1,,yes,\n")
    announcement.show_result(tmp_path, Console(width=80))
    assert "1 of 1 cells are certified tuned.\n" in capsys.readouterr().out


def test_the_next_command_is_as_a_shell_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps({"axes": ["width"]}))
    (folder / "cells.csv").write_text(
        "width,n_params,n_seen,test_loss,val_loss,n_trials,n_repeats,flags\n4,9,10,0.5,0.6,1,1,\n"
    )
    announcement.show_result(folder, Console(width=80))
    assert "python -m mnist_scaling.fit 'name=two words'" in capsys.readouterr().out
