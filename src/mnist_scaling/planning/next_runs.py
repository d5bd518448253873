"""Which runs next: new cells, more trials in a cell, more repeats of it; those that teach most of a target per cost.

    f_j = ln L at place j        t = the target        v = luck^2 + seed^2 / repeats, luck ~ trials^-power
    a measurement of f_j with variance v takes cov(t, f_j)^2 / (var f_j + v) off var t

    target: alpha, beta = -d ln L / d ln N, D        N_exponent = d ln N* / d ln C        loss = ln L

All variances are those of the posterior's draws, which hold what the law leaves open, what it may miss, and which law
it is. To go from v0 to v1 < v0 in a cell is one more measurement, independent, of variance 1 / (1 / v1 - 1 / v0); a new
cell has v0 = inf. Runs are chosen one after another: after each, the draws are conditioned on it. Slopes are those at
the cell of the largest compute, which `fit` quotes, and the loss is the compute-optimal one at `REACH` times that.

Source: Seo et al. 2000 (IJCNN) for the score; Potter's square root (Bierman 1977, section V.3) for the conditioning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mnist_scaling.config.plan_schema import TARGETS
from mnist_scaling.errors import InputError, one_of, require
from mnist_scaling.fitting.ahead import losses_ahead
from mnist_scaling.fitting.frontier.parametric import Cost, budgets, valley
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.misfit.posterior import Model
from mnist_scaling.fitting.slices import largest_cell
from mnist_scaling.fitting.uncertainty.interval import MAJORITY
from mnist_scaling.planning.checks import REPEATS, TRIALS
from mnist_scaling.planning.growth import GrownCell, grown_from
from mnist_scaling.planning.measurements import CellEffort, Places, new_cells, of_study, unrun
from mnist_scaling.planning.new_cell import NewCell
from mnist_scaling.planning.studied import Studied

CELL = "cell"
KINDS = (CELL, TRIALS, REPEATS)

EXPONENTS = (0.0, 0.4, 0.7, 1.0)
"""Powers of the cost that gains are divided by: each makes a plan, and the one that leaves least of var t is taken. At
1, dear cells that teach much are never bought; at 0, one may take the whole budget. 0.4 alone is the choice of Li et
al. 2026 (arXiv 2604.22753)."""

MOST_TRIALS, MOST_REPEATS = 64, 32
"""Trials and repeats from which on a cell gets no more: what its seeds share is no longer small beside it."""

CHANCE, TAIL = 10.0, 0.01
"""A gain below this share of what is left of var t, over the number of draws, is one by chance (p = 0.002); share of
the draws at each end that is drawn in, because the variance of a ratio's few wild draws says nothing."""

SLOPES, REACH = {"alpha": "N", "beta": "D"}, 4.0
"""Variable of each slope; multiple of the largest compute at which a loss is meant, one of `ahead.REACHES`."""


@dataclass(frozen=True)
class Target:
    """A number of every surface that has it: what and where it is, its draws, and the mask of these surfaces."""

    meaning: str
    draws: Array
    known: np.ndarray


def target(model: Model, cost: Cost | None, word: str) -> Target:
    """The draws of one of `TARGETS`; `cost` is the table's."""
    one_of("target", word, TARGETS)
    surfaces, point, inputs = model.posterior, largest_cell(model.rows), " and ".join(model.inputs)
    if word == "loss":
        ahead = [one for one in losses_ahead(model, cost)[0] if one.reach == REACH]
        slopes = " or ".join(f"target={k}" for k, variable in SLOPES.items() if variable in model.inputs)
        rule = f"`target=loss` needs a compute at which it is meant, but {inputs} say nothing of compute"
        require(bool(ahead), f"{rule}: choose {slopes}, or name columns.C.")
        point = {k: float(np.log(getattr(ahead[0], k))) for k in model.inputs}
        meaning, draws = "ln loss", surfaces.log_loss({k: np.array([v]) for k, v in point.items()})[:, 0]
    else:
        needs = SLOPES.get(word, "N and D with a C that grows with both")
        able = needs in model.inputs if word in SLOPES else cost is not None and len(model.inputs) == 2
        require(able, f"`target={word}` needs a model of {needs}, but this one is of {inputs}: choose target=loss.")
        if word in SLOPES:
            meaning, draws = f"{word} = -d ln L / d ln {needs}", surfaces.slope(point, needs)
        else:
            assert cost is not None
            meaning = "N_exponent = d ln N* / d ln C, over the compute of the table"
            draws = valley(surfaces.log_loss, surfaces.axes, cost, budgets(model.rows, cost)).exponents["N"]
    if word in (*SLOPES, "loss"):
        meaning += " at " + ", ".join(f"{k} = {np.exp(point[k]):.3g}" for k in model.inputs)
    known = np.isfinite(draws)
    rule = f"`target={word}` needs surfaces with an optimum, but {100 * known.mean():.0f} % of them have one"
    fix = "add cells on both sides of the best size at a budget, or choose target=loss."
    require(known.mean() > MAJORITY, f"{rule}: {fix}")
    return Target(meaning, np.clip(draws[known], *np.quantile(draws[known], [TAIL, 1 - TAIL])), known)


@dataclass(frozen=True)
class Move:
    """Runs that are added at one place, one of `KINDS`; its gain is a share of the target's first variance."""

    kind: str
    place: int
    trials: int
    repeats: int
    cost: float
    gain: float


@dataclass(frozen=True)
class Choice:
    """Runs in the order in which they were chosen, and the share of the target's variance that they leave."""

    moves: tuple[Move, ...]
    left: float

    @property
    def cost(self) -> float:
        """Of all of them."""
        return sum(move.cost for move in self.moves)


def moves_of(places: Places, effort: CellEffort) -> tuple[Array, Array, Array, Array]:
    """Every next move of every place: trials and repeats added, variance of what it measures, cost; (3, n) each.

    A cell's trials grow by half; then another setting may come out best, with a chance of the new trials' share in all,
    and its repeats are run again. Its repeats double. What is no move has the variance inf.
    """
    n, empty = len(places), places.trials + places.repeats == 0
    trials, repeats = np.zeros((3, n)), np.zeros((3, n))
    trials[0], repeats[0] = effort.trials, effort.repeats
    trials[1] = np.maximum(np.ceil(places.trials / 2), 1)
    repeats[2] = np.maximum(places.repeats, 1)
    again = trials[1] / np.maximum(trials[1] + places.trials, 1) * places.repeats
    runs = repeats + np.stack([np.zeros(n), again, np.zeros(n)])
    cost = trials * places.trial_cost + runs * places.repeat_cost
    before = places.variance(effort.power)
    after = np.stack([places.grown(*more).variance(effort.power) for more in zip(trials, repeats, strict=True)])
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = 1 / (1 / after - 1 / before)
    again = (places.luck_sd > 0) & (places.trials < MOST_TRIALS), (places.seed_sd > 0) & (places.repeats < MOST_REPEATS)
    possible = np.stack([empty, *(~empty & one for one in again)])
    return trials, repeats, np.where(possible & (after < before), variance, np.inf), cost


def factors(draws: Array) -> Array:
    """A square root of the draws' covariance: F with F^T F = cov, shape (draws, n)."""
    return np.asarray((draws - draws.mean(axis=0)) / np.sqrt(len(draws) - 1))


def gains(f: Array, t: Array, variance: Array) -> Array:
    """What measurements take off the targets' variance, (…, n): f (draws, n), t (draws, targets), variance (…, n)."""
    return np.asarray(((t.T @ f) ** 2).sum(axis=0) / ((f**2).sum(axis=0) + variance))


def condition(f: Array, t: Array, place: int, variance: float) -> tuple[Array, Array]:
    """Both factors after a measurement of one place: cov - cov_j cov_j^T / (var f_j + v), without a draw of chance."""
    x = f[:, place].copy()
    whole = float(x @ x) + variance
    step = 1 / (whole * (1 + np.sqrt(variance / whole)))
    return f - np.outer(x, step * (x @ f)), t - np.outer(x, step * (x @ t))


def choose(
    draws: Array, target: Array, places: Places, effort: CellEffort, budget: float, chance: float | None = None
) -> Choice:
    """The runs that leave least of the variance of the target, (draws,) or (draws, targets), of the plans that powers
    of the cost make. `draws` are ln L of every surface at every place, (draws, n); gains below the share `chance` of
    what is left are none."""
    least = CHANCE / len(draws) if chance is None else chance
    f, t = factors(draws), factors(target.reshape(len(target), -1))
    plans = [_greedy(f, t, places, effort, budget, power, least) for power in EXPONENTS]
    return min(plans, key=lambda plan: (plan.left, plan.cost))


def _greedy(
    f: Array, t: Array, places: Places, effort: CellEffort, budget: float, power: float, chance: float
) -> Choice:
    """The plan of one power of the cost."""
    whole, moves, spent = float((t**2).sum()), list[Move](), 0.0
    while True:
        least = chance * float((t**2).sum())
        trials, repeats, variance, cost = moves_of(places, effort)
        gain = np.where(cost <= budget - spent, gains(f, t, variance), 0.0)
        if not gain.max(initial=0.0) > least:
            return Choice(tuple(moves), float((t**2).sum()) / whole if whole else 1.0)
        worth = np.divide(gain, cost**power, out=np.zeros_like(gain), where=gain > least)
        kind, place = np.unravel_index(np.argmax(worth), gain.shape)
        added, again = int(trials[kind, place]), int(repeats[kind, place])
        move = Move(KINDS[kind], int(place), added, again, float(cost[kind, place]), float(gain[kind, place]) / whole)
        moves.append(move)
        spent += move.cost
        f, t = condition(f, t, move.place, float(variance[kind, place]))
        here = np.arange(len(places)) == place
        places = places.grown(here * move.trials, here * move.repeats)


@dataclass(frozen=True)
class NextRuns:
    """What to run next; the moves' places are the table's rows and then the cells that were offered."""

    target: Target
    cells: Sequence[NewCell]
    choice: Choice
    budget: float
    unit: str


def next_runs(of: Studied, word: str, budget: float, unit: str) -> NextRuns:
    """The runs that make a target (one of `plan_schema.TARGETS`) most certain for a budget of "flops" or "seconds"."""
    places, effort = of_study(of, unit)
    if not np.isfinite(places.repeat_cost).all():
        fix = "flops=…" if unit == "seconds" else "columns.C=…, or columns.N=… and columns.D=…"
        raise InputError(f"A budget in {unit} needs those of every run, but {of.source.path} lacks them: give {fix}.")
    cells = new_cells(of)
    places, wanted = places.join(unrun(cells, places)), target(of.model, of.result.cost, word)
    draws = of.model.posterior.log_loss(places.logs)[wanted.known]
    return NextRuns(wanted, cells, choose(draws, wanted.draws, places, effort, budget), budget, unit)


def grown(of: Studied, found: NextRuns) -> list[GrownCell]:
    """All cells of the study, with the trials and repeats that they are to have, and the new ones."""
    more = np.zeros((len(of.table) + len(found.cells), 2), int)
    for move in found.choice.moves:
        more[move.place] += move.trials, move.repeats
    added = {int(row): runs for row, runs in zip(of.table.rows, more[: len(of.table)], strict=True)}
    out = []
    for cell in grown_from(of):
        trials, repeats = np.max([(0, 0), *(added[row] for row in cell.rows if row in added)], axis=0)
        out.append(replace(cell, trials=cell.trials + int(trials), repeats=cell.repeats + int(repeats)))
    new = zip(found.cells, more[len(of.table) :].tolist(), strict=True)
    return [*out, *(GrownCell(cell.keys, *runs) for cell, runs in new if any(runs))]
