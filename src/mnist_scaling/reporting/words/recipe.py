"""How a study was made: commands, search space, settings of the fit, versions."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.figures.change import describe
from mnist_scaling.reporting.text import plural
from mnist_scaling.study import identity, layout, records
from mnist_scaling.study.columns import label
from mnist_scaling.study.identity import IDENTITY, range_in_words


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
    ]


def settings(study: Study) -> list[tuple[str, str]]:
    """Pairs of name and value, in reading order."""
    out = [("grid", f"{label(a)} {_levels(study, a)}") for a in study.axes]
    out += [(f"search range of {key}", text) for key, text in _ranges(study).items()]
    change = study.fits.tuning_change
    if change is not None and change.setting:
        out.append(("untuned setting (the control of every cell)", describe(change.setting)))
    out += [("fit", _flat(study.fits.settings))] if study.fits.settings else []
    known = {"name", "axes", "grid", "tuned", IDENTITY, identity.COMMAND, identity.VERSIONS, identity.ASKED}
    out += [(label(k), _flat(v)) for k, v in study.record.items() if k not in known]
    return out


def versions(study: Study) -> list[tuple[str, str]]:
    """Of the study where study.json keeps them, else of the environment that writes the report."""
    return list(study.record.get(identity.VERSIONS, identity.versions()).items())


def _levels(study: Study, axis: str) -> str:
    return ", ".join(axis_value(v) for v in sorted(study.cells[axis].dropna().unique()))


def _ranges(study: Study) -> dict[str, str]:
    """Search range of each tuned key in words: the range of most cells, and the others, whose range was widened."""
    found: dict[str, Counter[str]] = {}
    for cell in records.read_cells(study.folder).values():
        for key, text in cell.get("space", {}).items():
            found.setdefault(key, Counter())[range_in_words(text)] += 1
    out = {}
    for key, ranges in found.items():
        usual, *others = ranges.most_common()
        rest = [f"{text} in {plural(count, 'cell')}" for text, count in others]
        out[key] = "; ".join([usual[0] if not rest else f"{usual[0]} in {plural(usual[1], 'cell')}", *rest])
    return out


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{label(str(k))} {_flat(v)}" for k, v in value.items() if v not in (None, [], ""))
    return "; ".join(map(_flat, value)) if isinstance(value, list) else str(value)
