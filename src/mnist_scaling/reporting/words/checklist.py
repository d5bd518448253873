"""How a study or table was made: commands, ranges, versions; and the checklist of (Mis)Fitting, filled in.

Source: Li, Kudugunta & Zettlemoyer 2025, (Mis)Fitting: A Survey of Scaling Laws, arXiv 2502.18969, appendix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.figures.change import describe
from mnist_scaling.reporting.text import TextTable, count, formula, listing, number, plural, spaced, symbol
from mnist_scaling.reporting.words.report_words import span
from mnist_scaling.study import identity, layout, records
from mnist_scaling.study.columns import CELL_TABLE, label
from mnist_scaling.study.identity import COMMIT, DATA, IDENTITY, range_in_words

UNTOLD = "The table does not tell."
"""What stands where only a study knows."""

Pairs = Iterator[tuple[str, Any]]


def checklist(study: Study) -> list[TextTable]:
    """A table of questions and answers for each part: the law, the training, the measured losses, the fit."""
    parts = {"The law": _law, "Training": _training, "What was measured": _measured, "The fit": _fit}
    head = ("question", "this study" if study.is_study else "this table")
    return [TextTable(head, [list(pair) for pair in answers(study)], title=title) for title, answers in parts.items()]


def _law(study: Study) -> Pairs:
    fits = study.fits
    law = fits.laws.get(fits.selected or next(iter(fits.headline.laws), ""))
    if law is None:
        yield "Which equation is fitted?", fits.why or fits.headline.slope_N.why or "No law was fitted."
        return
    yield "Which equation is fitted?", Markup("ln L = ln({}) + a smooth misfit + noise").format(formula(law.formula))
    yield "Which of its numbers are fitted?", listing([symbol(name) for name in law.params])
    yield "Where does its form come from?", law.source
    smooth = "Only that the loss is smooth in their logarithms: the misfit holds what the law misses."
    yield "What does it assume of how the variables act together?", smooth
    yield "Which other forms were tried?", listing([spaced(k) for k, one in fits.laws.items() if one.fitted])


def _training(study: Study) -> Pairs:
    cells, record = study.cells, study.record
    sizes = [
        f"{span(study, role)} {study.call(role)} ({plural(cells[role].nunique(), 'level')})"
        for role in ("N", "D")
        if cells[role].notna().any()
    ]
    runs = f", {plural(len(study.trials), 'run')} with tuning and repeats" if len(study.trials) else ""
    yield "How many models, of which sizes, on how much data?", f"{plural(len(cells), 'cell')}{runs}: {listing(sizes)}."
    yield "Which data?", listing([_in_words(facts) for facts in record.get(DATA, [])]) or UNTOLD
    passes = (cells["D"] / cells["U"]).max()
    again = f"Yes, up to {number(passes, 2)} times." if passes > 1.0001 else "No." if passes == passes else UNTOLD
    yield "Is any example seen more than once in a run?", again
    yield "How are size, data and compute counted?", Markup("<br>").join(_counted(study)) or UNTOLD
    tuned = listing([label(key) for key in study.tuned])
    chosen = (
        f"{tuned}: tuned in every cell by itself, in {cells['n_trials'].median():.0f} trials." if tuned else "By hand."
    )
    yield "How were hyperparameters chosen?", chosen if study.is_study else UNTOLD
    known = record.get(IDENTITY, {})
    used = [str(v).rpartition(".")[2] for k, v in known.get("method", {}).items() if k.endswith("_target_")]
    yield "By which sampler and pruner?", listing(used) or UNTOLD
    axes = listing([label(a) for a in study.axes]) or ("Nothing." if study.is_study else UNTOLD)
    yield "What else changes with size?", axes
    commit = record.get(COMMIT)
    code = [str(known.get("program", "")), f"commit {commit}" if commit else ""]
    yield "Which code trained it?", listing([*filter(None, code)]) or UNTOLD


def _counted(study: Study) -> Iterator[str]:
    """The columns of the roles and what they mean, as far as that is known."""
    meanings = {column.name: f", {column.meaning}" for column in CELL_TABLE} if study.is_study else {}
    for role in ("N", "D", "C"):
        if study.cells[role].notna().any():
            yield f"{role}: {study.names[role]}{meanings.get(str(study.names[role]), '').removesuffix(f': {role}')}"


def _measured(study: Study) -> Pairs:
    data, cells, settings = study.fits.data, study.cells, study.fits.settings
    one = "One loss per run, at its end; none of its earlier checkpoints." if study.is_study else "One loss per row."
    yield "How many checkpoints of a run are fitted?", one
    images = identity.data_fact(study.record, "n_test")
    on = f", on {count(images)} test images" if images is not None else ""
    yield "Which loss, on what?", f"{study.call('loss')}{study.unit}{on}."
    repeated = study.is_study and cells["n_repeats"].notna().any()
    fewest = f"{cells['n_repeats'].min():.0f} or more" if repeated else ""
    mean = f"The mean over the {fewest} repeats of a cell. " if repeated else ""
    yield "Was it changed before the fit?", f"{mean}No floor was taken off, and nothing was smoothed."
    left = [f"{plural(len(data.left_out), 'row')} with {listing(sorted({str(row['why']) for row in data.left_out}))}"]
    out = [*(left if data.left_out else []), *([f"{plural(len(data.masked), 'row')} at chance"] if data.masked else [])]
    out += [f"all but rows with {settings['where']}"] if settings.get("where") else []
    yield "Were any left out?", listing(out) or "No."


def _fit(study: Study) -> Pairs:
    fits = study.fits
    if fits.why:
        yield "Was a law fitted?", fits.why
        return
    settings, law, draws = fits.settings, fits.laws.get(fits.selected or ""), fits.settings["bootstrap"]
    objective = f"{settings['loss']} loss of ln L, delta {settings['delta']}; weights: {settings['weights']}."
    yield "Which objective?", objective
    starts = "A damped Newton method for many starts at once"
    if how := (law.fit if law else None):
        starts += f": {how['starts']}, the best {how['polished']} polished, of which {how['agreeing']} agree"
    yield "Which optimiser, from which starts?", f"{starts}."
    yield (
        "How uncertain is it?",
        f"{fits.level} intervals of {draws['draws']} draws, seed {draws['seed']}: of one model and its misfit; of each "
        f"law by a {draws['kind']} bootstrap.",
    )
    if law is not None:
        noise = f"{100 * fits.headline.noise:.2g}"
        yield "How well does it fit?", f"{100 * law.rmse_log:.2g} % (rms), against a noise of {noise} % per cell."
    held = law.holdout if law else None
    missed = (
        f"{plural(held.n, 'cell')} held out are missed by {100 * held.rmse_log:.2g} % (rms)." if held and held.n else ""
    )
    yield "Does it predict what it did not see?", missed or "Nothing was held out."
    counted = "Sizes counted otherwise, and laws" if fits.headline.counts else "Laws"
    yield "Does the answer hang on these choices?", f"{counted} fitted alone stand in tables of their own above."


def commands(study: Study) -> list[str]:
    """The commands that make all this again."""
    fitted, where = study.fits.command, f"fits={study.fits_folder}"
    if not study.is_study:
        return [
            fitted or f"python -m mnist_scaling.fit table={study.table} …",
            f"python -m mnist_scaling.report {where}",
        ]
    name = layout.name_argument(study.folder)
    return [
        str(study.record[identity.COMMAND]),
        fitted or f"python -m mnist_scaling.fit {name}",
        f"python -m mnist_scaling.report {name if study.fits_folder == study.folder else where}",
        *([f"make dashboard NAME={study.folder.name}"] if (study.folder / layout.JOURNAL).exists() else []),
    ]


def settings(study: Study) -> list[tuple[str, str]]:
    """Pairs of name and value, in reading order."""
    out = [("grid", "; ".join(f"{label(a)} {_levels(study, a)}" for a in study.axes))] if study.axes else []
    out += [(f"search range of {key}", text) for key, text in _ranges(study).items()]
    change = study.fits.tuning_change
    if change is not None and change.setting:
        out.append(("untuned setting (the control of every cell)", describe(change.setting)))
    out += [("fit", _in_words(study.fits.settings))] if study.fits.settings else []
    known = {"version", "tables", "name", "axes", "grid", "tuned", IDENTITY}
    known |= {identity.COMMAND, identity.VERSIONS, identity.ASKED}
    out += [(label(k), _in_words(v)) for k, v in study.record.items() if k not in known]
    return out


def versions(study: Study) -> list[tuple[str, str]]:
    """Of the study where study.json keeps them, else of the environment that writes the report."""
    return list(study.record.get(identity.VERSIONS, identity.versions()).items())


def _levels(study: Study, axis: str) -> str:
    return ", ".join(axis_value(v) for v in sorted(study.cells[axis].dropna().unique()))


def _ranges(study: Study) -> dict[str, str]:
    """Search range of each tuned key in words: the range of most cells, and the others, whose range was widened."""
    by_key: dict[str, Counter[str]] = {}
    for cell in records.read_cells(study.folder).values():
        for key, text in cell.get("space", {}).items():
            by_key.setdefault(key, Counter())[range_in_words(text)] += 1
    out = {}
    for key, ranges in by_key.items():
        usual, *others = ranges.most_common()
        rest = [f"{text} in {plural(count, 'cell')}" for text, count in others]
        out[key] = "; ".join([usual[0] if not rest else f"{usual[0]} in {plural(usual[1], 'cell')}", *rest])
    return out


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{label(str(k))} {_in_words(v)}" for k, v in value.items() if v not in (None, [], ""))
    return "; ".join(map(_in_words, value)) if isinstance(value, list) else str(value)
