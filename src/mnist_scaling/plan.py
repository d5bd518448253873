"""python -m mnist_scaling.plan: what to run next, what it should give, and whether it did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig

from mnist_scaling import cli, image_task
from mnist_scaling.arms.reading import read
from mnist_scaling.config import build
from mnist_scaling.config.plan_schema import PlanConfig
from mnist_scaling.planning import predictions
from mnist_scaling.planning.new_cell import Counts, expect, place_of
from mnist_scaling.planning.next_budget import next_budget
from mnist_scaling.planning.studied import Studied, studied
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.json_form import plain
from mnist_scaling.reporting.parts import Part
from mnist_scaling.reporting.words import plan_tables
from mnist_scaling.study.identity import IDENTITY


@dataclass(frozen=True)
class Said:
    """What a plan comes to: as a record for format=json, and as tables and sentences for people."""

    record: dict[str, Any] = field(default_factory=dict)
    parts: Sequence[Part] = ()


@hydra.main(config_path=cli.conf_dir(), config_name="plan")
def main(cfg: DictConfig) -> None:
    """Read, plan, show."""
    with cli.user_errors("plan"):
        run(build(PlanConfig, cfg))


def run(config: PlanConfig) -> None:
    """Do what was asked and print it.

    Parameters
    ----------
    config : PlanConfig
    """
    said = asked(config)
    if config.format == "json":
        print(json.dumps(plain({"schema": 1, **said.record}), indent=1, allow_nan=False))
    else:
        terminal.show(said.parts)


def asked(config: PlanConfig) -> Said:
    """The one thing that a plan is asked for."""
    if config.score:
        return _score(config)
    of = studied(config.fit)
    if config.table and set(config.cell) <= {"flops"} and of.model.inputs == ("C",):
        found = next_budget(of, config.cell.get("flops"))
        return Said(
            {"next_budget": replace(found, winners=found.winners.to_dict("records"))}, plan_tables.budget(found)
        )
    if config.cell:
        return _predict(config, of)
    known = {"seeds": of.seeds, "luck": of.luck, "cells": len(of.table)}
    return Said({"known": known}, plan_tables.ground(of))


def _predict(config: PlanConfig, of: Studied) -> Said:
    """A prediction, registered."""
    cell = place_of(of, config.cell, _counts(of))
    expected = expect(of, cell, np.random.default_rng(config.seed))
    folder = Path(config.out) if config.out else of.folder
    row = predictions.register(of, cell, expected, folder)
    return Said({"prediction": row}, plan_tables.prediction(row, folder / predictions.FILE, cell, of.source.study))


def _counts(of: Studied) -> Counts | None:
    """What our own program counts of a run before it starts; another program's is not asked."""
    program = ((of.source.study or {}).get(IDENTITY) or {}).get("program")
    task = image_task.TASK

    def count(values: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, float]:
        return task.counts(task.changed(values, changes))

    return count if program == task.program else None


def _score(config: PlanConfig) -> Said:
    """Registered predictions against what has come."""
    own = read(config.fit)
    others = [read(replace(config.fit, name=name, table=None)) for name in config.measured]
    folder = Path(config.out) if config.out else own.folder
    rows = predictions.score(folder, [own, *others])
    summary = predictions.summary(rows)
    return Said({"predictions": rows, "summary": summary}, plan_tables.scores(rows, summary))


if __name__ == "__main__":
    cli.run(main, "plan")
