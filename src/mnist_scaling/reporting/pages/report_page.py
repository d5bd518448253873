"""The page: one self-contained HTML file from a study and its figures."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.reporting.documents.json_form import plain
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figure_files import Shown
from mnist_scaling.reporting.figures import COMPUTE, LAWS, NO_TRIALS, SEARCH
from mnist_scaling.reporting.figures.change import Change
from mnist_scaling.reporting.figures.other_axes import NO_AXIS
from mnist_scaling.reporting.pages import draw
from mnist_scaling.reporting.text import listing
from mnist_scaling.reporting.words import checklist, fit_tables, in_short, report_words
from mnist_scaling.reporting.words.fit_sentences import MOST_CELLS
from mnist_scaling.reporting.words.fit_tables import settings_table
from mnist_scaling.reporting.words.plan_words import resolved_parts
from mnist_scaling.study import files, layout
from mnist_scaling.study.columns import label
from mnist_scaling.study.flags import SEVERITIES

KICKER = "Scaling report"
"""The first words of every page that this package writes."""

MOST_POINTS = 400
"""Cells beside the sliders."""


def page(study: Study, shown: Sequence[Shown], figures_at: str = layout.FIGURES) -> str:
    """The whole report of one arm as HTML; captions name `figures_at`, the folder of the figures' files."""
    fits = study.fits
    laws, frontier = fit_tables.law_table(fits), fit_tables.frontier_table(fits)
    best_settings = settings_table(fits.settings_laws)
    also = [LAWS] * bool(laws.rows) + [COMPUTE] * bool(frontier.rows) + [SEARCH] * bool(best_settings)
    change = next((s.data for s in shown if isinstance(s.data, Change)), None)
    return draw(
        "report.html.j2",
        study=study,
        kicker=KICKER,
        all_arms=layout.REPORT,
        answer=fits.answer,
        trusted=in_short.of_first(fits.answer),
        opening=report_words.opening(study),
        findings=report_words.findings(study, change),
        not_shown=report_words.not_shown(study),
        quoted=fit_tables.quoted_table(fits),
        exponents=fit_tables.exponents_table(fits),
        sizes=fit_tables.sizes_table(fits),
        in_use=fit_tables.in_use_table(fits),
        counts=fit_tables.counts_table(fits),
        laws=laws,
        frontier=frontier,
        future=fit_tables.future_table(fits),
        best_settings=best_settings,
        rows="cells" if study.is_study else "rows",
        cells=report_words.cell_table(study),
        seeds=report_words.seed_table(study),
        draws=draws(study),
        checklist=checklist.checklist(study),
        flags=flags(study),
        resolved=resolved_parts((files.read_json(study.folder / layout.RESOLVED) if study.is_study else None) or {}),
        sections=sections(shown, also),
        missing=[s for s in shown if s.svg is None and s.data is not NO_TRIALS and s.data is not NO_AXIS],
        figures_at=figures_at,
        commands=checklist.commands(study),
        settings=checklist.settings(study),
        versions=checklist.versions(study),
        stored_versions=study.is_study,
    )


def overview(arms: Sequence[Study], pages: Sequence[str], compared: Sequence[str] = (), at: Path | None = None) -> str:
    """The page before those of the arms: their exponents side by side, what `compare` said, and a link to each.

    `pages` are the file names of the arms' own pages, `compared` is the output of `loading.load_comparison`, and `at`
    the folder of the page, where that is not the one of fits.json.
    """
    by = arms[0].fits.settings["by"]
    links = [Markup('<a href="{}">{}</a>').format(page, arm.arm) for arm, page in zip(arms, pages, strict=True)]
    return draw(
        "arms.html.j2",
        study=arms[0],
        kicker=KICKER,
        by=listing([label(column) for column in by]),
        arms=fit_tables.arms_table([arm.fits for arm in arms], links, [len(arm.cells) for arm in arms]),
        compared=compared,
        comparison=os.path.relpath(arms[0].fits_folder / layout.COMPARISON_PAGE, at or arms[0].fits_folder),
        columns=",".join(by),
        commands=checklist.commands(arms[0]),
    )


def sections(shown: Sequence[Shown], also: Collection[str]) -> dict[str, list[Shown]]:
    """Drawn figures by section, both in the order of the registry, and the sections that have tables of their own."""
    out: dict[str, list[Shown]] = {}
    for figure in shown:
        if figure.svg is not None or figure.plot.section in also:
            out.setdefault(figure.plot.section, []).extend([figure] if figure.svg is not None else [])
    return out


def draws(study: Study) -> dict[str, Any] | None:
    """Surfaces for the sliders of the page, and C, loss and number of the cells; None where there is no compute."""
    headline = study.fits.headline
    if headline.draws is None or not headline.loss:
        return None
    cells = study.cells.dropna(subset=["C", "loss"])
    points = [[row["C"], row["loss"], str(number)] for number, row in cells.head(MOST_POINTS).iterrows()]
    return plain(headline.draws) | {"reach": [one.reach for one in headline.loss], "cells": points}


def flags(study: Study) -> list[tuple[Flag, Markup]]:
    """Flags, the gravest first, with their cells by name; the name of a row marks it."""
    out = []
    for flag in sorted(study.fits.flags, key=lambda flag: SEVERITIES.index(flag.severity)):
        names = [_cell_name(study, cell) for cell in flag.cells]
        more = f" and {len(names) - MOST_CELLS} more" if len(names) > MOST_CELLS else ""
        out.append((flag, Markup("; ").join(names[:MOST_CELLS]) + more))
    return out


def _cell_name(study: Study, cell: Mapping[str, Any]) -> str:
    if cell.get("row") in study.cells.index:
        words = study.label(study.cells.loc[cell["row"]])
        return Markup('<a href="#cells" data-cell="{}">{}</a>').format(cell["row"], words)
    return ", ".join(f"{k} {v:g}" if isinstance(v, int | float) else f"{k} {v}" for k, v in cell.items())
