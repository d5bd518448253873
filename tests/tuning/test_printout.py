"""The table that a finished study prints, whatever its axes are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from mnist_scaling.tuning import printout


@pytest.mark.parametrize("axes", [["tag"], ["tag", "width"]])
def test_words_that_look_like_markup_are_printed_as_they_are(
    axes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{tag},{width},9,10,0.5,0.6,1,1," for tag in ("x[/]", "[red]y") for width in (4, 8)]
    (tmp_path / "cells.csv").write_text(
        "\n".join(["tag,width,n_params,n_seen,test_loss,val_loss,n_trials,n_repeats,flags", *rows]) + "\n"
    )
    (tmp_path / "study.json").write_text(json.dumps({"axes": axes}))
    printout.show(tmp_path, Console(width=80))
    shown = capsys.readouterr().out
    assert "x[/]" in shown
    assert "[red]y" in shown
