"""kind: difference. Exponents of each arm, and how far they are from one arm's: what `compare` says of each pair.

L ∝ N^-alpha D^-beta        difference = arm - reference
slope_N, slope_D            -d ln L / d ln N (D) at the largest cell, as `fit` quotes it
N_exponent, …               of N*, D* and L* in C along the frontier, as `fit` quotes them
multiplier                  compute that the arm needs for the reference's loss, over the reference's compute
spent                       compute of all trials and repeats of an arm, over that of one run per cell
differs                     in words: by which exponents and losses, if by any, the arm differs from the reference
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scipy.stats import norm

from mnist_scaling.asking.measures import Findings, MeasureKind, Number, table
from mnist_scaling.asking.measures import arm as arm_named
from mnist_scaling.asking.measures.compute_optimal import WORDS
from mnist_scaling.asking.study_arms import RUNS, StudyArm
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.comparing import Arm, Comparison, ComparisonOptions, compare
from mnist_scaling.fitting.comparing.comparison import (
    DIFFERS,
    EQUIVALENT,
    MARGIN,
    NOT_SETTLED,
    margin_of,
    quoted_differences,
    verdict,
)
from mnist_scaling.fitting.comparing.pairing import Difference
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.fitted import Options
from mnist_scaling.fitting.laws.power import SYMBOLS
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL
from mnist_scaling.reporting.text import decimals, listing
from mnist_scaling.reporting.words.conclusion import SLOPES

EXPONENTS = {SYMBOLS[x][1]: f"exponent of {x}" for x in "ND"}
"""What they are called in tables."""

RATIOS = {"loss_ratio": "middle of the grid", "loss_ratio_largest": "largest cell"}
"""Where losses are compared."""

COST = {"tuning_flops", "n_repeats", "flops"}
"""Columns that say what an arm cost."""

NOT_MEASURED = "not measured"
"""The verdict on a difference that the cells do not hold."""

QUOTED = SLOPES | {key: f"exponent of {star} in C" for key, star in WORDS.items()}
"""What `fit` quotes of an arm, and what it is called in tables."""


@dataclass(frozen=True)
class DifferenceKeys:
    """Keys of this kind."""

    reference: str
    """The arm that the others are compared with."""
    columns: dict[str, str] = field(default_factory=dict)
    """Columns of N, D or C that are not the usual ones, such as D: n_train for converged runs."""
    margin: float = MARGIN
    """Differences up to this size don't matter: of an exponent, of which a tenth is the most, or of the log loss in the
    middle of the grid."""
    at_largest: bool = False
    """Whether what `fit` quotes, slopes at the largest cell and the frontier, is compared, too: it takes seconds."""
    losses: bool = True
    """False where the losses of arms are of different kinds, so that their ratio means nothing."""


def measure(keys: DifferenceKeys, arms: Mapping[str, StudyArm]) -> Findings:
    """Exponents by arm; differences, ratio of the losses, compute multipliers and verdicts by arm but the reference."""
    reference = arm_named(arms, keys.reference, "reference")
    twin = _twin(arms, keys)
    others = [arm for name, arm in arms.items() if name != reference.name]
    options = ComparisonOptions(margin=keys.margin, exponents=False)
    numbers = {f"{name}_spent": _spent(arm) for name, arm in arms.items() if {*arm.rows} >= COST}
    words: dict[str, str] = {}
    notes: list[str] = []
    flags: list[Flag] = []
    for arm in others:
        comparison, slopes = None, dict[str, Difference]()
        try:
            comparison = compare(_arm(reference, keys), _arm(arm, keys), options, twin)
            slopes |= comparison.slopes
            if keys.at_largest:
                slopes |= {one.parameter: one for one in quoted_differences(comparison.cells, Options())}
        except InputError as error:
            notes.append(f"{arm.label}: {error}")
        for key, what in {**EXPONENTS, **(QUOTED if keys.at_largest else {})}.items():
            slope = slopes.get(key, Difference())
            inside = slope.inside or (None, None)
            for side, interval, n in zip((reference, arm), (slope.a, slope.b), inside, strict=True):
                numbers.setdefault(f"{side.name}_{key}", Number(interval, f"{side.label}: {what}", inside=n))
            one = slope.difference
            said = verdict(one, margin_of(slope.a.value, keys.margin)) if one.known else NOT_MEASURED
            words[f"{arm.name}_{key}_verdict"] = said
            words[f"{arm.name}_{key}_found"] = found(one, said)
            meaning = f"{arm.label} minus {reference.label}: {what}"
            zero = "may be 0" * (said == NOT_SETTLED)
            fewest = min(slope.inside, default=None)
            shown = Number(one, meaning, doubtful=zero, verdict=said, inside=fewest)
            numbers[f"{arm.name}_{key}_difference"] = shown
        told = {f"the {what}": (f"{arm.name}_{key}_difference", f"{arm.name}_{key}") for key, what in EXPONENTS.items()}
        if keys.losses:
            words |= _losses(arm, reference, comparison, keys, numbers)
            told |= {f"the loss in the {where}": (f"{arm.name}_{slot}",) * 2 for slot, where in RATIOS.items()}
        found_of = {what: (numbers[slot], words[f"{key}_found"]) for what, (slot, key) in told.items()}
        words[f"{arm.name}_differs"] = differs(found_of)
        flags += comparison.flags if comparison else []
        notes += [f"{arm.label}: {flag.message}" for flag in (comparison.flags if comparison else ())]
    return Findings(numbers, words, tuple(notes), tuple(flags))


def found(difference: Interval, said: str) -> str:
    """A verdict as what a sentence says of the arm's exponent."""
    if said == DIFFERS:
        return f"is {'larger' if difference.value > 0 else 'smaller'} by {decimals(abs(difference.value))}"
    if said == EQUIVALENT:
        return f"is the same to within {decimals(max(-difference.low, difference.high))}"
    return f"was {NOT_MEASURED}" if said == NOT_MEASURED else "may or may not be the same"


def differs(told: Mapping[str, tuple[Number, str]]) -> str:
    """Whether arms differ, and in what: each number that was compared, and what was found of it.

    One of several intervals misses "no difference" by chance more often than a single one does. So a number counts only
    where its interval still misses it when widened as far as all of them together hold at `LEVEL` (Bonferroni).
    """
    known = sum(one.interval.known for one, _ in told.values())
    wider = norm.isf((1 - LEVEL) / 2 / max(known, 1)) / norm.isf((1 - LEVEL) / 2)
    shown = []
    for what, (one, said) in told.items():
        if one.verdict == DIFFERS:
            ends = (one.interval.value, one.interval.low, one.interval.high)
            value, low, high = map(math.log, ends) if one.factor else ends
            if abs(value) > wider * (value - low if value > 0 else high - value):
                shown.append(f"{what} {said}")
    if shown:
        return f"yes, {listing(shown)}"
    same = all(one.verdict == EQUIVALENT for one, _ in told.values())
    return "no, nothing that matters" if same else "not settled"


def _spent(arm: StudyArm) -> Number:
    """What tuning and repeating cost."""
    known = arm.rows[[*COST]].dropna()  # a cell that lacks a part of its cost would count as cheap
    trials, repeats, one = known["tuning_flops"], known["n_repeats"], known["flops"]
    meaning = f"{arm.label}: compute of all trials and repeats, over that of one run per cell"
    spent = Interval(float((trials + repeats * one).sum() / one.sum())) if len(known) else Interval()
    return Number(spent, meaning, None)


def _arm(arm: StudyArm, keys: DifferenceKeys) -> Arm:
    """An arm as it is compared."""
    rows = table(arm, keys.columns)
    runs = arm.rows[RUNS].iloc[rows.rows].tolist() if RUNS in arm.rows else None
    return Arm(arm.label, rows, runs)


def _twin(arms: Mapping[str, StudyArm], keys: DifferenceKeys) -> tuple[Arm, Arm] | None:
    """The arm that was tuned again, and its twin."""
    for arm in arms.values():
        if arm.twin is not None:
            return _arm(arm, keys), _arm(replace(arm, rows=arm.twin, label=f"{arm.label}, tuned again"), keys)
    return None


def _losses(
    arm: StudyArm, reference: StudyArm, comparison: Comparison | None, keys: DifferenceKeys, numbers: dict[str, Number]
) -> dict[str, str]:
    """Ratio of the losses in the middle of the grid and in its largest cell, and in words what they say; compute
    multipliers in the middle of the shared compute and at its ends, where intervals are widest."""
    ratio = f"loss of {arm.label} over that of {reference.label}"
    ratios = (comparison.offset, comparison.largest) if comparison else (Interval(), Interval())
    words = {}
    for (slot, where), one in zip(RATIOS.items(), ratios, strict=True):
        said = verdict(one, keys.margin) if one.known else NOT_MEASURED
        numbers[f"{arm.name}_{slot}"] = Number(
            one.exp(), f"{ratio}, in the {where}", True, "may be 1" * (said == NOT_SETTLED), said
        )
        words[f"{arm.name}_{slot}_verdict"] = said
        words[f"{arm.name}_{slot}_found"] = {
            DIFFERS: f"is {math.exp(one.value):.2f} times as large",
            EQUIVALENT: f"is the same to within {100 * max(-one.low, one.high):.2g} %",
        }.get(said, found(one, said))
    known = dict(zip(("small", "middle", "large"), comparison.multipliers if comparison else (), strict=False))
    for name, place in {"small": "smallest", "middle": "middle", "large": "largest"}.items():
        where = f"at C = {known[name].C:.2g}".replace("e+", "e") if known else f"at the {place} shared compute"
        meaning = f"compute of {arm.label} for the loss of {reference.label} {where}, over that compute"
        numbers[f"{arm.name}_multiplier_{name}"] = Number(known.get(name, Interval()), meaning, factor=True)
    return words


KIND = MeasureKind(DifferenceKeys, measure)
