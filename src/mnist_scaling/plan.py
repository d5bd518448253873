"""python -m mnist_scaling.plan: what to run next, what it should give, and whether it did."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_scaling import cli, image_task
from mnist_scaling.arms.reading import mixed, read
from mnist_scaling.config import JSON, ModelConfig, build, literal
from mnist_scaling.config.plan_schema import PlanConfig
from mnist_scaling.errors import InputError
from mnist_scaling.planning import checks, growth, predictions
from mnist_scaling.planning.new_cell import Expected, NewCell, expect, place_of
from mnist_scaling.planning.next_budget import next_budget
from mnist_scaling.planning.next_runs import NextRuns, grown, next_runs
from mnist_scaling.planning.studied import Studied, studied
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.fit_record import fit_record
from mnist_scaling.reporting.documents.json_form import plain
from mnist_scaling.reporting.text import Part, Sentence, duration, plural
from mnist_scaling.reporting.words import plan_words
from mnist_scaling.study import identity, layout, missing
from mnist_scaling.study.columns import column_of
from mnist_scaling.study.layout import found_folder
from mnist_scaling.study.tables.cell_runs import certified

TENTH = 0.1
"""Share of what a study has cost for which next runs are shown where nobody names a budget."""


@dataclass(frozen=True)
class Said:
    """What a plan comes to: as a record for format=json, and as tables and sentences for people."""

    record: dict[str, Any] = field(default_factory=dict)
    parts: Sequence[Part] = ()


@hydra.main(config_path=cli.conf_dir(), config_name="plan")
def main(cfg: DictConfig) -> None:
    """Read, plan, show."""
    with cli.user_errors("plan"):
        run(build(PlanConfig, cfg), HydraConfig.get().overrides.task)


def run(config: PlanConfig, typed: Sequence[str] = ()) -> None:
    """Do what was asked and print it; `typed` are the command's arguments, for the next one."""
    said = asked(config, typed)
    if config.format == JSON:
        print(json.dumps(plain({"schema": 1, **said.record}), indent=1, allow_nan=False))
    else:
        terminal.show(said.parts)


def asked(config: PlanConfig, typed: Sequence[str] = ()) -> Said:
    """The one thing that a plan is asked for."""
    again = shlex.join(["python", "-m", "mnist_scaling.plan", *(typed or [f"name={config.name}"])])
    if config.score:
        return _score(config)
    unit, budget = "flops", config.flops
    if config.minutes:
        from mnist_scaling.tuning.workers import local  # it loads the tuner

        cores = config.cores or local.cores()
        if config.name and not found_folder(config.name).is_dir():
            return _new_study(config, config.name, config.minutes, cores)
        unit, budget = "seconds", 60 * config.minutes * cores
    of = studied(config.fit)
    if of.is_study:
        missing.note_kept(of.folder)
        missing.warn(of.folder)
    if of.identity.get("program") == image_task.TASK.program:  # another program is not asked
        of = replace(of, counts=_counts)
    if config.table and set(config.cell) <= {"flops"} and of.model.inputs == ("C",):
        found = next_budget(of, config.cell.get("flops"))
        record = replace(found, winners=found.winners.to_dict("records"))  # type: ignore[arg-type]
        return Said({"next_budget": record}, plan_words.budget(found))
    if config.cell:
        return _predict(config, of, again)
    if budget:
        return _next_runs(config, of, budget, unit)
    return _irregularities(config, of, again)


def _new_study(config: PlanConfig, name: str, minutes: float, cores: int) -> Said:
    """A study that fits a time."""
    from mnist_scaling import new_study

    new = new_study.propose(name, minutes, cores, Path(cli.conf_dir()) / "experiment")
    offer = new.offer
    wide = " and ".join(f"{slope} ±{width / 2:.2f}" for slope, width in offer.widths.items())
    grid = f"{offer.cells} cells: {' '.join(new.axes)}, {offer.trials} trials and {offer.repeats} repeats of each."
    by = f"that of {plural(new.calibrated, 'run')} of a small study"
    parts: list[Part] = [
        Sentence(f"There is no such study yet. {grid}"),
        Sentence(
            f"It should take {duration(new.seconds)} (the pace is {by}), and leave the exponents to {wide} (95 %)."
        ),
        Sentence(f"Written: {new.path}"),
        plan_words.next_command(new.command),
    ]
    return Said({"proposal": new}, parts)


def _next_runs(config: PlanConfig, of: Studied, budget: float, unit: str) -> Said:
    """The runs that are worth most under a budget, and the command that runs them in the study."""
    found = next_runs(of, config.word, budget, unit)
    wanted = grown(of, found) if of.can_grow and found.choice.moves else []
    command = growth.write(of, wanted, of.folder / layout.NEXT_RUNS) if wanted else ""
    record = {
        "target": found.target.meaning,
        **vars(found.choice),
        "message": plan_words.worth(found),
        "command": command,
    }
    return Said(record, plan_words.next_run_parts(of, found, command))


def _irregularities(config: PlanConfig, of: Studied, again: str) -> Said:
    """What is wrong with the cells, what became of what was, and, if asked for, the runs that resolve it."""
    found = checks.cards(of)
    came = growth.outcomes(of, found)
    record: dict[str, Any] = {"cards": found, "outcomes": came}
    if config.resolve:
        command = growth.resolve(of, found)
        return Said({**record, "command": command}, plan_words.resolve_parts(of, command))
    offer = _offer(of, config.word)
    parts = [*plan_words.ground(of), *plan_words.card_parts(of, found)]
    parts += plan_words.next_run_parts(of, offer, "") if offer else []
    parts += plan_words.next_step(of, found, again, offer)
    known = {"seed_sd": of.seed_sd, "cell_sd": of.cell_sd, "cells": len(of.table)}
    return Said({"known": known, **record, "moves": offer.choice.moves if offer else ()}, parts)


def _offer(of: Studied, word: str) -> NextRuns | None:
    """The next runs for a tenth of the FLOPs of the runs there are; None where none is worth it, or none is known."""
    budget = TENTH * float(of.costs[["flops", "runs"]].prod(axis=1).sum())
    with contextlib.suppress(InputError):
        offer = next_runs(of, word, budget, "flops")
        return offer if offer.choice.moves else None
    return None


def _predict(config: PlanConfig, of: Studied, again: str) -> Said:
    """A prediction, registered unless it is only looked at, and the command that runs its cell in the study."""
    cell = place_of(of, config.cell)
    expected = expect(of, cell, np.random.default_rng(config.seed))
    folder = Path(config.out) if config.out else of.folder
    own = bool(config.out) or not of.source.kept
    row = predictions.register(of, cell, expected, folder, config.where, config.register and own)
    if row.get(predictions.SEAL):
        command = predictions.command(of, [row], folder) if cell.keys and of.can_grow else ""
    else:
        command = again.replace(" register=false", "") + ("" if own else " out=FOLDER")
    fits = fit_record(of.result, mixed(of.source, of.arm), certified(of.cells) if of.is_study else None)
    parts = plan_words.prediction(of, fits, row, folder / layout.PREDICTIONS, cell, expected, command)
    run = _one_run(of, cell, expected) if of.counts is not None and cell.axes else ""
    parts += [Sentence(run, lead="One run")] if run else []
    if cell.axes and (flops := config.cell.get("flops")):
        parts.append(Sentence(f"`fit` with predict.C={flops:g} gives the expected loss at exactly the best N."))
    return Said({"prediction": predictions.record(row), "command": command, "run": run}, parts)


def _one_run(of: Studied, cell: NewCell, expected: Expected) -> str:
    """The command that trains such a model once, with the settings of a prediction."""
    own = (of.source.study or {}).get(identity.IDENTITY, {})
    ranges = own.get("ranges", {})
    keys = {column_of(key): key for key in (*own.get("varying", ()), *ranges)}
    values = {keys[axis]: value for axis, value in cell.axes.items() if axis in keys}
    for column, found in expected.settings.items():
        key = keys[column]
        whole = key in ranges and json.loads(ranges[key])["name"] == "IntDistribution"
        values[key] = found if isinstance(found, str) else round(found.value) if whole else float(f"{found.value:.3g}")
    # A name is that of an option of its config group, which brings the option's other keys.
    typed = [
        f"{key.removesuffix('.name')}={value if str(value).isidentifier() else literal(value)}"
        for key, value in {**own.get("settings", {}), **values}.items()
    ]
    return shlex.join(["python", "-m", "mnist_scaling.train", *typed])


def _counts(values: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, float]:
    """What our own program counts of a run before it starts; values that nobody gives are the defaults."""
    given = {**values, **changes}
    defaults = image_task.TASK.defaults({"model.name": given.get("model.name", ModelConfig().name)})
    return image_task.TASK.counts(image_task.TASK.checked({**defaults, **given}))


def _score(config: PlanConfig) -> Said:
    """Registered predictions against what has come."""
    own = read(config.fit)
    others = [read(replace(config.fit, name=name, table=None)) for name in config.measured]
    rows = predictions.score(
        Path(config.out) if config.out else own.folder, [own, *others], bool(config.out) or not own.kept
    )
    summary = predictions.summary(rows)
    found = {"predictions": [*map(predictions.record, rows)], "summary": summary}
    return Said(found, plan_words.scores(rows, summary))


if __name__ == "__main__":
    cli.run(main, "plan")
