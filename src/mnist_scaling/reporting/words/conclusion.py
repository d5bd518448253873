"""A comparison in sentences and tables: what was compared, the verdict, the compute multiplier."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from mnist_scaling.fitting.comparing.comparison import DIFFERS, EQUIVALENT, NOT_SETTLED, margin_of, verdict
from mnist_scaling.fitting.comparing.multiplier import Multiplier
from mnist_scaling.fitting.comparing.pairing import Difference
from mnist_scaling.fitting.comparing.settle import Settling
from mnist_scaling.fitting.headline import TIMES
from mnist_scaling.fitting.laws.power import VARIABLE_OF
from mnist_scaling.reporting.documents.comparison_json import Pair
from mnist_scaling.reporting.documents.fits_json import AnswerRecord, Trust
from mnist_scaling.reporting.text import (
    DASH,
    STRONG,
    Part,
    Sentence,
    TextTable,
    estimate,
    factor,
    listing,
    number,
    percent,
    power_of_ten,
    short,
    signed,
    spaced,
    symbol,
)
from mnist_scaling.reporting.words.fit_tables import trust_in
from mnist_scaling.reporting.words.in_short import FAIR, HIGH, ROUGH, doubt, few_inside, graded, of_arms, reach, trusted

LOSSES = {"offset": "ln of the loss", "largest": "the same, in the largest cell"}
"""Differences of losses: in the middle of the grid, and where a law is carried on from."""

SLOPES = {f"slope_{x}": f"slope in {x} at the largest cell" for x in "ND"}
"""What `fit` quotes first."""

_QUOTED = {
    **{key: (key, f"loss {{}} at {TIMES:g} times {variable}") for key, variable in VARIABLE_OF.items()},
    "offset": ("the loss", "loss {}"),
    "largest": ("the largest cell's loss", "loss of the largest cell {}"),
    **{f"slope_{x}": (f"the slope in {x}", f"loss {{}} at {TIMES:g} times {x}") for x in "ND"},
    **{
        f"{k}_exponent": (f"{x} in C", f"{x} {{}} at {TIMES:g} times C")
        for k, x in zip(("N", "D", "loss"), ("N*", "D*", "L*"), strict=True)
    },
}
"""What a difference is of, and what is doubtful where it is not known well."""


def what(pair: Pair) -> str:
    """What was compared."""
    a, b = pair.names
    if pair.paired:
        seeds = " and by seed" if pair.by_seed else ""
        return f"{b} was compared with {a} on {pair.cells} shared cells, paired by cell{seeds}."
    rows = " and ".join(f"{arm['cells']} of {arm['name']}" for arm in pair.arms)
    return f"{b} was compared with {a} on the range of sizes that both cover, unpaired ({rows})."


def sentence(pair: Pair) -> str:
    """The verdict: exponents, offset, and the compute multiplier where there is one."""
    words, slopes = pair.verdict, pair.slopes
    names = [name for name in VARIABLE_OF if name in slopes and slopes[name].difference.known]
    parts = " and ".join(_of_slope(k, slopes[k], words[k], pair.margin) for k in names)
    text = f"{parts[:1].upper()}{parts[1:]}." if parts else ""
    text += f" {_of_offset(pair, all(words[k] == EQUIVALENT for k in names))}"
    return f"{text} {_of_compute(pair)}".strip()


def answer(pair: Pair, cells: int, arms: Sequence[tuple[str, pd.DataFrame]]) -> AnswerRecord:
    """How far to trust the differences, and what is next; `cells` an arm has, and `arms` are their names and rows."""
    known = {key: (one.difference, said) for key, (one, said) in _differences(pair).items() if one.difference.known}
    fars = {key: reach(one.exp(), factor=True) if key in LOSSES else reach(one) for key, (one, _) in known.items()}
    zero = {key: [(FAIR, "may be 0")] * (said == NOT_SETTLED) for key, (_, said) in known.items()}
    few = {one.parameter: few_inside(min(one.inside, default=None)) for one in pair.exponents}
    own = {key: (doubt(_QUOTED[key][1], far) or zero[key]) + few.get(key, []) for key, far in fars.items()}
    of_all, mends = of_arms(arms, pair.flags)
    if not (math.isnan(pair.tuning_luck.sd) or pair.tuning_luck.twin):
        of_all.append((FAIR, "no twin shows what tuning left to luck"))
        mends.append("Tune one arm again, with another name and seed, and compare with twin=NAME.")
    whole = [(HIGH, f"{pair.cells if pair.paired else 0} of {cells} cells are paired"), *of_all]
    if noise := listing([_QUOTED[key][0] for key, (_, said) in known.items() if said == NOT_SETTLED]):
        whole.append((FAIR, f"noise alone may make the differences of {noise}"))
    whole += [one for key in pair.verdict for one in own.get(key, ()) if one not in zero[key]]
    quoted = _told(pair)  # by the sentence, whose trust this is; the others are in the table
    for i, one in enumerate(pair.multiplier):
        own[f"multiplier_{i}"] = doubt(f"compute {{}} at C = {power_of_ten(one.C)} FLOPs", reach(one, factor=True))
        whole += [(level if one is quoted else HIGH, f"{level} for {why}") for level, why in own[f"multiplier_{i}"]]
    if pair.settling and pair.settling.runs > 1:
        where = f"which has the lower loss at C = {power_of_ten(pair.settling.C)} FLOPs"
        mends.append(f"Give both arms {_more(pair.settling)}, to settle {where}.")
    mends.append(f"Quote no difference of {noise}." if noise else "No further run is needed.")
    numbers = {key: Trust(graded([*doubts, *of_all]).trust, graded(doubts).reasons) for key, doubts in own.items()}
    return AnswerRecord(pair.sentence, **vars(graded(whole)), next=next(filter(None, mends)), numbers=numbers)


def _differences(pair: Pair) -> dict[str, tuple[Difference, str]]:
    """What differs, by key: the exponents, the loss, the exponents of the frontier; and the verdict, or why not."""
    slopes = {k: (one, one.why or pair.verdict[k]) for k in VARIABLE_OF if (one := pair.slopes.get(k))}
    slopes["offset"] = Difference(difference=pair.offset), pair.verdict["offset"]
    if pair.largest.known:
        slopes["largest"] = Difference(difference=pair.largest), verdict(pair.largest, pair.margin)
    return slopes | {one.parameter: (one, one.verdict) for one in pair.exponents if not one.law}


def _more(known: Settling) -> str:
    """How many times the trials and the repeats would settle it."""
    times = ((known.trials, "trials"), (known.repeats, "repeats"))
    return " and ".join(f"{number(many, 2)} times the {word}" for many, word in times if many > 1)


def luck_sentence(pair: Pair) -> str:
    """What tuning left to luck, whence it is known, and what is assumed of it."""
    luck = pair.tuning_luck
    if pair.noise.get("freedom", math.nan) <= 0:
        return "Too few cells were compared to measure noise or luck, so there are no intervals."
    if math.isnan(luck.sd):
        return "Nothing was tuned, so the intervals hold the scatter of each cell alone."
    size = f"about {100 * luck.sd:.2g} % of an arm's loss in a cell"
    shown = (
        f"left to luck: {size}, as {luck.twin}, an arm tuned again, and the cells themselves show"
        if luck.twin
        else f"may have left to luck: the cells allow {size}"
    )
    more = "" if luck.twin else "; a twin study (twin=…) would show more"
    return (
        f"The intervals hold what tuning {shown}, assumed to be correlated by {number(luck.correlation, 2)} between "
        f"neighbouring cells{more}."
    )


def _of_slope(name: str, exponent: Difference, word: str, margin: float) -> str:
    shown, size = f"{name}, the exponent of {VARIABLE_OF[name]},", estimate(exponent.difference, signed, " ")
    if word == DIFFERS:
        return f"{shown} differs by {size}"
    if word == EQUIVALENT:
        return f"{shown} is equivalent within {margin_of(exponent.a.value, margin):.2g} ({size})"
    return f"whether {shown} differs is not settled ({size})"


def _of_offset(pair: Pair, only: bool) -> str:
    (a, b), offset, word = pair.names, pair.offset, pair.verdict["offset"]
    size = estimate(offset, percent, " ")
    if word == DIFFERS:
        higher, lower = (a, b) if offset.value < 0 else (b, a)
        apart = -offset if offset.value < 0 else offset  # of the higher loss over the lower one
        more = estimate(apart, percent, " ").replace("+", "")
        alone = "Only the offset differs" if only else "In the middle of the grid the losses differ"
        return f"{alone}: the loss of {higher} is {more} higher than that of {lower}."
    if word == EQUIVALENT:
        return f"In the middle of the grid the losses are equivalent ({size})."
    return f"In the middle of the grid it is not settled which loss is lower ({size})."


def _told(pair: Pair) -> Multiplier | None:
    """The multiplier in the middle, if it is known well enough for the sentence; the table has all."""
    return next((m for m in pair.multiplier[1:2] if math.expm1(reach(m, factor=True)) <= ROUGH), None)


def _of_compute(pair: Pair) -> str:
    a, b = pair.names
    middle = _told(pair)
    if middle is None:
        return ""
    where = f"at C = {power_of_ten(middle.C)} FLOPs, in the middle of what both reach"
    return f"For {a}'s loss {b} needs {estimate(middle, factor, ' ')} times the compute {where}."


def settling_sentence(pair: Pair) -> str:
    """P(b better), and the least further runs that would settle it."""
    if (known := pair.settling) is None:
        return ""
    said = f"At C = {power_of_ten(known.C)} FLOPs {_better(pair, known.p_better)}"
    if known.settled:
        return f"{said}: no further run is needed."
    rest = "what else differs from cell to cell" if math.isnan(pair.tuning_luck.sd) else "tuning luck"
    shares = f"{100 * known.noise_share:.0f} % of the variance is seeds' noise, the rest {rest}"
    cure = " The arms share no seed: one of them, run with the seeds of the other, is the cheaper cure, because what a "
    cure = f"{cure}seed gives to both cancels." if known.apart else ""
    if math.isnan(known.runs):
        return f"{said}; {shares}, and 16 times the runs would not settle it.{cure}"
    runs = f"{number(known.runs, 2)} times the runs in all"
    return f"{said}; {shares}. {_more(known)}, {runs}, should settle it in 4 of 5 cases.{cure}"


def _better(pair: Pair, p_better: float) -> str:
    """Which arm is likely to be the better one, given the probability that b is."""
    better, p = (pair.names[1], p_better) if p_better >= 0.5 else (pair.names[0], 1 - p_better)
    return f"{better} has the lower loss with a probability of {f'{p:.2f}' if p <= 0.985 else 'more than 0.98'}"


def target_sentence(pair: Pair) -> str:
    """P(b better) at the compute that was asked for, and how far away that is."""
    if (known := pair.target) is None:
        return ""
    where = f"At C = {power_of_ten(known.C)} FLOPs"
    if math.isnan(known.p_better):
        return f"{where} it is unknown which arm is better: N and D must vary in both, and noise must show."
    a, b = pair.names
    said = f"{_better(pair, known.p_better)}: that of {b} is {estimate(known.ratio, factor, ' ')} times that of {a}"
    if known.reach <= 1:
        return f"{where} {said}."
    place = "each at its best size" if known.N is None else f"both at N = {known.N:.2g} and D = {known.D:.2g}"
    return f"{where}, {factor(known.reach)} times the most that both cover, {said}, {place}, by a law with its misfit."


def decisions(pair: Pair) -> list[str]:
    """Which arm is likely to be the better one, where both end and at the compute that was asked for."""
    return [said for said in (settling_sentence(pair), target_sentence(pair)) if said]


def comparison_summary(comparison: Pair) -> Iterator[Part]:
    """Every pair of arms: the verdict in a sentence, what was compared, the differences, the multiplier."""
    if comparison.pairs:
        yield pairs_table(comparison.pairs)
    for pair in comparison.pairs or (comparison,):
        a, b = pair.names
        yield Sentence(pair.sentence, STRONG, apart=True)
        yield Sentence(trusted(pair.answer.trust, pair.answer.reasons))
        yield Sentence(f"{pair.what} Differences are {b} minus {a}.")
        yield slope_table(pair)
        if table := multiplier_table(pair):
            yield table
        yield Sentence(luck_sentence(pair))
        yield from map(Sentence, decisions(pair))
        yield Sentence(pair.answer.next, lead="Next")
        for flag in pair.flags:
            yield Sentence(f"{flag.message} {flag.remedy}".strip(), flag.severity, lead=flag.code)


def pairs_table(pairs: Sequence[Pair]) -> TextTable:
    """One line for each of several pairs: how far the exponents and the losses differ, and what that says."""
    names = {**{key: symbol(key) for key in VARIABLE_OF}, "offset": LOSSES["offset"]}
    known = [(pair, _differences(pair)) for pair in pairs]
    keys = [key for key in names if any(key in found for _, found in known)]
    rows = [
        [f"{pair.names[1]} − {pair.names[0]}", *(_difference(found[key]) if key in found else DASH for key in keys)]
        for pair, found in known
    ]
    return TextTable(["pair", *(names[key] for key in keys)], rows, title="Differences of all pairs")


def _difference(found: tuple[Difference, str]) -> str:
    one, said = found
    return f"{estimate(one.difference)}, {said}"


def slope_table(pair: Pair) -> TextTable:
    """Exponents of L ∝ N^-alpha D^-beta and of the frontier in both arms, their difference, and how far to trust it."""
    (a, b), names = pair.names, LOSSES | {key: symbol(key) for key in VARIABLE_OF} | SLOPES
    rows = [
        [
            names.get(k, f"exponent of {_QUOTED[k][0]}"),
            *((one.a, one.b) if k not in LOSSES else ("", "")),
            one.difference,
            said,
            trust_in(pair, k, 1),
        ]
        for k, (one, said) in _differences(pair).items()
    ]
    return TextTable(["", a, b, "difference", "verdict", "trust"], rows, title="Exponents and losses")


def multiplier_table(pair: Pair) -> TextTable | None:
    """The multiplier at the least, the middle and the most compute; None where there is none."""
    (a, b) = pair.names
    rows = [[power_of_ten(m.C), number(m.loss), estimate(m, factor, " ")] for m in pair.multiplier if m.bounded]
    head = [f"FLOPs of {a}", "loss that both reach", f"FLOPs of {b}, as a multiple of these"]
    return TextTable(head, rows, title="Compute multiplier at equal loss") if rows else None


def exponent_table(pair: Pair) -> TextTable | None:
    """Exponents of joint laws and of the frontier."""
    rows = [
        [spaced(e.law or e.method), (symbol if e.law else spaced)(e.parameter), e.a, e.b, e.difference, e.verdict]
        for e in pair.exponents
    ]
    return TextTable(["law or method", "parameter", *pair.names, "difference", "verdict"], rows) if rows else None


def cell_table(pair: Pair, prefix: str = "") -> TextTable:
    """Every cell that was compared: its sizes, both losses and their ratio; `prefix` begins the names of the rows."""
    a, b = pair.names
    sizes = [k for k in "NDCU" if any(k in point for point in pair.points)]
    rows = []
    for point in pair.points:
        losses = [point[f"loss_{arm}"] for arm in "ab"]
        ratio = number(losses[1] / losses[0]) if None not in losses else None
        rows.append([*(short(point[k]) for k in sizes), *(number(loss) for loss in losses), ratio])
    return TextTable([*sizes, a, b, "ratio"], rows, ids=[f"{prefix}{i}" for i in range(len(rows))])
