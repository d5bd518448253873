"""How a study was made: commands, search space, settings of the fit, versions."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mnist_scaling.reporting.loading import Study, axis_value
from mnist_scaling.reporting.prepare.change import describe
from mnist_scaling.study import layout
from mnist_scaling.study.columns import label as columns_label

PACKAGES = (
    "mnist-scaling",
    "torch",
    "hydra-core",
    "optuna",
    "hydra-optuna-sweeper",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
)


def commands(study: Study) -> list[str]:
    """What to type to make all this again; the sweep's own words where study.json keeps them."""
    sweep = study.record.get("command")
    if sweep is None:
        keys = _cell(study).get("keys", {}) or dict.fromkeys(study.axes)
        values = [f"{key}={_levels(study, axis)}" for key, axis in zip(keys, study.axes, strict=False)]
        sweep = f"python -m mnist_scaling.train -m name={study.name} {' '.join(values)}"
    steps = [f"python -m mnist_scaling.{step} name={study.name}" for step in ("fit", "report")]
    return [str(sweep), *steps]


def settings(study: Study) -> list[tuple[str, str]]:
    """Pairs of name and value, in reading order."""
    out = [("grid", f"{columns_label(a)} {_levels(study, a).replace(',', ', ')}") for a in study.axes]
    for key, text in _cell(study).get("space", {}).items():
        out.append((f"search range of {key}", _distribution(text)))
    untuned = study.fits.get("tuning_change", {}).get("setting")
    if untuned:
        out.append(("untuned setting (the first trial of every cell)", describe(untuned)))
    out += [("fit", _flat(study.fits.get("settings", {})))] if study.fits.get("settings") else []
    known = {"name", "axes", "tuned", "command", "versions"}
    out += [(columns_label(k), _flat(v)) for k, v in study.record.items() if k not in known]
    return out


def versions(study: Study) -> list[tuple[str, str]]:
    """Of the study where study.json keeps them, else of the environment that writes the report."""
    stored = study.record.get("versions")
    if isinstance(stored, dict):
        return [(str(k), str(v)) for k, v in stored.items()]
    found = [("python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def _cell(study: Study) -> dict[str, Any]:
    """Any cell.json of the study: config keys of its axes, and the search space."""
    path = next(study.folder.rglob(layout.CELL), None)
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}


def _levels(study: Study, axis: str) -> str:
    return ",".join(axis_value(v) for v in sorted(study.cells[axis].dropna().unique()))


def _distribution(text: str) -> str:
    """Optuna's JSON of a distribution in words."""
    try:
        attributes = json.loads(text)["attributes"]
    except (ValueError, KeyError, TypeError):
        return str(text)
    if "choices" in attributes:
        return "one of " + ", ".join(map(axis_value, attributes["choices"]))
    return f"{attributes['low']:g} to {attributes['high']:g}" + (", logarithmic" if attributes.get("log") else "")


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{columns_label(str(k))} {_flat(v)}" for k, v in value.items() if v is not None)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
