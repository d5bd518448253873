"""What study.json says: which runs belong to one study, compared before anything is trained, and how it was made.

The identity of a sweep is what differs from the defaults of the configuration, less its axes, its tuned keys and the
keys that change no result. So a new field of the configuration, at its default, leaves every older study resumable,
and a difference always has a name. study.json holds it. Every record of a run holds the run's whole configuration, and
is compared with its cell too, so that a default which has changed since is noticed.

What a flag's remedy asks for is no other study: ranges and the cap on a run's length may grow, and trials, repeats and
cells may be added.
"""

from __future__ import annotations

import functools
import json
import platform
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import isclose
from pathlib import Path
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, layout

VERSION = 2
"""Version of a study's records and of its identity, in its study.json."""

CHECKSUMS = ("data.sha256", "init_sha256")
"""Config keys of files' contents, which a sweep fills in when it opens the files."""

IDENTITY = "identity"
"""Key of study.json."""

CAP, RANGE = "regime.max_epochs", "search_space."
"""Config key of the cap on a run's length. Raised, it changes no run that had ended before it: others are taken on. And
how the key of a range begins."""

PACKAGES = (
    "mnist-scaling", "torch", "numpy", "scipy", "pandas", "hydra-core", "omegaconf", "optuna", "hydra-optuna-sweeper",
)  # fmt: skip
"""Packages whose version can change a result."""

COMMAND, VERSIONS, COMMIT, STARTED, DATA, ASKED = "command", "versions", "commit", "started", "data", "cells_asked"
"""Keys of study.json; the last two: what is known of each data set, and the number of cells of its last sweep."""


@dataclass(frozen=True)
class Identity:
    """What all cells of a sweep have in common."""

    settings: Mapping[str, Any]
    """Config key to value, where the value is not the default."""
    ranges: Mapping[str, str] = field(default_factory=dict)
    """Tuned config key to its range, as text."""
    varying: tuple[str, ...] = ()
    """Config keys that belong to an axis: those swept, and those that a swept config group brings with it."""
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """All settings and ranges that cells share by the options of their swept config groups, such as optim=sgd."""
    program: str = ""
    """The module that trains."""
    method: Mapping[str, Any] = field(default_factory=dict)
    """What decides a cell's next setting, by config key: sampler, pruner, transfer, trials_per_batch and widen."""


def settings(values: Mapping[str, Any], defaults: Mapping[str, Any], left_out: Iterable[str] = ()) -> dict[str, Any]:
    """The keys of a run's configuration that are not at their default, without those that don't count."""
    skipped = {*left_out}
    kept = {k: v for k, v in values.items() if k not in skipped}
    return {key: value for key, value in kept.items() if key not in defaults or defaults[key] != value}


def of(cells: Sequence[tuple[Mapping[str, Any], Mapping[str, str], Mapping[str, Any]]]) -> Identity:
    """The identity of a sweep from what `settings` returns for each cell, its ranges, and its swept keys with values.

    A key that has different values in different cells belongs to the axis that makes the difference:
    ``regime=single_epoch,early_stopping`` also moves ``optim.schedule``.
    """
    every = list(dict.fromkeys(key for own, ranges, _ in cells for key in (*own, *ranges)))
    axes = tuple(dict.fromkeys(axis for _, _, keys in cells for axis in keys))
    absent = object()

    def differs(key: str) -> bool:
        values = [(own.get(key, absent), ranges.get(key, absent)) for own, ranges, _ in cells]
        return any(value != values[0] for value in values)

    varying = {key for key in every if differs(key) or any(key == a or key.startswith(f"{a}.") for a in axes)}
    own, ranges, _ = cells[0]
    return Identity(
        {k: v for k, v in own.items() if k not in varying},
        {k: v for k, v in ranges.items() if k not in varying},
        tuple(sorted({*varying, *axes})),
        _groups(cells),
    )


def _groups(
    cells: Sequence[tuple[Mapping[str, Any], Mapping[str, str], Mapping[str, Any]]],
) -> dict[str, dict[str, Any]]:
    """What the first cell with each combination of swept config groups has; keys without a dot name groups."""
    out: dict[str, dict[str, Any]] = {}
    for settings_of, ranges, keys in cells:
        name = " ".join(f"{key}={value}" for key, value in keys.items() if "." not in key)
        every = _with_ranges(settings_of, ranges).items()
        out.setdefault(name, {key: value for key, value in every if key not in keys})
    return out


def _with_ranges(own: Mapping[str, Any], ranges: Mapping[str, str]) -> dict[str, Any]:
    return {**own, **{f"{RANGE}{key}": text for key, text in ranges.items()}}


def differences(
    known: Mapping[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Any], left_out: Iterable[str] = ()
) -> list[str]:
    """Each key in which two sets of settings differ, in words; a key that one lacks is at its default there.

    A range that has grown is no difference: what was tried in the older one lies in the new one. Nor is a raised `CAP`.
    Where a key is tuned by one of them alone, its range there differs from its value here, which is told once.
    """
    one_sided = {key.removeprefix(RANGE) for key in known.keys() ^ wanted.keys() if key.startswith(RANGE)}
    skipped, said = {*left_out}, []
    for key in sorted((known.keys() | wanted.keys()) - one_sided):
        name = key.removeprefix(RANGE)
        before, now = (given.get(key, given.get(name, defaults.get(name))) for given in (known, wanted))
        raised = key == CAP and now is not None and (before is None or now > before)
        if before != now and name not in skipped and not raised and not has_grown(before, now):
            said.append(f"{name} was {range_in_words(before)} and is now {range_in_words(now)}")
    return said


def has_grown(before: Any, now: Any) -> bool:
    """Whether a range, as text, holds an older one: the same scale and steps between further ends, or more choices."""
    try:
        old, new = json.loads(before), json.loads(now)
        was, ist = old["attributes"], new["attributes"]
        if old["name"] != new["name"]:
            return False
        if "choices" in was:
            return all(choice in ist["choices"] for choice in was["choices"])
        below, above = was["low"] - ist["low"], ist["high"] - was["high"]
        steps = [size / was["step"] for size in (below, above)] if was["step"] else []
        limits = [set(content.get("limits", ())) for content in (old, new)]
        moved = {end for end, by in (("low", below), ("high", above)) if by}
        return (
            (was["log"], was["step"]) == (ist["log"], ist["step"])
            and min(below, above) >= 0
            and all(isclose(n, round(n), abs_tol=1e-8) for n in steps)
            and limits[0] ^ limits[1] <= moved
        )
    except (ValueError, KeyError, TypeError):
        return False


def range_in_words(value: Any) -> str:
    """A range as readers see it, such as ``0.001 to 0.05, logarithmic``, from Optuna's JSON; else the value as text.

    What has no value is "not set".
    """
    if value is None:
        return "not set"
    try:
        content = json.loads(value) if isinstance(value, str) else {}
        attributes = content["attributes"]
        if "choices" in attributes:
            return f"one of {', '.join(map(str, attributes['choices']))}"
        scale = ", logarithmic" if attributes.get("log") else ""
        limits = "".join(f", {attributes[end]:g} is a limit" for end in content.get("limits", ()))
        return f"{attributes['low']:g} to {attributes['high']:g}{scale}{limits}"
    except (ValueError, KeyError, TypeError):
        return str(value)


def check(folder: Path, identity: Identity, defaults: Mapping[str, Any], not_yet_known: Iterable[str] = ()) -> Identity:
    """Compare a sweep with the study in a folder that it wants to join; the identity to write into study.json.

    `not_yet_known` are keys that are not compared, because the sweep has not looked at the files yet. InputError names
    the keys that differ and are no axis of either, or another version or program that made the study.
    """
    study = files.read_json(folder / layout.STUDY)
    if study is None:
        return identity
    if study.get("version") != VERSION:
        raise InputError(
            f"A study must be of version {VERSION}, but {folder / layout.STUDY} has version {study.get('version', 1)}: "
            "go on with the version of mnist_scaling that made it, or give the new study another `name=`."
        )
    if (record := study.get(IDENTITY)) is None:
        return identity  # someone took it out; every record still holds its run's whole configuration
    if (program := record["program"]) != identity.program:
        raise InputError(
            f"A study's runs must be of one program, but {folder} was trained by {program} and this sweep trains "
            f"by {identity.program}: give the new study another `name=`."
        )
    varying = tuple(sorted({*record["varying"], *identity.varying}))
    left_out = set(not_yet_known)
    known = _with_ranges(record["settings"], record["ranges"])
    wanted = _with_ranges(identity.settings, identity.ranges)
    unlike = differences(known, wanted, defaults, {*varying, *left_out})
    groups = record["groups"]
    # Weights to start from may differ between cells: a group has those of its first one, and each cell checks its own.
    left_out |= {key for key in CHECKSUMS if key in varying}
    for name in groups.keys() & identity.groups.keys():
        unlike += differences(groups[name], identity.groups[name], defaults, left_out)
    unlike += differences(record["method"], identity.method, {})
    if unlike:
        made = f" It was made by `{study[COMMAND]}`." if COMMAND in study else ""
        raise InputError(
            f"The cells of a study must share all settings but its axes, but {folder} differs from this sweep: "
            f"{', '.join(dict.fromkeys(unlike))}; set it back, sweep it as an axis, or give the new study another "
            f"`name=`. (Ranges and {CAP} may grow, trials, repeats and cells may be added.){made}"
        )
    common = {k: identity.settings.get(k, v) for k, v in record["settings"].items() if k not in varying}
    ranges = {k: identity.ranges.get(k, v) for k, v in record["ranges"].items() if k not in varying}
    return Identity(common, ranges, varying, groups | dict(identity.groups), identity.program, identity.method)


def collect(overrides: Sequence[str], command: Sequence[str]) -> dict[str, Any]:
    """The command as a shell takes it, the versions and the commit it ran with, and when it was last started."""
    return {
        COMMAND: shlex.join([*command, "-m", *overrides]),
        **code(),
        STARTED: datetime.now(UTC).isoformat(timespec="seconds"),
    }


def data_fact(study: Mapping[str, Any], key: str) -> Any:
    """What a study.json says of its data by a key, such as classes; None where it does not, or its data sets differ."""
    known = {facts.get(key) for facts in study.get(DATA, [])}
    return known.pop() if len(known) == 1 else None


@functools.cache
def code() -> Mapping[str, Any]:
    """Versions and commit, as this process has them: what a run's record keeps of the program that made it."""
    return {VERSIONS: versions(), COMMIT: commit()}


def made_by(record: Mapping[str, Any]) -> str:
    """The code that made a record, in words; empty where the record does not tell."""
    if VERSIONS not in record:
        return ""
    packages = record[VERSIONS]
    mine = f"commit {record[COMMIT]}" if record.get(COMMIT) else f"mnist-scaling {packages.get('mnist-scaling')}"
    return f"{mine} with torch {packages.get('torch')}"


def versions() -> dict[str, str]:
    """Version of Python and of each of `PACKAGES` that is installed."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that was never installed
            continue
    return installed


def commit() -> str | None:
    """The checkout's commit, with a + where files differ from it; None outside a checkout of this project."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / ".git").exists():
        return None
    describe = ["git", "-C", str(folder), "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
