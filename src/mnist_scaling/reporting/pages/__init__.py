"""Tables and sentences on a page: the templates and what all pages share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mnist_scaling.reporting.parts import cell_text

TEMPLATES = Path(__file__).parent / "templates"


def draw(template: str, now: datetime | None, **values: Any) -> str:
    """A page.

    Parameters
    ----------
    template : str
        File in templates/.
    now : datetime, optional
        The page's date; today where it is left out.
    **values : Any
        What the template names, beside `style` and `date`.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell_text
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    date = (now or datetime.now(UTC)).strftime("%-d %B %Y")
    return environment.get_template(template).render(style=style, date=date, **values)
