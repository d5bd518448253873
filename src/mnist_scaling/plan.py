"""python -m mnist_scaling.plan: what to run next, what it should give, and whether it did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import hydra
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.config import build
from mnist_scaling.config.plan_schema import PlanConfig
from mnist_scaling.planning import checks, resolve
from mnist_scaling.planning.studied import studied
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.json_form import plain
from mnist_scaling.reporting.parts import Part
from mnist_scaling.reporting.words import plan_tables


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
    of = studied(config.fit)
    found = checks.cards(of)
    came = resolve.outcomes(of, found)
    record = {"cards": [asdict(card) for card in found], "outcomes": [asdict(one) for one in came]}
    if config.resolve:
        command = resolve.resolve(of, found)
        return Said({**record, "command": command}, plan_tables.resolve_parts(of, command))
    known = {"seeds": of.seeds, "luck": of.luck, "cells": len(of.table)}
    return Said({"known": known, **record}, [*plan_tables.ground(of), *plan_tables.card_parts(of, found)])


if __name__ == "__main__":
    cli.run(main, "plan")
