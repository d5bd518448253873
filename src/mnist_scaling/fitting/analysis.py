"""Everything that is done with one table: which laws on which rows, all under one bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.diagnostics import Flag, of_cells, of_laws
from mnist_scaling.fitting.estimation.solve import minimise
from mnist_scaling.fitting.frontier.fronts import Frontier
from mnist_scaling.fitting.frontier.parametric import Cost, fit_cost
from mnist_scaling.fitting.frontier_intervals import FrontierResult, all_frontiers
from mnist_scaling.fitting.headline import headline
from mnist_scaling.fitting.laws import ALL, get_law
from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.outlook import Lifetime, Prediction, lifetime, predict
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.selection.averaging import WeightedLaw, weighted_laws
from mnist_scaling.fitting.selection.choice import Again, Candidate, Choice, choose, not_rejected
from mnist_scaling.fitting.selection.criteria import aicc_of_each
from mnist_scaling.fitting.selection.fitted import (
    Fitted,
    Options,
    Slice,
    all_slices,
    can_hold,
    fit_part,
    is_joint,
    main_slice,
    refusal,
    whole,
)
from mnist_scaling.fitting.uncertainty.bootstrap import Draws, make_draws
from mnist_scaling.study.flags import FEWEST_ROWS, LACK_OF_FIT

MOST_ROWS = 4000
"""Larger tables are thinned to so many rows, at random, and say so."""

REDRAWN = 40
"""Redrawn tables of each law on which the choice is repeated."""

SOURCES = 3
"""Laws, those of the largest weight, whose redrawn tables the choice is repeated on."""

MOST_REDRAWN = 40_000
"""Rows of all redrawn tables of one law: fewer tables where a table is long."""

NOTHING_VARIES = Choice(None, "every loss is the same, so no law has anything to fit", False)

NO_LIFETIME = "no law that is kept has its optimum within a factor of 3,000 of the compute-efficient size"
NO_COST = "it needs N, D and a C that grows with both"
"""Why a question about queries has no answer."""


@dataclass(frozen=True)
class Result:
    """All that `fits.json` says, as objects."""

    table: Table
    options: Options
    fitted: dict[str, Fitted]
    refused: dict[str, tuple[Law, Slice, str]]
    """Laws that were not fitted: with their rows and the reason in words."""
    extra_slices: list[tuple[Slice, Fitted | None, str]]
    frontier: dict[str, FrontierResult]
    cost: Cost | None
    choice: Choice
    kept: tuple[WeightedLaw, ...]
    """The laws that the data do not reject, with their weights: what the headline is made of."""
    headline: dict[str, Any]
    """Which numbers to quote (`headline.headline`)."""
    flags: list[Flag]
    """For the reader: those about quoted laws in full, those about other laws in one."""
    law_flags: dict[str, list[str]]
    """Codes of the flags about each law, quoted or not."""
    masked: list[dict[str, Any]]
    draws: Draws
    reference: str | None
    """Law whose fitted values and noise the frontier's draws are made of."""
    notes: list[str]
    predictions: list[Prediction]
    lifetime: Lifetime | None


def analyse(table: Table, options: Options | None = None) -> Result:
    """Fit every law that the table can hold, compare them, and say what is wrong.

    Parameters
    ----------
    table : Table
    options : Options, optional

    Returns
    -------
    Result

    Raises
    ------
    InputError
        When nothing can be fitted at all.
    """
    options = options or Options()
    given, rng = table, np.random.default_rng(options.seed)
    table, masked = _mask(table, options)
    table, folded = _fold(table)
    table, thinned = _thin(table, rng)
    notes = folded + thinned
    if len(table) < FEWEST_ROWS:
        raise InputError(f"A fit needs at least {FEWEST_ROWS} rows with a loss, but {len(table)} are left: add cells.")
    draws = make_draws(len(table), options.draws, rng, options.kind, options.level)
    fitted, refused = _fit_all(table, options, draws)
    joint = {k: f for k, f in fitted.items() if is_joint(f.law)}
    reference = _reference(joint)
    cost = fit_cost(table)
    rivals = joint or _rivals(fitted)
    choice = NOTHING_VARIES
    if not of_cells.constant_loss(table):
        choice = choose(_candidates(rivals), _again(rivals, draws))
    if not fitted:
        choice = replace(choice, reason=_why_nothing(list(refused), "law"))
    kept = weighted_laws(rivals, choice.weights)
    refused_joint = [name for name, (law, *_) in refused.items() if is_joint(law)]
    why = choice.reason if joint else _why_nothing(refused_joint, "joint law")
    frontier = all_frontiers(table, kept if joint else (), cost, draws, options.isoflop, why)
    extra = [(part, *_fit_slice(table, part, options, draws)) for part in all_slices(table)]
    wanted = predict(table, fitted, cost, options)
    life = lifetime(table, kept if joint else (), cost, options)
    flags, law_flags = _flags(table, given, options, fitted, refused, frontier, choice, masked, reference)
    flags += of_laws.far_extrapolation(
        max((p.reach for p in wanted), default=1.0), [dict(options.predict)], "The prediction asked for"
    )
    flags += _lifetime_reach(table, life)
    if options.queries is not None and life is None:
        notes.append(f"No cheapest model for {options.queries:.3g} queries: {NO_LIFETIME if cost else NO_COST}.")
    quoted = headline(kept, choice, frontier["parametric"], options.predict, draws.level)
    return Result(
        table, options, fitted, refused, extra, frontier, cost, choice, kept, quoted, flags, law_flags, masked, draws,
        reference.law.name if reference else None, notes, wanted, life,
    )  # fmt: skip


def _mask(table: Table, options: Options) -> tuple[Table, list[dict[str, Any]]]:
    at_chance = of_cells.chance_rows(table, options.classes)
    if not options.mask_chance or not at_chance.any():
        return table, []
    return table.take(~at_chance), [table.cell(int(i)) for i in np.flatnonzero(at_chance)]


def _fold(table: Table) -> tuple[Table, list[str]]:
    cells = table.folded()
    if not FEWEST_ROWS <= len(cells) < len(table):
        return table, []
    return cells, [f"{len(table)} rows are {len(cells)} cells: rows of one N and D are repeats of one cell"]


def _thin(table: Table, rng: np.random.Generator) -> tuple[Table, list[str]]:
    if len(table) <= MOST_ROWS:
        return table, []
    kept = np.sort(rng.choice(len(table), MOST_ROWS, replace=False))
    return table.take(kept), [
        f"{MOST_ROWS} of {len(table)} rows, drawn at random with the seed, were used for everything"
    ]


def _plan(table: Table, options: Options) -> list[Law]:
    """The laws to fit: those asked for, or the default ones whose inputs the table has."""
    if isinstance(options.laws, str) and options.laws in ("default", "all"):
        every = [law.for_classes(options.classes) for law in ALL.values() if table.has(law.inputs)]
        if options.laws == "all":
            return every
        repeats = table.has(("D", "U")) and bool((table.inputs["D"] > 1.0001 * table.inputs["U"]).any())
        return [law for law in every if law.default and ("U" not in law.inputs or repeats)]
    names = [options.laws] if isinstance(options.laws, str) else list(options.laws)
    laws = [get_law(name).for_classes(options.classes) for name in names]
    for law in laws:
        lacking = [k for k in law.inputs if k not in table.inputs]
        if lacking:
            raise InputError(
                f"The law {law.name} needs {', '.join(law.inputs)}, but {', '.join(lacking)} is not given: "
                f"name columns.{lacking[0]}=…."
            )
    return laws


def _fit_all(
    table: Table, options: Options, draws: Draws
) -> tuple[dict[str, Fitted], dict[str, tuple[Law, Slice, str]]]:
    fitted: dict[str, Fitted] = {}
    refused: dict[str, tuple[Law, Slice, str]] = {}
    for law in _plan(table, options):
        part = whole(table) if is_joint(law) else main_slice(table, law.inputs[0])
        why = law.refuses(table.loss) or (_refuse_joint(law, table) if is_joint(law) else refusal(part, table, law))
        if why:
            refused[law.name] = (law, part, why)
        else:
            fitted[law.name] = fit_part(law, table, part, options, draws)
    return fitted, refused


def _refuse_joint(law: Law, table: Table) -> str:
    """Why a joint law can't be fitted, in words; empty when it can."""
    varied = [k for k in law.inputs if k != "U"]
    for name in varied:
        distinct = len(table.levels(name))
        if distinct < law.levels:
            return f"not fitted: {distinct} distinct {name} in the table, but {law.levels} are needed"
    if len(table) <= law.size:
        return f"not fitted: {len(table)} cells, but {law.size} parameters need {law.size + 1}"
    design = np.column_stack([np.log(table.inputs[k]) for k in varied])
    if np.linalg.matrix_rank(design - design.mean(axis=0), tol=1e-6) < len(varied):
        return f"not fitted: {' and '.join(varied)} move together, so their shares can't be told apart"
    return ""


def _starved(table: Table, law: Law, part: Slice) -> bool:
    """Whether it is for want of cells that a law was refused, and not for where a scattered table's rows lie."""
    if is_joint(law):
        return not can_hold(table, law)
    enough = max(law.levels, law.size + 1)
    return len(table.levels(part.variable)) < enough


def _reference(joint: dict[str, Fitted]) -> Fitted | None:
    """The joint law with the best AICc: what the table looks like without its noise."""
    known = [
        f for f in joint.values() if np.isfinite(f.aicc) and np.isfinite(f.noise.sigma).all() and not f.law.empirical
    ]
    return min(known, key=lambda f: f.aicc) if known else None


def _rivals(fitted: dict[str, Fitted]) -> dict[str, Fitted]:
    """Without joint laws: those of the variable with most rows, since only laws of the same rows compare."""
    if not fitted:
        return {}
    variable = max(fitted.values(), key=lambda f: f.fit.n).law.inputs
    return {k: f for k, f in fitted.items() if f.law.inputs == variable}


def _candidates(rivals: dict[str, Fitted]) -> list[Candidate]:
    """What the choice looks at; the error is that of both hold-outs together."""
    out = []
    for f in rivals.values():
        slopes = {f"{k} at the largest cell": v for k, v in f.slopes.items()}
        slopes |= {f"{k} in the middle": v for k, v in f.middle_slopes.items()}
        p_value = f.noise.p_value
        out.append(Candidate(f.law, f.aicc, f.held_out, slopes, p_value if np.isfinite(p_value) else 1.0))
    return out


def _again(rivals: dict[str, Fitted], draws: Draws) -> Again | None:
    """AICc of every law on tables redrawn from the laws that are not rejected; None where nothing was drawn.

    A table is redrawn as in the wild bootstrap, whatever kind the intervals are of: resampled rows repeat rows, which
    favours laws with more parameters.
    """
    laws = {k: f for k, f in rivals.items() if not f.law.empirical and np.isfinite(f.aicc)}
    weights = not_rejected({k: f.aicc for k, f in laws.items()})
    sources = {k: w for k, w in list(weights.items())[:SOURCES] if np.isfinite(laws[k].noise.sigma).all()}
    if not draws.number or not sources:
        return None
    found: dict[str, dict[str, Array]] = {}
    for source in sources:
        f = laws[source]
        number = min(REDRAWN, draws.number, max(5, MOST_REDRAWN // f.fit.n))
        own, common = (numbers[:number][:, f.part.index] for numbers in (draws.noise, draws.common))
        y = (f.fit.problem.y - f.fit.residual) + f.noise.draw(own, common)
        found[source] = {}
        for name, other in laws.items():
            start = np.repeat(other.fit.theta[None], number, axis=0)
            problem = replace(other.fit.problem, y=y)
            found[source][name] = aicc_of_each(problem.residual(minimise(problem, start).theta), other.law.size)
    return Again(sources, found)


def _fit_slice(table: Table, part: Slice, options: Options, draws: Draws) -> tuple[Fitted | None, str]:
    law = ALL[f"power_{part.variable}"]
    why = refusal(part, table, law)
    return (None, why) if why else (fit_part(law, table, part, options, draws, deep=False), "ok")


def _flags(
    table: Table,
    given: Table,
    options: Options,
    fitted: dict[str, Fitted],
    refused: dict[str, tuple[Law, Slice, str]],
    frontier: dict[str, FrontierResult],
    choice: Choice,
    masked: list[dict[str, Any]],
    reference: Fitted | None,
) -> tuple[list[Flag], dict[str, list[str]]]:
    """Flags for the reader, those of the quoted laws in full and all others' in one; and the codes of every law."""
    reference_fit = reference.fit if reference else None
    isoflop = frontier["isoflop"].frontier if "isoflop" in frontier else Frontier("isoflop", {}, [])
    reach, far = _reach(reference, table)
    leading = _leading(choice, fitted)
    quoted, others = ({k: f for k, f in fitted.items() if (k in leading) == kept} for kept in (True, False))
    of_quoted, of_others = (_law_flags(group, choice.selected) for group in (quoted, others))
    floors = {k: f.profiles["E"][0] for k, f in fitted.items() if f.floor_rejected is not None}
    starved = of_laws.too_few_cells(table, [k for k, (law, part, _) in refused.items() if _starved(table, law, part)])
    shown = [
        *of_cells.constant_loss(table),
        *of_cells.unit_suspect(given, options.classes),
        *of_cells.input_suspect(given),
        *of_cells.double_softmax_floor(table, options.classes, floors),
        *of_quoted,
        *of_laws.se_suspect(reference.noise if reference else None),
        *of_laws.forms_disagree(choice.disagree, choice.reason),
        *of_laws.grid_edge(table, isoflop),
        *of_cells.carried(table),
        *of_cells.non_monotone(table, of_cells.usual_noise(table, reference_fit)),
        *of_cells.seed_outlier(table, reference_fit),
        *of_cells.chance_level(table, options.classes, masked),
        *starved,
        *of_laws.far_extrapolation(reach, far, "The hold-out of the largest compute"),
        *of_cells.duplicate_rows(given),
        # That a law which nobody quotes misses the data is why nobody quotes it.
        *of_laws.other_laws([f for f in of_others if f.code != LACK_OF_FIT], leading),
    ]
    by_law: dict[str, list[str]] = {}
    for flag in (*of_quoted, *of_others, *starved):
        for law in flag.laws:
            by_law.setdefault(law, []).append(flag.code)
    return shown, by_law


def _law_flags(fitted: dict[str, Fitted], selected: str | None) -> list[Flag]:
    """What can be wrong with these laws."""
    fits = {k: f.fit for k, f in fitted.items()}
    floors = {
        k: (f.profiles["E"][0], bool(f.floor_rejected)) for k, f in fitted.items() if f.floor_rejected is not None
    }
    return [
        *of_laws.not_converged(fits, {k: f.settled for k, f in fitted.items()}),
        *of_laws.parameter_at_bound(fits),
        *of_laws.floor_not_identified(floors, selected),
        *of_laws.lack_of_fit({k: f.noise for k, f in fitted.items()}),
    ]


def _leading(choice: Choice, fitted: dict[str, Fitted]) -> tuple[str, ...]:
    """Laws that are quoted: the selected one, or else all that the data do not reject."""
    return (choice.selected,) if choice.selected is not None else tuple(choice.weights) or tuple(fitted)


def _lifetime_reach(table: Table, found: Lifetime | None) -> list[Flag]:
    """That the model which is cheapest over its life lies far beyond the data, or far below the sizes."""
    if found is None:
        return []
    point, what = found.lifetime_optimal, f"The cheapest model for {found.queries:.3g} queries"
    more = point["D"] / float(table.inputs["D"].max())
    less = float(table.inputs["N"].min()) / point["N"]
    beyond = "the largest D" if more >= less else "(below) the smallest N"
    return of_laws.far_extrapolation(max(more, less), [point], what, beyond)


def _why_nothing(refused: Sequence[str], what: str) -> str:
    """Why no law of a kind was fitted."""
    if refused:
        return f"every {what} that was asked for is refused, for the reason that is given with it"
    return f"no {what} was asked for"


def _reach(reference: Fitted | None, table: Table) -> tuple[float, list[dict[str, Any]]]:
    if reference is None or reference.holdout is None:
        return 1.0, []
    return reference.holdout.reach, [table.cell(int(i)) for i in reference.holdout.rows]
