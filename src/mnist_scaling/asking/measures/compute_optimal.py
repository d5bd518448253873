"""kind: compute_optimal. The best size, data and loss at each compute, by every frontier method, for each arm.

N* = k C^a    D* = k C^b    L* = k C^-c
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mnist_scaling.asking.measures import Findings, MeasureKind, Number, table
from mnist_scaling.asking.study_arms import StudyArm
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.analysis import analyse
from mnist_scaling.fitting.fitted import Options
from mnist_scaling.fitting.frontier.methods import OF_MODEL
from mnist_scaling.fitting.fronts import METHODS
from mnist_scaling.fitting.uncertainty.interval import Interval

WORDS = {"N_exponent": "N*", "D_exponent": "D*", "loss_exponent": "L*"}
"""Exponents of a frontier, and what they are exponents of."""


@dataclass(frozen=True)
class ComputeOptimalKeys:
    """Keys of this kind."""

    draws: int = 1000
    """Draws of the bootstrap."""


def measure(keys: ComputeOptimalKeys, arms: Mapping[str, StudyArm]) -> Findings:
    """Exponents <arm>_<method>_N, _D and _loss; <arm>_law is the law that describes the data, or none.

    <arm>_hull_N_of_model is what a method makes of the quoted model's own losses of the same cells, without noise.
    """
    numbers: dict[str, Number] = {}
    words: dict[str, str] = {}
    notes: list[str] = []
    for name, arm in arms.items():
        try:
            result = analyse(table(arm), Options(draws=keys.draws))
        except InputError as error:
            notes.append(f"{arm.label}: {error}")
            result = None
        words[f"{name}_law"] = (result and result.selected) or "no law"
        for method in METHODS:
            front = result.frontier.get(method) if result else None
            for exponent, star in WORDS.items():
                interval = front.intervals.get(exponent, Interval()) if front else Interval()
                slot = f"{name}_{method}_{exponent.removesuffix('_exponent')}"
                biased = "read off few cells, and biased" * (method != "parametric")
                meaning = f"{arm.label}: exponent of {star} in C, {METHODS[method]}"
                inside = None if biased or result is None else result.headline.inside
                numbers[slot] = Number(interval, meaning, doubtful=biased, inside=inside)
                if biased:
                    own = (front.extra.get(OF_MODEL) or {}).get(exponent, np.nan) if front else np.nan
                    numbers[f"{slot}_of_model"] = Number(Interval(own), f"{meaning}, off the model's own losses", None)
            size = front.intervals.get("N_exponent", Interval()) if front else Interval()
            if front and not size.bounded:
                what = "no interval of the" if size.known else "no"
                notes.append(f"{arm.label}: {what} exponent of N* by {METHODS[method]} ({front.status}).")
    return Findings(numbers, words, tuple(notes))


KIND = MeasureKind(ComputeOptimalKeys, measure)
