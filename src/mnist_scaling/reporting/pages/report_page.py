"""The page: one self-contained HTML file from a study and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mnist_scaling.reporting import html_tables, recipe, sentences
from mnist_scaling.reporting.figure_files import Shown
from mnist_scaling.reporting.figures import NO_TRIALS
from mnist_scaling.reporting.loading import Study
from mnist_scaling.reporting.prepare import Missing
from mnist_scaling.reporting.prepare.change import Change
from mnist_scaling.reporting.text import listing
from mnist_scaling.study import layout
from mnist_scaling.study.columns import label

TEMPLATES = Path(__file__).parent / "templates"
SEVERITIES = ("error", "warning", "info")
"""In the order of the page."""

KICKER = "Scaling report"
"""The first words of every page that this package writes."""

MOST_CELLS = 8
"""Cells named under a flag; the rest are counted."""


def page(study: Study, shown: Sequence[Shown], now: datetime | None = None, figures_at: str = layout.FIGURES) -> str:
    """The whole report of one arm as HTML.

    Parameters
    ----------
    study : Study
    shown : sequence of Shown
        Output of `figure_files.make_all`.
    now : datetime, optional
        Date under the title.
    figures_at : str
        Folder of the figures' files, as the captions name it.
    """
    change = next((s.data for s in shown if isinstance(s.data, Change)), None)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            study=study,
            kicker=KICKER,
            all_arms=layout.REPORT,
            style=style_sheet(),
            date=date(now),
            opening=sentences.opening(study),
            findings=sentences.findings(study, change or Missing("")),
            not_shown=sentences.not_shown(study),
            quoted=html_tables.quoted_table(study),
            straight=html_tables.straight_line_table(study),
            laws=html_tables.law_table(study),
            frontier=html_tables.frontier_table(study),
            sensitivity=html_tables.sensitivity_table(study),
            slopes=html_tables.slope_table(change) if change else None,
            best_settings=html_tables.settings_table(study),
            cells=html_tables.cell_table(study),
            flags=flags(study),
            sections=sections(shown),
            figures_at=figures_at,
            commands=recipe.commands(study),
            settings=recipe.settings(study),
            versions=recipe.versions(study),
            stored_versions="versions" in study.record,
        )
    )


def overview(
    arms: Sequence[Study], pages: Sequence[str], compared: Sequence[str] = (), now: datetime | None = None
) -> str:
    """The page before those of the arms: their exponents side by side, what `compare` said, and a link to each.

    Parameters
    ----------
    arms : sequence of Study
    pages : sequence of str
        File name of each arm's own page.
    compared : sequence of str
        Output of `loading.load_comparison`.
    now : datetime, optional
    """
    return (
        environment()
        .get_template("arms.html.j2")
        .render(
            study=arms[0],
            kicker=KICKER,
            by=listing([label(column) for column in arms[0].fits.get("settings", {}).get("by", [])]),
            style=style_sheet(),
            date=date(now),
            arms=html_tables.arms_table(arms, pages),
            compared=compared,
            comparison=layout.COMPARISON_PAGE,
            columns=",".join(arms[0].fits.get("settings", {}).get("by", [])),
            commands=recipe.commands(arms[0]),
        )
    )


def environment() -> Environment:
    """The templates of this package's pages."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style_sheet() -> Markup:
    """The look of every page."""
    return Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))


def date(now: datetime | None = None) -> str:
    """A day as pages write it; today's where none is given."""
    return (now or datetime.now(UTC)).strftime("%-d %B %Y")


def sections(shown: Sequence[Shown]) -> dict[str, list[Shown]]:
    """Figures by section, both in the order of the registry; none of those that a table from elsewhere can't have."""
    out: dict[str, list[Shown]] = {}
    for figure in shown:
        if figure.data is not NO_TRIALS:
            out.setdefault(figure.plot.section, []).append(figure)
    return out


def flags(study: Study) -> list[dict[str, Any]]:
    """Flags, the gravest first, with their cells by name."""
    order = {severity: i for i, severity in enumerate(SEVERITIES)}
    out = []
    for flag in sorted(study.fits["flags"], key=lambda f: order.get(f["severity"], len(order))):
        names = [_cell_name(study, cell) for cell in flag.get("cells", [])]
        more = f" and {len(names) - MOST_CELLS} more" if len(names) > MOST_CELLS else ""
        out.append({**flag, "names": "; ".join(names[:MOST_CELLS]) + more, "remedy": flag.get("remedy", "")})
    return out


def _cell_name(study: Study, cell: Any) -> str:
    if isinstance(cell, dict) and cell.get("row") in study.cells.index:
        return study.label(study.cells.loc[cell["row"]])
    if isinstance(cell, dict):
        return ", ".join(f"{k} {v:g}" if isinstance(v, int | float) else f"{k} {v}" for k, v in cell.items())
    return str(cell)
