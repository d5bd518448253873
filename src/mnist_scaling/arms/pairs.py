"""The arms that are compared, two at a time: each its own study or table, or the values of a column of one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from mnist_scaling.arms.reading import Source, mixed, read, repeats
from mnist_scaling.config.compare_schema import CompareConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.comparing import Arm
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.diagnostics.of_cells import input_suspect, unit_suspect
from mnist_scaling.study import identity, missing
from mnist_scaling.study.columns import SEED
from mnist_scaling.study.files import checksum
from mnist_scaling.study.flags import ARM_UNFINISHED, OTHER_DATA, OTHER_EFFORT
from mnist_scaling.study.tables.fitted_rows import ArmRows as Rows
from mnist_scaling.study.tables.fitted_rows import arm_name

SAME_EFFORT = 0.01
"""Relative difference in trials per cell that failed runs make."""


@dataclass(frozen=True)
class Member:
    """An arm, and where it comes from."""

    arm: Arm
    source: Source
    axes: Mapping[str, Any] = field(default_factory=dict)
    """Column to value, of an arm inside a study."""
    data: tuple[str, ...] = ()
    """What is known of its data sets."""
    flags: tuple[Flag, ...] = ()
    """What its rows hold that nobody named, and columns that seem to be in another unit."""
    effort: tuple[float, ...] = ()
    """Trials and repeats per cell (mean); NaN where the table has no such column."""
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    """All of its rows, as they stand in the table."""

    def record(self, folder: Path) -> dict[str, Any]:
        """As comparison.json has it."""
        path = self.source.path
        place = {"table": os.path.relpath(path, folder)}
        if self.source.study is not None:
            place = {"study": path.parent.name, **place}
        return place | {"axes": dict(self.axes), "sha256": checksum(path.read_bytes())}


def pairs_of(config: CompareConfig) -> list[tuple[Member, Member]]:
    """The arms to compare, two at a time, in the order that they were named.

    InputError when there are fewer than two arms, or a study that should be one arm has several.
    """
    sources = [read(source) for source in config.sources()]
    for source in sources:
        if source.study is not None:
            missing.warn(source.folder)
    if config.by:
        return _inside(config, sources[0])
    members = [_whole(source, name) for source, name in zip(sources, _names(sources), strict=True)]
    return list(combinations(members, 2))


def _names(sources: Sequence[Source]) -> list[str]:
    """Studies by their folder, tables by their file; by the whole path where two would be the same."""
    short = [s.path.parent.name if s.study is not None else s.path.stem for s in sources]
    return [name if short.count(name) == 1 else str(s.path) for name, s in zip(short, sources, strict=True)]


def _whole(source: Source, name: str) -> Member:
    """A study or a table that is one arm."""
    if len(source.rows.arms) > 1:
        arms = "; ".join(arm.name for arm in source.rows.arms)
        raise InputError(
            f"Each study must be one arm, but {name} has {len(source.rows.arms)} ({arms}): keep one with where=…, or "
            f"compare them with by={source.rows.by[0]} name={name}."
        )
    return _member(source, source.rows.arms[0], name)


def _inside(config: CompareConfig, source: Source) -> list[tuple[Member, Member]]:
    """Arms of one table that differ in the columns of `by` and agree in all other axes."""
    columns = config.by_columns
    members = [_member(source, rows, rows.name) for rows in source.rows.arms]
    groups: dict[str, list[Member]] = {}
    for member in members:
        rest = {k: v for k, v in member.axes.items() if k not in columns}
        groups.setdefault(arm_name(rest), []).append(member)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2)]
    if not pairs:
        raise InputError(
            f"`by` must name a column with at least two values, but {' and '.join(columns)} of {source.path} has one: "
            "name another column, or widen where=…."
        )
    return pairs


def _member(source: Source, rows: Rows, name: str) -> Member:
    try:
        table, _ = source.table(rows)
    except InputError as error:
        raise InputError(f"{source.unfinished} {error}".strip()) from None
    arm = Arm(name, table, repeats(source, rows, table.rows))
    flags = [*mixed(source, rows), *unit_suspect(table, source.classes), *input_suspect(table)]
    effort = rows.frame.reindex(columns=["n_trials", "n_repeats"]).apply(pd.to_numeric, errors="coerce").mean()
    return Member(arm, source, rows.axes, _data(source, rows), tuple(flags), tuple(effort), rows.frame)


def _data(source: Source, rows: Rows) -> tuple[str, ...]:
    """The data sets of an arm: those of its study, or the one that it names itself."""
    facts = (source.study or {}).get(identity.DATA, [])
    own = rows.axes.get("data")
    mine = [f for f in facts if own in (None, f.get("name"))]
    return tuple(sorted(f"{f.get('name')} {f.get('sha256') or ''}".strip() for f in mine))


def twin_of(config: CompareConfig, members: Sequence[Member]) -> tuple[Arm, Arm] | None:
    """The arm that was tuned again, and its twin; None where no twin is named.

    InputError when the twin's settings are those of none of the arms, or its seed is that of the arm.
    """
    wanted = config.twin_source()
    if wanted is None:
        return None
    source = read(wanted)
    twins = [_member(source, rows, source.path.parent.name) for rows in source.rows.arms]
    found: list[list[str]] = []
    for member in members:
        for twin in (one for one in twins if one.axes == member.axes):
            found.append(_unlike(member, twin))
            if not found[-1]:
                return member.arm, twin.arm
    difference = ", ".join(sorted(found, key=len)[0]) if found else "no arm has its axes"
    raise InputError(
        f"`twin` must be one of the arms, tuned again with another seed and nothing else changed, but of "
        f"{wanted.name} {difference}: run the arm's own command with another name=… and seed=…."
    )


SETTLED = ("settings", "ranges", "method")
"""Parts of a study's identity that say how its cells were trained and tuned."""


def _identity(member: Member) -> Mapping[str, Any]:
    return (member.source.study or {}).get(identity.IDENTITY, {})


def differing(a: Member, b: Member) -> list[str]:
    """Keys of the settings, ranges and methods in which two studies differ, but for the seed."""
    pairs = [[_identity(member).get(part, {}) for member in (a, b)] for part in SETTLED]
    return sorted({key for x, y in pairs for key in x.keys() | y.keys() if x.get(key) != y.get(key)} - {SEED})


def _unlike(member: Member, twin: Member) -> list[str]:
    """What keeps a study from being the twin of an arm, in words."""
    arm, other = _identity(member), _identity(twin)
    differences = [
        text for key in SETTLED for text in identity.differences(arm.get(key, {}), other.get(key, {}), {}, (SEED,))
    ]
    seeds = [study.get("settings", {}).get(SEED) for study in (arm, other)]
    return differences or (["the seed is that of the arm"] if seeds[0] == seeds[1] else [])


def flags_of(a: Member, b: Member, config: CompareConfig) -> list[Flag]:
    """That an arm's study is unfinished, and that the arms differ in trials (if both were tuned), repeats, or data.

    InputError when nobody asked for different data.
    """
    unfinished = {str(m.source.path): m for m in (a, b) if m.source.unfinished}
    flags = [Flag(ARM_UNFINISHED, f"{m.source.folder.name}: {m.source.unfinished}") for m in unfinished.values()]
    flags += [replace(flag, message=f"{m.arm.name}: {flag.message}") for m in (a, b) for flag in m.flags]
    efforts = list(zip(("trials", "repeats"), a.effort, b.effort, strict=True))[not (a.arm.tuned and b.arm.tuned) :]
    if apart := [f"{x:.3g} {word} ({b.arm.name}: {y:.3g})" for word, x, y in efforts if abs(x - y) > SAME_EFFORT * y]:
        flags.append(Flag(OTHER_EFFORT, f"A cell of {a.arm.name} has {' and '.join(apart)}."))
    if not (a.data and b.data) or a.data == b.data:
        return flags
    said = f"{a.arm.name} was trained on {', '.join(a.data)}, {b.arm.name} on {', '.join(b.data)}"
    if "data" not in config.allow and "data" not in config.by_columns:
        raise InputError(
            f"Arms must be trained on the same data, but {said}: give allow=[data] if that is what you compare."
        )
    return [*flags, Flag(OTHER_DATA, f"{said}.")]
