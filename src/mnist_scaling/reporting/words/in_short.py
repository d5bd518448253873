"""The answer first: what a fit says in one sentence, how far to trust it and each number, and what to do next.

The terminal, the page and the key "answer" of fits.json say the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.fitted import EXACT
from mnist_scaling.fitting.frontier.parametric import INSIDE
from mnist_scaling.fitting.headline import TIMES
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.fits_json import AnswerRecord, Fits, Trust
from mnist_scaling.reporting.text import count, estimate, factor, listing, number
from mnist_scaling.study import flags
from mnist_scaling.study.tables.cell_runs import certified, flag_counts

SIZES = {"D": "data", "N": "parameters", "C": "compute"}
"""What grows, in the order of the sentence."""

HIGH, FAIR, LOW = LEVELS = ("high", "fair", "low")
"""How far a number can be trusted."""

CLOSE, ROUGH = 0.1, 0.3
"""Trust is high where what a number says is known to this share, fair to this one, and low where it is known less."""

TESTED = 16.0
"""Times the largest compute up to which predictions were compared with runs (docs/planning.md)."""

CERTIFIED = 0.9
"""There is doubt where fewer than this share of the cells are certified tuned, or a flag names more than the rest."""

MISSED = 2.0
"""So there is where the law misses rows which it was not fitted to by so many times the noise."""

Doubt = tuple[str, str]
"""The most trust that it leaves, and the reason."""


def answer(fits: Fits) -> AnswerRecord:
    """The answer of one arm, whose record is still without."""
    slopes, why = _slopes(fits), fits.why or fits.headline.slope_N.why
    shared, own = [*of_all(fits)], dict(_of_each(fits))
    quoted = [one for key in slopes for one in own[f"factor_{key[-1]}"]]
    doubts = quoted if slopes else [(LOW, "no exponent is quoted")]
    whole, sentence = graded([*shared, *doubts]), f"Quote no single exponent. {why}"
    numbers = {key: Trust(graded([*alone, *shared]).trust, graded(alone).reasons) for key, alone in own.items()}
    advised = fits.data.unfinished or next((_remedy(flag) for flag in warnings(fits) if flag.remedy), "")
    return AnswerRecord(_sentence(fits, slopes) if slopes else sentence, whole.trust, whole.reasons, advised, numbers)


def _remedy(flag: Flag) -> str:
    """What mends a flag, with the name of its cell where there is one."""
    (cell, *others) = flag.cells or [{}]
    named = ", ".join(f"{k} {count(cell[k])}" for k in "ND" if k in cell)
    return flag.remedy if others or not named else flag.remedy.replace("these cells", f"the cell of {named}")


def graded(doubts: Sequence[Doubt]) -> Trust:
    """What the gravest of some doubts leaves, and all reasons."""
    gravest = max((level for level, _ in doubts), key=LEVELS.index, default=HIGH)
    return Trust(gravest, [*dict.fromkeys(why for _, why in doubts)])


def reach(one: Interval, factor: bool = False) -> float:
    """How far what a number says may be off, in logs: an exponent at `TIMES` times as much, a factor itself."""
    if not one.bounded:
        return math.inf
    ends = (one.value, one.low, one.high)
    value, low, high = (math.log(max(x, 1e-300)) if factor else math.log(TIMES) * x for x in ends)
    return max(high - value, value - low)


def doubt(what: str, far: float) -> list[Doubt]:
    """The doubt about what a number says, which may be so far off (`reach`); none where it is known to `CLOSE`."""
    share = math.expm1(min(far, 1.0))
    size = f"± {100 * share:.0f} %" if share < 1 else "± over 100 %"
    return [] if share <= CLOSE else [(FAIR if share <= ROUGH else LOW, what.format(size))]


def flagged(raised: Mapping[str, str]) -> list[Doubt]:
    """Flags as one doubt, by their codes and severities."""
    level = LOW if flags.ERROR in raised.values() else FAIR
    return [(level, f"flagged {listing([*raised])}")] if raised else []


def of_arms(arms: Sequence[tuple[str, pd.DataFrame]], raised: Iterable[Flag]) -> tuple[list[Doubt], list[str]]:
    """Doubts about arms, by name and rows, and what mends flags: those of more than a few cells, and those `raised`."""
    shares = [(share, name) for name, rows in arms if (share := certified(rows)) is not None]
    least, name = min(shares, default=(1.0, ""))
    doubts = [(FAIR, f"{100 * least:.0f} % of the cells of {name} are certified tuned")] * (least < CERTIFIED)
    counts = [(flag_counts(rows), len(rows)) for _, rows in arms]
    own = [Flag(code, "") for seen, n in counts for code in seen if n - seen[code] < CERTIFIED * n]
    grave = [flag for flag in (*own, *raised) if flag.severity != flags.INFO]
    advised = [*grave, *[Flag(flags.UNCERTIFIED, "")] * (least < CERTIFIED)]
    mends = [flags.for_study(flag.remedy, "") for flag in advised]
    return [*doubts, *flagged({flag.code: flag.severity for flag in grave})], mends


def _slopes(fits: Fits) -> dict[str, Interval]:
    """-d ln L / d ln x at the largest cell, by key, of each x that it is known of; of compute alone on a ladder."""
    headline = fits.headline
    if headline.ray is not None:
        return {"ray_C": headline.ray.C}
    slopes = {f"slope_{x}": getattr(headline, f"slope_{x}") for x in SIZES}
    return {key: slope for key, slope in slopes.items() if slope.known}


def _sentence(fits: Fits, slopes: dict[str, Interval]) -> str:
    """Every factor of the headline in words, in the order of the slopes that are known."""
    factors = {SIZES[key[-1]]: fits.headline.factors[key[-1]] for key in slopes}
    (first, ratio), *others = ((name, estimate(one, factor, " ")) for name, one in factors.items())
    where = f"along {fits.headline.ray.line}" if fits.headline.ray else "at the largest cell"
    more = "".join(f"; four times the {name} to {ratio}" for name, ratio in others)
    verb = "cut" if all(one.high < 1 for one in factors.values()) else "bring"
    return f"Four times the {first} should {verb} the loss to {ratio} of what it is {where}{more}."


def _of_each(fits: Fits) -> Iterator[tuple[str, list[Doubt]]]:
    """The key of every number that is quoted, and the doubts that do not concern all of them."""
    headline, floor = fits.headline, fits.headline.floor
    rays = {f"ray_{x}": getattr(headline.ray, x) for x in "CN"} if headline.ray else {}
    for key, slope in (_slopes(fits) | rays).items():
        own = doubt(f"loss {{}} per {TIMES:g} times {key[-1]}", reach(slope))
        zero = [(FAIR, "may be 0")] * (slope.low <= 0 and reach(slope) > CLOSE / 10)
        yield key, (own or zero) + _flagged(fits, flags.SLOPES)
    for x, ratio in headline.factors.items():
        off = reach(ratio, factor=True)
        own = doubt(f"loss {{}} at {TIMES:g} times {x}", off)
        nothing = [(FAIR, f"{TIMES:g} times {x} may change nothing")] * (ratio.high >= 1 and off > CLOSE / 10)
        yield f"factor_{x}", (own or nothing) + _flagged(fits, flags.SLOPES)
    for key, what in {"N_exponent": "N*", "D_exponent": "D*", "loss_exponent": "loss"}.items():
        if (one := getattr(headline, key)).known:
            yield (
                key,
                doubt(f"{what} {{}} at {TIMES:g} times C", reach(one))
                + few_inside(headline.inside)
                + _flagged(fits, flags.EXPONENTS),
            )
    if floor.known:
        share = max(floor.high / floor.value - 1, 1 - floor.low / floor.value) if floor.low > 0 else math.inf
        said = (FAIR, f"above 0, ± {100 * share:.0f} %") if share < math.inf else (LOW, "may be 0")
        tried = any(law.fitted and "E" in law.params for law in fits.laws.values())
        few_rows = [(LOW, "too few cells for a law with a floor")] * (not tried)
        yield "floor", few_rows + [said] * (share > CLOSE) + _flagged(fits, flags.FLOOR)
    losses = [(f"loss_{one.reach:g}", one, one.reach) for one in headline.loss]
    for key, loss, times in (*losses, ("asked", headline.asked, headline.asked.reach or 1.0)):
        if loss.known:
            yield key, of_loss(fits, loss, times)


def few_inside(inside: int | None) -> list[Doubt]:
    """Doubts about exponents of a frontier that has its best size inside the grid at so many budgets."""
    few = inside is not None and 2 * inside < INSIDE
    return [(FAIR if inside else LOW, f"{inside} of {INSIDE} best sizes inside the grid")] if few else []


def of_loss(fits: Fits, loss: Interval, times: float) -> list[Doubt]:
    """Doubts about a loss that is predicted so many times beyond the rows, besides those of all numbers (`of_all`)."""
    far = [(FAIR, f"tested up to {TESTED:g} times")] * (times > TESTED)
    return doubt("loss {}", reach(loss, factor=True)) + far + _flagged(fits, flags.LOSSES)


def of_all(fits: Fits) -> Iterator[Doubt]:
    """Doubts that concern every number: from the model, the cells, the hold-out and the flags."""
    if fits.headline.laws and not fits.headline.settled:
        yield FAIR, "no law is shown to hold, so the intervals rest on smoothness alone"
    certified = fits.data.certified
    if certified is not None and certified < CERTIFIED:
        yield FAIR, f"{100 * certified:.0f} % of the cells are certified tuned"
    law = fits.laws.get(fits.selected or "")
    if law is not None and law.holdout.rmse_log > max(MISSED * fits.headline.noise, EXACT):
        missed = number(100 * law.holdout.rmse_log, 2)
        yield FAIR, f"the nearest law misses held-out cells by {missed} %, more than their noise"
    yield from _flagged(fits)


def _flagged(fits: Fits, sort: str = "") -> list[Doubt]:
    """As one doubt, the flags that concern a sort of numbers, and not all; or all, where none is named."""
    grave = [flag for flag in warnings(fits) if _weighs(flag, fits.headline.at, fits.data.n)]
    every = [(flag, flags.kind(flag.code).concerns) for flag in grave]
    raised = [flag for flag, of in every if (sort in of and of != flags.SORTS if sort else of == flags.SORTS)]
    return flagged({flag.code: flag.severity for flag in raised})


def _weighs(flag: Flag, largest: Mapping[str, float], n: int) -> bool:
    """Whether a flag names none of n cells, more than a few, or the largest (N, D and C of it), which slopes are of."""
    at = [all(math.isclose(cell.get(k, math.nan), v, rel_tol=1e-6) for k, v in largest.items()) for cell in flag.cells]
    return not at or n - len(at) < CERTIFIED * n or any(at)


def trusted(trust: str, reasons: Sequence[str], lead: str = "Trust") -> str:
    """How far to trust something, and the reasons for no further, as one sentence."""
    return f"{lead}: {'; '.join([trust, *reasons]).rstrip('.')}."


def in_table(trust: str, reasons: str) -> str:
    """The same in a table, such as "fair: may be 0"."""
    return ": ".join(filter(None, [trust, reasons]))


def of_first(answer: AnswerRecord, most: int | None = None) -> str:
    """How far to trust the first sentence of `fit`, and at most so many reasons: other numbers have their own trust."""
    more = ["…"] if most and len(answer.reasons) > most else []
    return trusted(answer.trust, [*answer.reasons[:most], *more], "Trust in this") if answer.trust else ""


def warnings(fits: Fits) -> list[Flag]:
    """Errors, then warnings: first what concerns a quoted number; of these, too few cells, then cells: runs mend it."""
    raised = [flag for flag in fits.flags if flag.severity in (flags.ERROR, flags.WARNING)]
    raised.sort(key=lambda flag: (flag.code != flags.TOO_FEW_CELLS, not flag.cells))
    return sorted(raised, key=lambda flag: (flags.SEVERITIES.index(flag.severity), not flags.kind(flag.code).concerns))
