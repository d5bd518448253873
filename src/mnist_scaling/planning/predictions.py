"""predictions.csv: what a run should give, registered before it, and scored after it.

Each row holds a seal, the hash of its registered fields and of the seal before it, so that an edit is noticed.

    score    CRPS = 2 mean_q pinball_q(ln L), by the quantiles that were registered; a point forecast's is |error|
    regret   ln L with the settings that were recommended, less ln L of the cell tuned in full
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.arms.reading import Source
from mnist_scaling.errors import InputError, line_of, require
from mnist_scaling.fitting.ahead import reach_of
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.planning import growth
from mnist_scaling.planning.new_cell import Expected, NewCell, matching
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study import columns, files, flags, identity, layout, records
from mnist_scaling.study.layout import PREDICTIONS, RESULT, cell_parts
from mnist_scaling.study.tables.csv_table import read_table

SEAL = "seal"
SCORED = (
    "measured_loss", "measured_se", "measured_error", "measured_in", "inside", "log_error", "crps", "regret", "why_not",
)  # fmt: skip
"""Columns that scoring fills, which no seal holds."""

WORDS = (
    "time", "study", "axes", "beyond", "counted", "law", "by_law", "warnings", "D_column", "loss_column", "where",
    "code", "version", "tables_hash", SEAL, "measured_in", "why_not",
)  # fmt: skip
"""Columns of text, even where it looks like a number."""

SIZES = {"N": "n_params", "D": "n_seen", "C": "flops"}
"""Columns of the sizes that were fitted, whatever the study calls them."""

LEVELS = np.arange(1, 40) / 40
"""Of the quantiles of ln L that are registered."""


def read_predictions(folder: Path) -> list[dict[str, str]]:
    """The rows of a folder's predictions.csv, as text; none where there is no file."""
    path = folder / PREDICTIONS
    if not path.is_file():
        return []
    rows = read_table(path, [SEAL], dtype=str, keep_default_na=False).to_dict("records")
    before = ""
    for number, row in enumerate(rows):
        if row[SEAL] != seal(row, before):
            rule = f"A prediction must stay as it was registered, but line {line_of(number)} of {path} or one above it"
            raise InputError(f"{rule} was changed: bring the file back as it was, or move it away and register anew.")
        before = row[SEAL]
    return [{str(k): str(v) for k, v in row.items()} for row in rows]


def seal(row: Mapping[str, str], before: str) -> str:
    """Hash of a row's registered fields and of the seal before it."""
    fields = {k: v for k, v in sorted(row.items()) if v != "" and k not in (*SCORED, SEAL)}
    return files.checksum((before + json.dumps(fields)).encode())[:16]


def tables_hash(of: Studied) -> str:
    """Hash of the tables that a prediction rests on."""
    paths = [of.source.path, *([of.folder / layout.TRIALS] if of.is_study else [])]
    return files.checksum(b"".join(path.read_bytes() for path in paths if path.is_file()))[:16]


def register(
    of: Studied, cell: NewCell, expected: Expected, folder: Path, where: str | None = None, write: bool = True
) -> dict[str, str]:
    """Add a prediction to a folder's predictions.csv, unless one of that cell and of these tables is there; the row.
    `where` is the condition on the rows that were fitted. Without `write` the row gets no seal."""
    begun = of.folder / Path(*cell_parts(cell.axes)) if cell.axes else None
    if begun is not None and any(begun.glob(f"*/{RESULT}")):
        raise InputError(f"A cell must be predicted before it is run, but {begun} holds runs: give another target.")
    rows, row = read_predictions(folder), _row(of, cell, expected, where)
    # One prediction of a cell from the same tables: the first one counts, whatever code or seed gives another.
    for old in rows:
        if all(old.get(k, "") == row[k] for k in (*cell.axes, *SIZES.values(), "tables_hash")):
            return old
    if write:
        row[SEAL] = seal(row, rows[-1][SEAL] if rows else "")
        _write(folder, [*rows, row])
    return row


def _row(of: Studied, cell: NewCell, expected: Expected, where: str | None) -> dict[str, str]:
    """Everything that is registered of a prediction, as text."""
    reach, beyond = reach_of(of.table, {k: float(np.log(v)) for k, v in cell.at.items()})
    fields: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"), "study": of.folder.name,
        "axes": ";".join(cell.axes), **cell.axes, **{name: cell.at.get(role, "") for role, name in SIZES.items()},
        "reach": reach, "beyond": beyond, "counted": cell.counted,
        "law": of.model.posterior.law.name, **_ends(expected.loss, "predicted_loss", ""),
        **_ends(expected.error, "predicted_error", "error_"), "by_law": ";".join(expected.by_law),
        "quantiles": ";".join(f"{q:.5f}" for q in np.quantile(expected.log_loss, LEVELS)), "level": of.model.level,
        "warnings": ";".join(dict.fromkeys(f.code for f in of.result.flags if f.severity != flags.INFO)),
        "D_column": of.source.rows.names["D"] or "",
        "loss_column": of.loss, "where": where or "", "code": identity.commit() or "",
        "version": identity.versions().get("mnist-scaling", ""), "tables_hash": tables_hash(of),
    }  # fmt: skip
    for key, found in expected.settings.items():
        fields |= {key: found} if isinstance(found, str) else _ends(found, key, f"{key}_")
    return {k: _text(v) for k, v in fields.items()}


def _ends(found: Interval, name: str, prefix: str) -> dict[str, float]:
    return {name: found.value, f"{prefix}low": found.low, f"{prefix}high": found.high}


def command(of: Studied, rows: Sequence[Mapping[str, str]], folder: Path) -> str:
    """The command that runs the cells of predictions that have not come, in the study and beside its own cells."""
    known = growth.grown_from(of)
    names = dict(zip(known[0].record["axes"], known[0].keys, strict=True))
    trials, repeats = (int(np.median([getattr(cell, runs) for cell in known])) for runs in ("trials", "repeats"))
    waiting = [_axes(row) for row in rows if not _measured(row, of.source)]
    wanted = {tuple(axes.values()): {names[a]: v for a, v in axes.items()} for axes in waiting if axes}
    new = [growth.GrownCell(keys, trials, repeats) for keys in wanted.values()]
    return growth.write(of, [*known, *new], folder / layout.PREDICTED_CELLS) if new else ""


def _value(text: str) -> Any:
    """A field as it was: a number, true or false, null, or a word; None of an empty one."""
    with contextlib.suppress(ValueError, SyntaxError):
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    return text or None


def record(row: Mapping[str, str]) -> dict[str, Any]:
    """A row with numbers as numbers, for JSON; None where a field is empty."""
    out = {k: (v or None) if k in WORDS else _value(v) for k, v in row.items()}
    return out | {"quantiles": [float(q) for q in row["quantiles"].split(";")]}


def _axes(row: Mapping[str, str]) -> dict[str, Any]:
    """Values of the axes of a row's cell."""
    return {a: _value(row[a]) for a in row["axes"].split(";") if a}


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.10g}" if np.isfinite(value) else ""
    return str(value)


def _write(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    registered = dict.fromkeys(k for row in rows for k in row if k not in (SEAL, *SCORED))
    table = pd.DataFrame(rows, columns=[*registered, SEAL, *SCORED])
    files.write_atomically(folder / PREDICTIONS, table.to_csv(index=False))


def score(folder: Path, sources: Sequence[Source], write: bool = True) -> list[dict[str, str]]:
    """Score a folder's predictions by the studies in which their cells may have come, the study's own first."""
    rows = read_predictions(folder)
    require(bool(rows), f"A score needs a prediction, but {folder / PREDICTIONS} has none: register one by target.…=….")
    scored = [{k: v for k, v in row.items() if k not in SCORED} | _scored(row, sources) for row in rows]
    if write:
        _write(folder, scored)
    return scored


def _scored(row: Mapping[str, str], sources: Sequence[Source]) -> dict[str, str]:
    tuned, advised, why = [], [], "not measured yet"
    for source in sources:
        for one in _measured(row, source):
            folder = source.folder / Path(*cell_parts({a: one[a] for a in source.grid}))
            runs = sorted(folder.glob(f"*/{RESULT}"), key=lambda path: path.stat().st_mtime)
            if runs and runs[0].stat().st_mtime < datetime.fromisoformat(row["time"]).timestamp():
                why = f"{folder} was begun before"
            elif float(one.get("n_trials", 2)) > 1:
                tuned.append((one, source))
            elif runs and _as_advised(row, runs[0].parent, sources[0].tuned):
                advised.append((one, source))
    if not (tuned or advised):
        return {"why_not": why}
    one, source = (tuned or advised)[0]
    value, names = float(one[row["loss_column"]]), source.rows.names
    out = {
        "measured_loss": value, "measured_se": float(one.get(str(names.get("se")), np.nan)),
        "measured_error": float(one.get("test_error", np.nan)), "measured_in": source.folder.name,
        "inside": str(float(row["low"]) <= value <= float(row["high"])).lower(),
        "log_error": float(np.log(value / float(row["predicted_loss"]))),
        "crps": crps(float(np.log(value)), np.array(row["quantiles"].split(";"), float)),
    }  # fmt: skip
    if tuned and advised:
        out["regret"] = float(np.log(advised[0][0][row["loss_column"]] / value))
    return {k: _text(v) for k, v in out.items()}


def crps(y: float, quantiles: Array) -> float:
    """Continuous ranked probability score of a value against quantiles at `LEVELS`: twice their mean pinball loss."""
    off = y - quantiles
    return float(2 * np.maximum(LEVELS * off, (LEVELS - 1) * off).mean())


def _measured(row: Mapping[str, str], source: Source) -> list[dict[str, Any]]:
    """The rows of a source that are a prediction's cell and have a loss."""
    at = {role: float(row[name]) for role, name in SIZES.items() if row[name]}
    cell, loss = NewCell(_axes(row), {}, at, ""), row["loss_column"]
    tables = [arm.frame for arm in source.rows.arms if loss in arm.frame]
    rows = [cells[matching(cells, cell, source.rows.names) & cells[loss].notna()] for cells in tables]
    return [one for some in rows for one in some.to_dict("records")]


def _as_advised(row: Mapping[str, str], folder: Path, tuned: Sequence[str]) -> bool:
    """Whether a run has the settings that were recommended."""
    config = {columns.column_of(k): v for k, v in (records.read_run(folder) or {}).get("config", {}).items()}
    wanted = [key for key in tuned if row.get(key)]
    return bool(wanted) and all(_text(config.get(key)) == row[key] for key in wanted)


def summary(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Of the scored rows: how many are inside, mean width in ln L, root mean square and mean error, mean CRPS."""
    scored = [row for row in rows if row.get("measured_loss")]
    if not scored:
        return {"registered": len(rows), "scored": 0}
    off, crps, low, high = (np.array([float(row[k]) for row in scored]) for k in ("log_error", "crps", "low", "high"))
    return {
        "registered": len(rows), "scored": len(scored), "inside": sum(row["inside"] == "true" for row in scored),
        "width": float(np.log(high / low).mean()), "rms": float(np.sqrt((off**2).mean())), "bias": float(off.mean()),
        "crps": float(crps.mean()),
    }  # fmt: skip
