"""Everything that is done with one table: which laws on which rows, all under one bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.diagnostics import Flag, cells_of, of_cells, of_laws
from mnist_scaling.fitting.fitted import ALIKE, EXACT, Fitted, HoldOut, Options, describing, fit_part
from mnist_scaling.fitting.frontier.methods import read_off
from mnist_scaling.fitting.frontier.parametric import Cost, fit_cost, parametric
from mnist_scaling.fitting.fronts import Frontier
from mnist_scaling.fitting.headline import Headline, headline
from mnist_scaling.fitting.laws import ALL, get_law
from mnist_scaling.fitting.laws.base import Law
from mnist_scaling.fitting.misfit.posterior import FEWEST_DRAWS, Model, Posterior, surface
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import (
    Slice,
    is_joint,
    largest_cell,
    near_line,
    part_for,
    ray_of,
    refusal,
    starved,
)
from mnist_scaling.fitting.uncertainty.bootstrap import Draws, make_draws
from mnist_scaling.fitting.uncertainty.noise import seed_noise
from mnist_scaling.study.flags import FEWEST_ROWS, LACK_OF_FIT

MOST_ROWS = 4000
"""Larger tables are thinned to so many rows, at random, and say so."""

LAW_DRAWS = 300
"""Draws of each law's own bootstrap, at most: an end of its intervals is then off by 8 % of a half."""

MOST_NAMED = 6
"""Rows that a note names."""

SAME_LOSS = "every loss is the same, so no law has anything to fit"


@dataclass(frozen=True)
class Result:
    """All that `fits.json` says, as objects."""

    table: Table
    options: Options
    fitted: dict[str, Fitted]
    refused: dict[str, tuple[Law, Slice, str]]
    """Laws that were not fitted: with their rows and the reason in words."""
    frontier: dict[str, Frontier]
    cost: Cost | None
    best: Fitted | None
    """The law that describes the rows best."""
    model: Model | None
    """The law with a misfit term that the headline is of."""
    why: str
    """Why there is no model or no joint law, in words; empty where there is one."""
    headline: Headline
    masked: list[dict[str, Any]]
    draws: Draws
    notes: list[str]
    flags: list[Flag] = field(default_factory=list)
    """For the reader: those about quoted laws in full, those about other laws in one."""
    law_flags: dict[str, list[str]] = field(default_factory=dict)
    """Codes of the flags about each law."""

    @property
    def selected(self) -> str | None:
        """The law that describes the data, where something is quoted; no number depends on it."""
        return self.best.law.name if self.best and self.model else None


def analyse(table: Table, options: Options | None = None) -> Result:
    """Fit every law that the table can hold, compare them, and say what is wrong.

    Parameters
    ----------
    table : Table
    options : Options, optional

    Raises
    ------
    InputError
        When nothing can be fitted at all.
    """
    options = options or Options()
    given, rng = table, np.random.default_rng(options.seed)
    table, masked, notes = _rows(table, options, rng)
    if len(table) < FEWEST_ROWS:
        raise InputError(f"A fit needs at least {FEWEST_ROWS} rows with a loss, but got {len(table)}: add cells.")
    draws = make_draws(len(table), options.draws, rng, options.kind, options.level)
    few = replace(draws, number=min(draws.number, LAW_DRAWS))
    fitted, refused = _fit_all(table, options, few)
    joint = {k: f for k, f in fitted.items() if is_joint(f.law)}
    rivals = joint or _rivals(fitted)
    best = describing(rivals)
    model, why = _model(table, rivals, best, options, draws, rng)
    cost = fit_cost(table)
    no_joint = "" if joint else _why_nothing([k for k, (law, *_) in refused.items() if is_joint(law)], "joint law")
    why = why or ("" if fitted else _why_nothing(list(refused), "law"))
    notes += _not_in_model(model, fitted)
    law, line = best if joint else None, near_line(table)
    no_best = f"the rows lie too near a line ({line.words}) to show the best size at a compute" if line else ""
    surfaces = model.posterior if model and joint and not no_best else None
    off_surfaces = parametric(table, surfaces, cost, draws.level, no_joint or why or no_best)
    smooth = None if surfaces is None else np.median(surfaces.log_loss(table.logs(("N", "D"))), axis=0)
    frontier = {**read_off(table, law, draws, options.isoflop, smooth), "parametric": off_surfaces}
    without = "Nothing is quoted" if fitted and why != SAME_LOSS else "No law is fitted"
    quoted = Headline.absent(f"{without}: {why}.")
    if model is not None:
        quoted = headline(model, cost, off_surfaces, options.predict)
    result = Result(
        table, options, fitted, refused, frontier, cost, best, model, why or no_joint, quoted, masked, draws,
        notes,
    )  # fmt: skip
    flags, law_flags = _flags(result, given)
    return replace(result, flags=flags, law_flags=law_flags)


def _model(
    table: Table,
    rivals: dict[str, Fitted],
    best: Fitted | None,
    options: Options,
    draws: Draws,
    rng: np.random.Generator,
) -> tuple[Model | None, str]:
    """The law with a misfit term, over N and D or over the one variable of the laws; or why there is none."""
    if of_cells.constant_loss(table):
        return None, SAME_LOSS
    if best is None:
        return None, ""
    rows, inputs = table.take(best.part.rows), best.law.inputs
    if is_joint(best.law):
        inputs = ("N", "D")
    # Laws that somebody named are the base; the misfit is added to them all the same.
    named: list[Law] = []
    if options.laws not in ("default", "all"):
        named = [f.law for f in rivals.values() if f.law.inputs == inputs]
        if not named:
            return None, f"the model is of N and D, and {' and '.join(rivals)} is of U, too: name a law of N and D"
    elif len(inputs) == 1:
        named = [get_law(f"power_{inputs[0]}_floor")]
    posterior = surface(rows, max(draws.number, FEWEST_DRAWS), rng, named)
    ray = None if is_joint(best.law) else ray_of(table)
    return Model(posterior, rows, _noise(best, rows, posterior), draws.level, best.fit.rmse < EXACT, ray, named), ""


def _noise(best: Fitted, rows: Table, posterior: Posterior) -> float:
    """Standard deviation of a row's log loss: by the repeats, else what the misfit leaves of the law's residuals."""
    seeds = seed_noise(rows)
    if seeds is not None:
        return seeds.scale
    residual = best.fit.residual[~posterior.broken]
    variance = float((residual**2).sum()) / max(len(residual) - best.fit.free, 1)
    return float(np.sqrt(max(variance - float(np.median(posterior.misfit())) ** 2, 0.0)))


def _not_in_model(model: Model | None, fitted: dict[str, Fitted]) -> list[str]:
    """Rows and inputs that laws were fitted to, but the model of the headline was not."""
    if model is None:
        return []
    notes, rows = [], [model.rows.cell(int(i)) for i in np.flatnonzero(model.posterior.broken)]
    if rows:
        named = [
            ", ".join([f"row {row['row']}", *(f"{k} {row[k]:,.0f}" for k in model.inputs)]) for row in rows[:MOST_NAMED]
        ]
        which = "; ".join(named) + ("; …" if len(rows) > MOST_NAMED else "")
        lie, are = ("lies", "is") if len(rows) == 1 else ("lie", "are")
        notes.append(
            f"{len(rows)} of {len(model.rows)} rows {lie} far off the neighbours and {are} not in the numbers to quote "
            f"({which}); the laws are fitted to all"
        )
    if any("U" in f.law.inputs for f in fitted.values()):
        notes.append("the numbers to quote are of N and D: U is not in their model")
    return notes


def _rows(table: Table, options: Options, rng: np.random.Generator) -> tuple[Table, list[dict[str, Any]], list[str]]:
    """The rows without those at chance, if they are masked, folded into cells and thinned; the masked ones; notes."""
    notes: list[str] = []
    at_chance = of_cells.chance_rows(table, options.classes) & options.mask_chance
    masked = cells_of(table, np.flatnonzero(at_chance))
    table = table.take(~at_chance) if masked else table
    cells = table.folded()
    if FEWEST_ROWS <= len(cells) < len(table):
        notes.append(f"{len(table)} rows are {len(cells)} cells: rows of one N and D are repeats of one cell")
        table = cells
    if len(table) > MOST_ROWS:
        notes.append(f"{MOST_ROWS} of {len(table)} rows, drawn at random with the seed, were used for everything")
        table = table.take(np.sort(rng.choice(len(table), MOST_ROWS, replace=False)))
    return table, masked, notes


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
        part = part_for(law, table)
        why = refusal(law, table, part)
        if why:
            refused[law.name] = (law, part, why)
        else:
            fitted[law.name] = fit_part(law, table, part, options, draws)
    return fitted, refused


def _rivals(fitted: dict[str, Fitted]) -> dict[str, Fitted]:
    """Without joint laws: those of the variable with most rows, since only laws of the same rows compare."""
    if not fitted:
        return {}
    variable = max(fitted.values(), key=lambda f: f.fit.n).law.inputs
    return {k: f for k, f in fitted.items() if f.law.inputs == variable}


def _flags(result: Result, given: Table) -> tuple[list[Flag], dict[str, list[str]]]:
    """Flags for the reader, those of the law that describes the data in full, others' in one; and every law's codes."""
    table, fitted, best, classes = result.table, result.fitted, result.best, result.options.classes
    joint = best if best and is_joint(best.law) else None
    fit = joint.fit if joint else None
    leading = (best.law.name,) if best else tuple(fitted)
    quoted, others = ({k: f for k, f in fitted.items() if (k in leading) == kept} for kept in (True, False))
    of_quoted, of_others = (_law_flags(group, best) for group in (quoted, others))
    floors = {k: f.floor for k, f in fitted.items() if f.floor is not None}
    refused = [law for law, part, _ in result.refused.values() if starved(law, table, part)]
    held = joint.holdout if joint else HoldOut()
    few, asked = of_laws.too_few_cells(table, [law.name for law in refused]), result.headline.asked
    shown = [
        *of_cells.constant_loss(table),
        *of_cells.unit_suspect(given, classes),
        *of_cells.input_suspect(given),
        *of_cells.double_softmax_floor(table, classes, floors),
        *of_laws.collinear(ray_of(table)),
        *_of_model(result),
        *of_quoted,
        *of_laws.se_suspect(joint.noise if joint else None),
        *of_laws.grid_edge(table, result.frontier["isoflop"]),
        *of_cells.carried(table),
        *of_cells.non_monotone(table, fit),
        *of_cells.seed_outlier(table, fit),
        *of_cells.chance_level(table, classes, result.masked),
        *few,
        *of_laws.far_extrapolation(held.reach, cells_of(table, held.rows), "The hold-out of the largest compute"),
        *of_cells.duplicate_rows(given),
        # That a law which nobody quotes misses the data is why nobody quotes it.
        *of_laws.other_laws([f for f in of_others if f.code != LACK_OF_FIT], leading),
        *of_laws.far_extrapolation(asked.reach, [dict(asked.at)], "The prediction asked for", asked.beyond),
    ]
    by_law: dict[str, list[str]] = {}
    for flag in (*of_quoted, *of_others, *few):
        for law in flag.laws:
            by_law.setdefault(law, []).append(flag.code)
    return shown, by_law


def _law_flags(fitted: dict[str, Fitted], best: Fitted | None) -> list[Flag]:
    """What can be wrong with these laws."""
    fits = {k: f.fit for k, f in fitted.items()}
    floors = {k: f.floor for k, f in fitted.items() if f.floor is not None}
    return [
        *of_laws.not_converged(fits, {k: f.settled for k, f in fitted.items()}),
        *of_laws.parameter_at_bound(fits),
        *of_laws.floor_not_identified(floors, best.law.name if best else None),
        *of_laws.lack_of_fit({k: f.noise for k, f in fitted.items()}),
    ]


def _why_nothing(refused: Sequence[str], what: str) -> str:
    """Why no law of a kind was fitted."""
    if refused:
        return f"every {what} that was asked for is refused, for the reason that is given with it"
    return f"no {what} was asked for"


def _of_model(result: Result) -> list[Flag]:
    model, best = result.model, result.best
    if model is None or best is None:
        return []
    at = largest_cell(model.rows)
    quoted = {k: model.slope(at, k) for k in model.inputs}
    rivals = {k: f for k, f in result.fitted.items() if f.law.inputs == best.law.inputs}
    least = min(f.aicc for f in rivals.values())
    alike = {k: f.slopes for k, f in rivals.items() if f is not best and f.aicc <= least + ALIKE}
    missed = [] if model.exact else of_laws.misfit(model.posterior.law.name, model.misfit, model.noise)
    return missed + of_laws.forms_disagree(alike, quoted)
