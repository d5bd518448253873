"""What a notebook needs beside the libraries: the folder of the commands, studies by name, tables as it shows them."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from mnist_scaling.errors import InputError
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.loading import Study, load_arms
from mnist_scaling.reporting.text import STRONG, Part, Sentence, TextTable, cell_text, number
from mnist_scaling.study import layout
from mnist_scaling.study.columns import MEASURED, TrainResult

DPI, COLOURS = 90, 64
"""Of figures: enough to read them where notebooks are browsed, and a file of some ten kB."""

WIDTH = 110
"""Characters of a line, where a notebook is read as text."""


def begin() -> None:
    """Go up to the folder that commands are started from, which has a multirun/, and have figures drawn small.

    Raises
    ------
    InputError
        When no folder above has one.
    """
    here = Path.cwd()
    home = next((folder for folder in (here, *here.parents) if (folder / layout.MULTIRUN).is_dir()), None)
    if home is None:
        raise InputError(
            f"A notebook must lie below a folder that has a {layout.MULTIRUN}/, but none above {here} has: start "
            "Jupyter in the checkout."
        )
    os.chdir(home)
    with contextlib.suppress(ImportError):
        from IPython import get_ipython

        if shell := get_ipython():
            shell.run_line_magic("matplotlib", "inline")
            shell.display_formatter.formatters["image/png"].for_type(Figure, _small_png)


def _small_png(figure: Figure) -> bytes:
    whole, small = io.BytesIO(), io.BytesIO()
    figure.savefig(whole, format="png", dpi=DPI, bbox_inches="tight")
    Image.open(whole).convert("RGB").quantize(COLOURS).save(small, "png", optimize=True)
    return small.getvalue()


def command(line: str) -> None:
    """Run ``python -m mnist_scaling.<line>`` as a terminal does, and print what it prints while it goes on.

    Parameters
    ----------
    line : str
        Such as ``fit name=quickstart``.

    Raises
    ------
    subprocess.CalledProcessError
        When it fails.
    """
    name, *arguments = shlex.split(line)
    words = [sys.executable, "-m", f"mnist_scaling.{name}", *arguments]
    plain = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "CLICOLOR_FORCE")}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=plain) as process:
        for printed in process.stdout or ():
            line = printed.rstrip()
            print(line if len(line) <= WIDTH else textwrap.fill(line, WIDTH, subsequent_indent="  "), flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)


def study(name: str) -> Study:
    """A study that has been fitted: one's own of that name, else the repository's in multirun/reference/.

    Raises
    ------
    InputError
        When there is none, or it has several arms.
    """
    arms = load_arms(layout.found_folder(name))
    if len(arms) > 1:
        raise InputError(
            f"`study` reads a study of one arm, but {name} has {', '.join(arm.arm for arm in arms)}: take one of "
            f"load_arms(found_folder({name!r}))."
        )
    return arms[0]


def measured(result: TrainResult) -> TextTable:
    """What one run measured, with units and meanings; what it did not measure is left out."""
    values = {column: getattr(result, column.name) for column in MEASURED}
    rows = [
        [column.name, f"{value:,}" if isinstance(value, int) else number(value, 4), column.unit, column.meaning]
        for column, value in values.items()
        if isinstance(value, int | float)
    ]
    return TextTable(["column", "value", "unit", "meaning"], rows, right=(1,))


@dataclass(frozen=True)
class Display:
    """Tables and sentences in the two forms that a notebook keeps: HTML, and text as on a terminal."""

    parts: tuple[Part, ...]

    def __repr__(self) -> str:
        out = io.StringIO()
        terminal.show(
            self.parts, Console(file=out, width=WIDTH, highlight=False, color_system=None, force_jupyter=False)
        )
        return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())

    def _repr_html_(self) -> str:
        return Markup("\n").join(map(_html, self.parts))


def show(parts: Part | str | Iterable[Part | str | None] | None) -> Display:
    """What `fit`, `compare` and the pages say, in a notebook: one table or sentence, or several, without empty ones."""
    every = [parts] if isinstance(parts, TextTable | Sentence | str) else parts or []
    return Display(tuple(Sentence(part) if isinstance(part, str) else part for part in every if part))


def _html(part: Part) -> Markup:
    if isinstance(part, Sentence):
        lead = Markup("<b>{}:</b> ").format(part.lead) if part.lead else ""
        text = Markup("<b>{}</b>").format(part.text) if part.tone == STRONG else part.text
        return Markup("<p>{}{}</p>").format(lead, text)
    title = Markup("<p><b>{}</b></p>\n").format(part.title) if part.title else ""
    rows = [_row(part.head, "th"), *(_row(cells, "td") for cells in part.rows)]
    return Markup("{}<table>\n{}\n</table>").format(title, Markup("\n").join(rows))


def _row(cells: Iterable[object], tag: str) -> Markup:
    marked = [Markup("<{0}>{1}</{0}>").format(tag, cell_text(cell)) for cell in cells]
    return Markup("<tr>{}</tr>").format(Markup("").join(marked))
