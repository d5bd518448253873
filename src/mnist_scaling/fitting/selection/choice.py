"""Which laws the data do not reject, which of them holds the others, and when to choose none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.selection.criteria import EXACT
from mnist_scaling.fitting.uncertainty.interval import Interval

NOT_REJECTED = 8.0
"""Laws within this AICc of the best are not rejected (Burnham & Anderson 2002, section 2.6, find some support up to 7;
at 20 cells with 10 % noise a wrong law was then named in up to a fifth of simulated tables, at 8 in 2 %)."""

TEMPERATURE = 1.5
"""Weights go as exp(-AICc / 2 / this). Intervals of plain Akaike weights held the truth a little too seldom where
several laws were near each other (LOG.md, 2026-11-26): with tens of rows an AICc is itself uncertain."""

SAME = 0.02
"""Laws whose local slopes agree within this, ends of intervals included, need not be told apart. At 0.03 a wrong law
was named in 8 % of simulated tables of 56 cells with 4 % noise, at 0.02 in none."""

SURFACE = 4.0
"""The empirical surface shows that no law fits when its AICc is better than every law's by more than this."""

MISFIT = 0.01
"""Level of the F test of residuals against repeats below which no law is selected."""

WORSE = 2.5
"""A law whose hold-out error is this many times the best one's predicts worse; the right law's is up to twice that."""

MOST = 0.5
"""The choice is settled when it comes out in more than this share of the draws."""


@dataclass(frozen=True)
class Candidate:
    """What the choice looks at, for one law."""

    law: Law
    aicc: float
    holdout: float
    slopes: Mapping[str, Interval] = field(default_factory=dict)
    """Local slopes, at the largest cell and in the middle, by name."""
    misfit: float = 1.0
    """p-value of the F test of its residuals against the repeats; 1 without repeats."""


@dataclass(frozen=True)
class Choice:
    """The selected law, or none and why; and the weights of all laws that are not rejected."""

    selected: str | None
    reason: str
    disagree: bool
    weights: Mapping[str, float] = field(default_factory=dict)
    """By name, summing to 1, the largest first."""
    simplest: str | None = None
    """The law with the fewest parameters among them: all that the data ask for."""
    stability: float = np.nan
    """Share of the draws in which the whole choice comes out the same; NaN where it was not repeated."""


def not_rejected(aicc: Mapping[str, float]) -> dict[str, float]:
    """Weights exp(-(AICc - min) / 2 / `TEMPERATURE`), summing to 1, of laws within `NOT_REJECTED` of the best."""
    known = {name: value for name, value in aicc.items() if np.isfinite(value)}
    least = min(known.values(), default=0.0)
    raw = {k: float(np.exp(-(v - least) / 2 / TEMPERATURE)) for k, v in known.items() if v <= least + NOT_REJECTED}
    total = sum(raw.values())
    return {k: raw[k] / total for k in sorted(raw, key=lambda k: -raw[k])}


def holding(laws: Sequence[Law]) -> Law | None:
    """The smallest of these laws that is or nests every one of them; None where there is none."""
    able = [a for a in laws if all(b.name == a.name or b.name in a.nests for b in laws)]
    return min(able, key=lambda law: law.size, default=None)


def choose(candidates: Sequence[Candidate], again: Again | None = None) -> Choice:
    """The smallest law that holds all laws that the data do not reject, if that choice is stable.

    A law that fits as well as a more general one may still be wrong, so it is not named: the general one is. Only
    where all of them say the same, within `SAME`, is it the simplest. None is selected when

    - the empirical surface fits better than every law by more than `SURFACE`, or the residuals of the best law exceed
      what the repeats allow (F test at `MISFIT`): no law is right;
    - no law holds all that are not rejected, or another predicts the held-out cells better by a factor of `WORSE`;
    - the same choice on redrawn losses comes out in less than `MOST` of the draws.

    Parameters
    ----------
    candidates : sequence of Candidate
    again : Again, optional
        AICc of every law on redrawn losses.
    """
    known = {c.law.name: c for c in candidates if np.isfinite(c.aicc)}
    laws = {name: c for name, c in known.items() if not c.law.empirical}
    weights = not_rejected({name: c.aicc for name, c in known.items()})
    if not laws:
        return Choice(None, "no law has more rows than AICc needs", False, weights)
    kept = [laws[name] for name in not_rejected({name: c.aicc for name, c in laws.items()})]
    best = kept[0]
    # By the fewest parameters; of equals, the better AICc, which comes first.
    simplest = min(kept, key=lambda c: c.law.size)
    no_law = _no_law_fits(best, [c for c in known.values() if c.law.empirical])
    if no_law:
        return Choice(None, no_law, False, weights, simplest.law.name)
    names = ", ".join(c.law.name for c in kept[:-1]) + (" and " if len(kept) > 1 else "") + kept[-1].law.name
    if len(laws) == 1:
        return Choice(best.law.name, "the only law that could be fitted", False, weights, best.law.name)
    general = holding([c.law for c in kept])
    alike = _alike(kept)
    if alike:
        chosen, reason = simplest, f"the simplest of {names}, which fit equally well and say the same"
    elif general is None:
        return Choice(None, f"not settled between {names}", True, weights, simplest.law.name)
    else:
        chosen = laws[general.name]
        reason = f"it holds every law that the data do not reject ({names})"
        if len(kept) == 1:
            reason = "the only law that the data do not reject"
    better = _predicts_better(chosen, list(laws.values()))
    if better:
        return Choice(None, better, True, weights, simplest.law.name)
    share = again.share(chosen.law, [c.law for c in laws.values()]) if again is not None and not alike else np.nan
    if share <= MOST:
        reason = f"not settled between {names}: the same choice comes out in {100 * share:.0f} % of redrawn tables"
        return Choice(None, reason, True, weights, simplest.law.name, share)
    return Choice(chosen.law.name, reason, False, weights, simplest.law.name, share)


def _no_law_fits(best: Candidate, surfaces: Sequence[Candidate]) -> str:
    """Why even the best law is wrong, in words; empty where it may be right."""
    for surface in surfaces:
        if surface.aicc < best.aicc - SURFACE:
            return (
                f"no law fits: a {surface.law.name} surface in log N and log D, which is no law, fits better than the "
                f"best of them, {best.law.name}, by {best.aicc - surface.aicc:.1f} in AICc"
            )
    if best.misfit < MISFIT:
        return (
            f"no law fits: the residuals of the best of them, {best.law.name}, are larger than the repeats allow "
            f"(p = {best.misfit:.2g})"
        )
    return ""


def _predicts_better(chosen: Candidate, laws: Sequence[Candidate]) -> str:
    """Which law predicts the held-out cells much better than the chosen one, in words; empty where none does."""
    tested = [c for c in laws if np.isfinite(c.holdout)]
    best = min(tested, key=lambda c: c.holdout, default=chosen)
    if not chosen.holdout > max(WORSE * best.holdout, EXACT * 10):
        return ""
    return (
        f"AICc prefers {chosen.law.name} (hold-out error {chosen.holdout:.3g}), hold-out prefers {best.law.name} "
        f"({best.holdout:.3g}, AICc worse by {best.aicc - chosen.aicc:.1f})"
    )


def _alike(kept: Sequence[Candidate]) -> bool:
    """Whether every interval of the laws' local slopes lies within `SAME` of the simplest law's value."""
    simplest = min(kept, key=lambda c: c.law.size)
    if len(kept) == 1 or not simplest.slopes:
        return False
    for key, mine in simplest.slopes.items():
        for other in kept:
            theirs = other.slopes.get(key, Interval())
            ends = [theirs.low, theirs.high] if theirs.bounded else [theirs.value]
            if not all(abs(end - mine.value) <= SAME for end in ends):
                return False
    return True


@dataclass(frozen=True)
class Again:
    """The choice repeated on losses that are redrawn from each law that is not rejected."""

    weights: Mapping[str, float]
    """Of the laws that the losses were redrawn from."""
    aicc: Mapping[str, Mapping[str, Array]]
    """AICc on them: law they were redrawn from -> fitted law -> array of shape (draws,)."""

    def share(self, chosen: Law, laws: Sequence[Law]) -> float:
        """Share of the draws, by weight of the law they come from, in which the choice is the same law.

        Parameters
        ----------
        chosen : Law
        laws : sequence of Law
            All laws that compete.
        """
        by_name = {law.name: law for law in laws}
        same, total = 0.0, 0.0
        for source, found in self.aicc.items():
            draws = np.array([found[name] for name in by_name])
            for column in draws.T:
                kept = not_rejected(dict(zip(by_name, column.tolist(), strict=True)))
                general = holding([by_name[name] for name in kept])
                same += self.weights[source] * (general is not None and general.name == chosen.name) / len(draws.T)
            total += self.weights[source]
        return same / total if total else np.nan
