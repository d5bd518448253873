"""What `plan` says, as tables and sentences: what is known of a study before anything more is run."""

from __future__ import annotations

import numpy as np

from mnist_scaling.planning.studied import Studied
from mnist_scaling.reporting.parts import Part, Sentence
from mnist_scaling.reporting.text import number, power_of_ten


def ground(of: Studied) -> list[Part]:
    """How many cells there are, how noisy they are, and what a run of the largest costs."""
    costs = of.costs
    dearest = costs.loc[costs["flops"].idxmax()] if costs["flops"].notna().any() else None
    each = "" if dearest is None else f" A run of the largest cell takes {power_of_ten(dearest['flops'])} FLOPs"
    seconds = "" if dearest is None or not np.isfinite(dearest["seconds"]) else f" and {dearest['seconds']:.3g} s"
    text = (
        f"{len(of.table)} cells. The loss differs by {_percent(of.seeds)} between seeds, and by {_percent(of.luck)} "
        f"between cells beyond that.{each}{seconds}{'.' if each else ''}"
    )
    return [Sentence(text)]


def _percent(sd: float) -> str:
    return f"{number(100 * sd, 2)} %" if np.isfinite(sd) else "an unknown share"
