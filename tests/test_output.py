"""Output reaches its reader, and one that has gone stops nothing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from mnist_scaling.study.console import make_console
from mnist_scaling.tuning.sweep import announcement

PRINTING = {
    "print": "print('a line', flush=True)",
    "stderr": "print('a line', file=sys.stderr)",
    "rich": "make_console().print('a line')",
    "unflushed": "print('a line')",
    "child": "subprocess.run(['echo', 'a line'], check=True)",
}


def command(body: str) -> list[str]:
    """A command that does this, as `cli.run` runs all of them."""
    code = (
        "import subprocess, sys; from mnist_scaling import cli; from mnist_scaling.study.console import make_console\n"
    )
    return [sys.executable, "-c", f"{code}def main():\n    {body}\ncli.run(main, 'train')"]


@pytest.mark.parametrize("way", PRINTING)
@pytest.mark.parametrize("buffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_has_gone_stops_nothing(way: str, buffered: str, tmp_path: Path) -> None:
    """As with `train -m … | head`, whose training must go on."""
    read, write = os.pipe()
    os.close(read)
    end = "open('done', 'w').write('all of it')"
    done = subprocess.run(
        command(f"print('first', flush=True); {PRINTING[way]}; {PRINTING[way]}; {end}"),
        stdout=write,
        stderr=write if way == "stderr" else subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": buffered},
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr or b"") == (0, b"")
    assert (tmp_path / "done").read_text() == "all of it"


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "utf-8"])
def test_a_letter_that_the_encoding_lacks_costs_nothing(encoding: str) -> None:
    line = "E = 0 [0, ∞) Ünï"
    done = subprocess.run(
        command(f"print('{line}'); print('−', file=sys.stderr); make_console().print('N* ∝ C⁰·⁵')"),
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=True,
    )
    assert done.stdout.decode(encoding).splitlines()[0] == "E = 0 [0, ∞) Ünï".encode(encoding, "replace").decode(
        encoding
    )
    assert len(done.stderr.splitlines()) == 1


def test_nothing_is_cut_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print("word " * 100)
    assert capsys.readouterr().out.rstrip() == ("word " * 100).rstrip()


def test_no_number_of_a_wide_grid_is_cut() -> None:
    values = [0.001 * 2**i for i in range(16)]
    cells = pd.DataFrame({"lr": [1.0] * 16, "dropout": values, "test_loss": [i + 0.1234 for i in range(16)]})
    out = io.StringIO()
    text = announcement.table_of(cells, ["lr", "dropout"], "test_loss")
    Console(file=out, width=60).print(text, soft_wrap=True)
    shown = out.getvalue()
    assert "…" not in shown
    assert all(f"{i}.1234" in shown for i in range(16))


def test_a_closed_stdout_needs_no_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    make_console().print("nowhere")
