"""The frontier methods that are read off the cells, side by side, each with an interval.

Pareto front, hull and isoFLOP curves are what people draw and compare with. They are read off few rows, lie on one side
of the frontier, and are biased even without noise: no number of theirs is corrected, and none is the headline's. How
large the bias is shows what each makes of the quoted model's own losses of the same rows, whose exponents are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from mnist_scaling.fitting.fitted import Fitted
from mnist_scaling.fitting.frontier.isoflop import curves, isoflop, isoflop_draws
from mnist_scaling.fitting.fronts import EXPONENTS, Frontier, observed, observed_draws
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.bootstrap import PAIRS_FROM, Draws, interval
from mnist_scaling.study.flags import GRID_EDGE

FRONTIER_DRAWS = 300
"""Draws that the methods which go row by row are repeated for: an end of their intervals is then off by a tenth."""


OF_MODEL = "of_model"
"""In `Frontier.extra`: the exponents that a method reads off the quoted model's losses of the same rows."""


def read_off(
    table: Table, law: Fitted | None, draws: Draws, curve: str, model: Array | None = None
) -> dict[str, Frontier]:
    """Pareto front, hull and isoFLOP curves of one table.

    Short tables' noise is redrawn about the joint `law`; long tables' rows are resampled. `model` is the log loss of
    each row by the model that is quoted, shape (n,): what is read off it has no noise, and shows a method's bias.
    """
    redrawn = _redrawn(table, law, draws)
    resampled = _resampled(table, draws) or redrawn
    lacking = "no noise is known" if law else "there is no joint law to redraw about"
    if not draws.number:
        lacking = "no draws were asked for"
    out = {
        method: _with_intervals(
            observed(table, method), partial(observed_draws, table, method), resampled, draws.level, lacking
        )
        for method in ("pareto", "hull")
    }
    formed, (family, _) = isoflop(table, curve), curves(table)
    used = np.array([c["minimum"] is not None for c in formed.extra.get("curves", [])], bool)
    # An interpolated curve has no rows of its own to leave out.
    again = resampled if all(len(c.rows) for c in family) else redrawn
    out["isoflop"] = _with_intervals(
        formed, lambda ys, n: isoflop_draws(family, ys, curve, n, used), again, draws.level, lacking
    )
    if model is None:
        return out
    smooth = replace(table, loss=np.exp(model))
    without = {method: observed(smooth, method) for method in ("pareto", "hull")} | {"isoflop": isoflop(smooth, curve)}
    own = {k: {key: one.value for key, one in front.intervals.items()} for k, front in without.items()}
    return {k: replace(front, extra={**front.extra, OF_MODEL: own[k]}) for k, front in out.items()}


Redrawn = tuple[Array, Array | None]
"""Log losses, shape (draws, n), and how often each row counts, of the same shape."""


def _resampled(table: Table, draws: Draws) -> Redrawn | None:
    """Rows of a long table, some of them more than once; None of a short one."""
    if draws.kind != "pairs" or len(table) < PAIRS_FROM or not draws.number:
        return None
    counts = draws.counts[:FRONTIER_DRAWS].astype(float)
    return np.broadcast_to(table.y, counts.shape), counts


def _redrawn(table: Table, law: Fitted | None, draws: Draws) -> Redrawn | None:
    """Losses of the law with fresh noise; None where no law says how large the noise is."""
    if law is None or not draws.number or not np.isfinite(law.noise.sigma).all():
        return None
    noise = law.noise.draw(draws.noise[:FRONTIER_DRAWS], draws.common[:FRONTIER_DRAWS])
    return table.y - law.fit.residual + noise, None


def _with_intervals(
    front: Frontier,
    measure: Callable[[Array, Array | None], dict[str, Array]],
    redrawn: Redrawn | None,
    level: float,
    lacking: str,
) -> Frontier:
    """A method read off the rows, and again off every draw: quantiles of the draws are the ends; or what is lacking."""
    edges = any(c["quality"] == "edge" for c in front.extra.get("curves", []))
    again = measure(*redrawn) if redrawn is not None and front.formed else {}
    intervals = {k: interval(front.intervals[k].value, again.get(k, np.empty(0)), level, 1.0) for k in EXPONENTS}
    status = front.status
    if front.formed and not any(i.bounded for i in intervals.values()):
        why = lacking if redrawn is None else "most draws have too few points for a slope"
        status = ("" if status == "ok" else f"{status}; ") + f"without an interval: {why}"
    return replace(front, status=status, intervals=intervals, flags=(GRID_EDGE,) if edges else ())
