"""What can be wrong with fitted laws and their frontier: optimum, bounds, floor, misfit, edges of the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_scaling.fitting.diagnostics import Flag, cells_of
from mnist_scaling.fitting.estimation.estimate import Fit
from mnist_scaling.fitting.estimation.variance import TOO_SMALL
from mnist_scaling.fitting.fronts import Frontier
from mnist_scaling.fitting.rows import SAME_LEVEL, Table
from mnist_scaling.fitting.slices import Ladder
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.noise import Noise
from mnist_scaling.study import flags

FEWEST_SETTLED = 0.7
"""Share of converged draws below which a law's parameters are called undetermined."""

UNLIKELY = 0.01
"""Chance below which residuals as large as these are called a lack of fit."""


def not_converged(fits: Mapping[str, Fit], settled: Mapping[str, float] | None = None) -> list[Flag]:
    """The optimiser stopped before the optimum, no second start found the same one, or draws wander along a ridge.

    By law, `settled` is the share of the bootstrap's draws that converged.
    """
    out = []
    bad = [k for k, f in fits.items() if not f.converged or (f.polished > 3 and f.agreeing < 2)]
    if bad:
        text = f"The optimiser did not settle for {', '.join(bad)}."
        out.append(Flag(flags.NOT_CONVERGED, text, laws=tuple(bad)))
    loose = [k for k, share in (settled or {}).items() if share < FEWEST_SETTLED and k not in bad]
    if loose:
        text = f"Many draws of the bootstrap found no optimum for {', '.join(loose)}: parameters trade off without end."
        fix = "Use a law with fewer parameters."
        out.append(Flag(flags.NOT_CONVERGED, text, laws=tuple(loose), severity=flags.WARNING, remedy=fix))
    return out


def parameter_at_bound(fits: Mapping[str, Fit]) -> list[Flag]:
    """A parameter stopped at a bound of its law: the number is the bound, not an estimate."""
    hits = {k: f.at_bound for k, f in fits.items() if f.at_bound}
    if not hits:
        return []
    what = "; ".join(f"{k}: {', '.join(names)}" for k, names in hits.items())
    ended = {name for names in hits.values() for name in names}
    fix = "Use the law without a floor." if ended == {"E"} else ""
    return [Flag(flags.PARAMETER_AT_BOUND, f"Parameters ended at their bound ({what}).", laws=tuple(hits), remedy=fix)]


def floor_not_identified(floors: Mapping[str, Interval], selected: str | None = None) -> list[Flag]:
    """The interval of E, by law, holds 0.

    Where the selected law has a floor, that alone counts: laws that fit worse have no say. Where it has none, that the
    others' floors are in doubt agrees with it, and is worth knowing only.
    """
    if selected is not None and selected in floors:
        floors = {selected: floors[selected]}
    bad = {k: v for k, v in floors.items() if not v.low > 0}
    if not bad:
        return []
    what = "; ".join(f"{k}: {f'E up to {v.high:.3g}' if np.isfinite(v.high) else 'any E'}" for k, v in bad.items())
    text = f"The data are compatible with no floor at all ({what}), so exponents of these laws rest on an assumption."
    agrees = selected is not None and selected not in floors
    return [Flag(flags.FLOOR_NOT_IDENTIFIED, text, laws=tuple(bad), severity=flags.INFO if agrees else flags.WARNING)]


def misfit(law: str, missed: Interval, noise: float) -> list[Flag]:
    """What the law misses, as a root mean square over the cells, is more than the noise of a cell's log loss."""
    if not missed.value > noise:
        return []
    ends = f"{100 * missed.value:.2g} % [{100 * missed.low:.2g}, {100 * missed.high:.2g}]"
    text = f"The law {law} misses the losses by {ends}, more than a cell's noise of {100 * noise:.2g} %."
    return [Flag(flags.MISFIT, text)]


def forms_disagree(slopes: Mapping[str, Mapping[str, Interval]], quoted: Mapping[str, Interval]) -> list[Flag]:
    """Laws that fit about equally well say what the headline rules out: slopes at the cell of the largest compute."""
    off = [
        law for law, own in slopes.items() if any(k in quoted and quoted[k].excludes(i.value) for k, i in own.items())
    ]
    if not off:
        return []
    text = f"The slopes of {' and '.join(off)}, which fit about as well as the best law, lie outside what is quoted."
    return [Flag(flags.FORMS_DISAGREE, text, laws=tuple(off))]


def collinear(ray: Ladder | None) -> list[Flag]:
    """N and D move together, so that their exponents can't be told apart."""
    if ray is None:
        return []
    return [Flag(flags.COLLINEAR, f"N and D move together: all rows are near {ray.words}.")]


def lack_of_fit(noises: Mapping[str, Noise]) -> list[Flag]:
    """Residuals are larger than the repeats' noise explains: the law misses something, or the se leaves it out."""
    bad = {k: v for k, v in noises.items() if np.isfinite(v.misfit) and v.p_value < UNLIKELY}
    if not bad:
        return []
    what = "; ".join(f"{k}: {v.misfit:.1f} times, p = {max(v.p_value, 1e-300):.1g}" for k, v in bad.items())
    text = f"Residuals have a larger variance than the standard errors explain ({what})."
    return [Flag(flags.LACK_OF_FIT, text, laws=tuple(bad))]


def se_suspect(noise: Noise | None) -> list[Flag]:
    """Standard errors that are far larger than the residuals of the best law, whose noise it is, can be by chance."""
    if noise is None or not np.isfinite(noise.misfit) or 1 - noise.p_value >= TOO_SMALL:
        return []
    times = 1 / np.sqrt(max(noise.misfit, 1e-300))
    text = f"The standard errors are {times:.3g} times as large as the residuals of the best law make likely."
    return [Flag(flags.SE_SUSPECT, text)]


def other_laws(raised: Sequence[Flag], leading: Sequence[str]) -> list[Flag]:
    """One line for all flags about laws that are not quoted."""
    codes: dict[str, list[str]] = {}
    for flag in raised:
        for law in flag.laws:
            codes.setdefault(law, []).append(flag.code)
    if not codes:
        return []
    what = "; ".join(f"{law}: {', '.join(dict.fromkeys(seen))}" for law, seen in codes.items())
    text = f"Laws other than {', '.join(leading)} have flags of their own ({what})."
    return [Flag(flags.OTHER_LAWS, text, laws=tuple(codes))]


def too_few_cells(table: Table, starved: Sequence[str]) -> list[Flag]:
    """Laws that could not be fitted for want of rows or of distinct sizes."""
    if not starved:
        return []
    text = f"The table's {len(table)} cells are too few for the laws {', '.join(starved).replace('_', ' ')}."
    return [Flag(flags.TOO_FEW_CELLS, text, laws=tuple(starved))]


FAR = 10.0
"""Times beyond the data from which a prediction is an extrapolation to be named."""


def grid_edge(table: Table, isoflop: Frontier) -> list[Flag]:
    """Curves at fixed compute whose lowest point is the smallest or the largest size tried."""
    curves = isoflop.extra.get("curves", [])
    edges = [c for c in curves if c["quality"] == "edge"]
    if not edges:
        return []
    sides = sorted({c["side"] for c in edges})
    index: set[int] = set()
    for c in edges:
        n = c["N"][0] if c["side"] == "smallest" else c["N"][-1]
        near = np.flatnonzero(np.abs(np.log(table.inputs["N"] / n)) <= SAME_LEVEL)
        index.add(int(near[np.argmin(np.abs(np.log(table.inputs["C"][near] / c["C"])))]))
    usable = len(curves) - len(edges)
    text = (
        f"On {len(edges)} of {len(curves)} isoFLOP curves the best model is the {' or '.join(sides)} one tried, "
        "so its optimum is a bound."
    )
    wanted = [word for side, word in (("largest", "larger"), ("smallest", "smaller")) if side in sides]
    blocked = [c for c in edges if c["side"] == "smallest" and not _has_data_for_smaller(table, c)]
    if len(blocked) == sum(c["side"] == "smallest" for c in edges):
        wanted = [word for word in wanted if word == "larger"]
    steps = [f"Add {' and '.join(wanted)} models at these budgets"] if wanted else []
    if blocked:
        steps.append(
            f"{'at' if steps else 'At'} {len(blocked)} of them a smaller model would need more than the "
            f"{table.inputs['D'].max():,.0f} examples of the largest cells, so leave these budgets out"
        )
    fix = f"{'; '.join(steps)}, or quote a in N* ~ C^a, which is not read off these curves."
    severity = flags.WARNING if usable < 3 or len(edges) > usable else flags.INFO
    return [Flag(flags.GRID_EDGE, text, cells_of(table, sorted(index)), severity=severity, remedy=fix)]


def _has_data_for_smaller(table: Table, curve: Mapping[str, Any]) -> bool:
    """Whether one more step below the smallest size of an isoFLOP curve needs no more data than the table has.

    At fixed C the data grow from each size to the next smaller one about as they do between the two smallest.
    """
    if "D" not in table.inputs:
        return True  # nothing is known of what it has
    d = curve["D"]
    return len(d) < 2 or d[0] * d[0] / d[1] <= table.inputs["D"].max() * 1.02


def far_extrapolation(reach: float | None, cells: Sequence[dict[str, Any]], what: str, beyond: str = "") -> list[Flag]:
    """A prediction more than `FAR` times beyond what was fitted, which `beyond` says in words (`ahead.reach_of`)."""
    if reach is None or not reach > FAR:
        return []
    text = f"{what} reaches {beyond or f'{reach:.3g} times beyond the largest compute'} that was fitted."
    return [Flag(flags.FAR_EXTRAPOLATION, text, list(cells))]
