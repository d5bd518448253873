"""The terminal's drawer: plain letters, nothing cut."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from markupsafe import Markup
from rich.console import Console

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.text import WARNING, Part, Sentence, TextTable, power_of_ten

ARM = "optimizer=adam-with-a-long-name, family=transformer, schedule=cosine"
TABLE = TextTable(
    ["arm", "exponent", "rmse", "status"],
    [[ARM, Interval(0.3, 0.25, math.inf), "0.0123", "at bound: E"], ["b", None, "0.5", "ok"]],
    title="Arms",
    right=(2,),
    aside=3,
)


def drawn(width: int, *parts: Part) -> str:
    text = io.StringIO()
    terminal.show(parts, Console(file=text, width=width, highlight=False))
    return text.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_names_fold_and_numbers_stay_whole(width: int) -> None:
    lines = drawn(
        width, replace(TABLE, aside=None, head=TABLE.head[:3], rows=[row[:3] for row in TABLE.rows])
    ).splitlines()
    names = "".join(line[: lines[2].index("exponent")].strip() for line in lines[4:])
    assert names.replace(" ", "") == f"{ARM}b".replace(" ", "")
    assert sum("0.300 [0.250, inf)" in line and "0.0123" in line for line in lines) == 1


def test_prose_stands_below_the_table_where_it_says_something() -> None:
    assert drawn(200, TABLE).splitlines()[-1] == f"{ARM}: at bound: E"


def test_marks_become_plain_letters() -> None:
    law = Markup("<b>kaplan</b><br><span class=formula>N<sup>α</sup></span>")
    said = Markup("α<sub>N</sub> = −0.5, N* ∝ C<sup>a</sup> at {} &lt; [x]").format(power_of_ten(1.7e-13))
    shown = drawn(200, Sentence(law), Sentence(said, WARNING), Sentence("a <b> [red]c[/red]", lead="code"))
    assert shown.splitlines() == ["kaplan", "alpha_N = -0.5, N* ~ C^a at 1.7e-13 < [x]", "code: a <b> [red]c[/red]"]


def test_what_is_no_terminal_has_no_width(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show([Sentence("word " * 60)])
    assert capsys.readouterr().out.count("\n") == 1


def test_what_a_terminal_obeys_is_shown_and_not_sent() -> None:
    evil = "a\x1b[31m\x07\x9b2J\u202eb"
    shown = drawn(200, Sentence(evil, lead=evil), TABLE, replace(TABLE, rows=[[evil, None, evil, evil]]))
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
    assert shown.count(r"a\x1b[31m") == 6
