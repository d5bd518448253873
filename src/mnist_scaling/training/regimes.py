"""How long a run trains, and so what D and C mean. A new regime is one class here and one file in conf/regime/."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from mnist_scaling.config import RegimeConfig, one_of


class Regime(Protocol):
    """Which examples a run sees, in which batches."""

    def n_seen(self, n_train: int) -> int:
        """Examples processed, D, of a run on `n_train` unique ones."""
        ...

    def batches(self, n_train: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Positions in the subset, a batch at a time; they add up to `n_seen` examples."""
        ...


class SingleEpoch:
    """Every example once: D = U, and the generalisation gap plays no part."""

    def __init__(self, config: RegimeConfig) -> None:
        del config

    def n_seen(self, n_train: int) -> int:
        """All of the subset, once."""
        return n_train

    def batches(self, n_train: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """One random order, cut into batches; the last one may be smaller, so that D is exact."""
        yield from torch.randperm(n_train, generator=generator).split(batch_size)


REGIMES = {"single_epoch": SingleEpoch}
"""Every regime by the value of `regime.name`."""


def build(config: RegimeConfig) -> Regime:
    """The regime of a run.

    Raises
    ------
    InputError
        When the name is unknown.
    """
    one_of("regime.name", config.name, tuple(REGIMES))
    return REGIMES[config.name](config)
