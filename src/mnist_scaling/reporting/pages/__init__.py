"""The pages, one self-contained HTML file each: what all of them share is here, their words are in templates/."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.text import cell_text

HERE = Path(__file__).parent

AT_NIGHT = {style.INK: "var(--ink)", style.GRID: "var(--rule)", "#ffffff": "var(--paper)"}
"""Colours of figures on a dark page; greys stay, and those of data get a share of white, and so keep their order."""


def draw(template: str, **values: Any) -> str:
    """A page of today, from a file in templates/ and what it names beside `style`, `script` and `date`."""
    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.loader = FileSystemLoader(HERE / "templates")
    jinja.filters |= {"cell": cell_text, "code": _code}
    look, script = (Markup((HERE / name).read_text(encoding="utf-8")) for name in ("templates/report.css", "living.js"))
    date = datetime.now(UTC).strftime("%-d %B %Y")
    page = jinja.get_template(template).render(style=look, script=script, date=date, **values)
    return page.replace("</style>", _at_night(page) + "</style>", 1)


def _at_night(page: str) -> str:
    """Rules for figures on a dark screen, which leave their SVG, and so what is saved or printed, as it is."""
    parts = {*re.findall("(fill|stroke|--colour): (#[0-9a-f]{6})", page.replace('data-colour="', "--colour: "))}
    rules = (
        f'[style*="{part}: {it}"] {{ {part}: {AT_NIGHT.get(it, f"color-mix(in srgb, {it}, #fff 33%)")} !important; }}\n'
        for part, it in sorted(parts)
        if it not in (style.MUTED, style.ON_COLOUR)
    )
    return f"@media screen and (prefers-color-scheme: dark) {{\n{''.join(rules)}}}\n"


def _code(text: str) -> Markup:
    """What stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))
