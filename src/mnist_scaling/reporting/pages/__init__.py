"""The pages, one self-contained HTML file each: what all of them share is here, their words are in templates/."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mnist_scaling.reporting.text import cell_text

HERE = Path(__file__).parent


def draw(template: str, **values: Any) -> str:
    """A page of today, from a file in templates/ and what it names beside `style`, `script` and `date`."""
    loader = FileSystemLoader(HERE / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell": cell_text, "code": _code}
    style, script = (
        Markup((HERE / name).read_text(encoding="utf-8")) for name in ("templates/report.css", "living.js")
    )
    date = datetime.now(UTC).strftime("%-d %B %Y")
    return environment.get_template(template).render(style=style, script=script, date=date, **values)


def _code(text: str) -> Markup:
    """What stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))
