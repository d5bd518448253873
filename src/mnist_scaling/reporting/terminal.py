"""Tables and sentences on a terminal, in plain letters: it draws `text` and computes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape

from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnist_scaling.errors import printable
from mnist_scaling.reporting import text as tone
from mnist_scaling.reporting.documents.tuning_records import OK
from mnist_scaling.reporting.text import Part, Sentence, TextTable, cell_text
from mnist_scaling.study.console import make_console

STYLES = {
    tone.ERROR: "bold red", tone.WARNING: "yellow", tone.INFO: "cyan", tone.GOOD: "green", tone.QUIET: "dim",
    tone.STRONG: "bold",
}  # fmt: skip

FOLDED = 14
"""A column of words is folded where the terminal is narrow, but not below this width; numbers never are."""

GAP = 2
"""Spaces between columns."""

LETTERS = str.maketrans(
    {
        "−": "-", "\N{NO-BREAK SPACE}": " ", "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "∂": "d",
        "∞": "inf", "∝": "~", "×": "x", "·": "*", **dict(zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)),
    }
)  # fmt: skip
"""Numbers can be copied and searched for, and need no font and no encoding."""


def show(parts: Iterable[Part], console: Console | None = None) -> None:
    """Print tables and sentences."""
    console = console or make_console(highlight=False)
    for part in parts:
        if isinstance(part, Sentence):
            console.print(_sentence(part))
            continue
        if part.title:
            console.print(Text(f"\n{part.title}", "bold"))
        console.print(_table(part, console.width), crop=False)
        if part.aside is not None:
            for name, prose in ((row[0], row[part.aside]) for row in part.rows):
                if prose not in ("", OK):
                    console.print(words(name) + ": " + words(prose), style=STYLES[tone.QUIET])


def words(cell: object) -> Text:
    """A cell or a sentence without its marks: sup as ^, sub as _, br as an end of line, b as bold, without formulae."""
    text = cell_text(cell)
    marked = str(text) if isinstance(text, Markup) else str(Markup.escape(text))
    marked = re.sub("<span class=formula>.*?</span>", "", marked)
    for mark, plain in (("<br>", "\n"), ("<sup>", "^"), ("<sub>", "_")):
        marked = marked.replace(mark, plain)
    line = Text()
    for part in re.findall("<b>.*?</b>|(?:(?!<b>).)+", marked, re.DOTALL):
        letters = unescape(re.sub("<[^>]+>", "", part))
        letters = re.sub("\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10(?=[⁻⁰¹²³⁴⁵⁶⁷⁸⁹])", "e", letters).translate(LETTERS)
        line.append(printable(letters), "bold" if part.startswith("<b>") else None)
    line.rstrip()
    return line


def _sentence(part: Sentence) -> Text:
    style = STYLES.get(part.tone, "")
    text = words(part.text)
    if part.lead:
        text = Text(f"{printable(part.lead)}: ", style) + text
    else:
        text.stylize_before(style)
    return Text("\n") + text if part.apart else text


def _table(part: TextTable, width: int) -> Table:
    """The table, within a width as far as its numbers and the longest words of its head allow."""
    kept = [i for i in range(len(part.head)) if i != part.aside]
    heads, columns = [words(part.head[i]) for i in kept], [[words(row[i]) for row in part.rows] for i in kept]
    natural, least = [], []
    for i, head, cells in zip(kept, heads, columns, strict=True):
        widest = max((len(line) for cell in cells for line in cell.plain.splitlines()), default=0)
        numbers = i in part.right or any(re.search(r"\d \[", cell.plain) for cell in cells)
        natural.append(max(widest, len(head)))
        least.append(max(widest if numbers else min(widest, FOLDED), *map(len, head.plain.split() or [""]), 1))
    widths = list(natural)
    while sum(widths) + GAP * (len(widths) - 1) > width and widths != least:
        spare = [w - low for w, low in zip(widths, least, strict=True)]
        widths[spare.index(max(spare))] -= 1
    whole = sum(widths) + GAP * (len(widths) - 1)
    rule = box.SIMPLE_HEAD if part.title else None
    table = Table(box=rule, show_edge=False, padding=(0, GAP - 1, 0, 0), pad_edge=False, width=whole)
    for i, head, own in zip(kept, heads, widths, strict=True):
        table.add_column(head, justify="right" if i in part.right else "left", overflow="fold", width=own)
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    return table
