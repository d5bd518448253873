"""The pages, one self-contained HTML file each: what all of them share is here, their words are in templates/."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mnist_scaling.reporting.parts import cell_text

TEMPLATES = Path(__file__).parent / "templates"


def draw(template: str, **values: Any) -> str:
    """A page of today, from a file in templates/ and what it names beside `style` and `date`."""
    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = cell_text
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    date = datetime.now(UTC).strftime("%-d %B %Y")
    return environment.get_template(template).render(style=style, date=date, **values)
