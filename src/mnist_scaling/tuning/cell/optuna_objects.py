"""Optuna's samplers and pruners as conf/ names them: made, and refused in one sentence where they can't work here."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import ExperimentalWarning

from mnist_scaling.errors import InputError

_TARGET = "_target_"

_REFUSED = {
    "GridSampler": "walks a grid of its own, where a sweep of ours tunes every cell of one: give the values as axes",
    "motpe": "was removed from Optuna: take hydra/sweeper/sampler=tpe",
}
"""Samplers that compose and can't tune a cell, by a part of their target; why not, and what to do instead."""

_PACKAGES = {"CmaEsSampler": "cmaes"}
"""Packages that a sampler needs beside Optuna, by a part of its target."""


def make(node: DictConfig, **arguments: Any) -> Any:
    """The object that a node describes, with whatever it wraps.

    Its classes are named in the user's own conf/, which is as trusted as their code (SECURITY.md).

    Parameters
    ----------
    node : DictConfig
        Node of a ``hydra/sweeper/sampler`` or ``hydra/sweeper/pruner`` group.
    **arguments
        Further arguments, such as a seed.
    """
    alone = DictConfig(OmegaConf.to_container(node, resolve=True))  # Hydra would copy the whole config around the node
    targets = list(_targets(alone))
    with warnings.catch_warnings():
        # The user chose the experimental class by naming it, and every worker would repeat the warning.
        warnings.simplefilter("ignore", ExperimentalWarning)
        if len(targets) > 1:
            return instantiate(alone, **arguments, _execution_whitelist_=targets)
        return _call(OmegaConf.to_yaml(alone), targets[0])(**arguments)


@functools.lru_cache(maxsize=16)
def _call(node: str, target: str) -> Callable[..., Any]:
    """What makes the object of a node that wraps no other; found once, because every trial has a sampler of its own."""
    return instantiate(OmegaConf.create(node), _partial_=True, _execution_whitelist_=[target])  # type: ignore[no-any-return]


def check_sampler(node: DictConfig) -> None:
    """Refuse a sampler that could not propose a single setting, before anything is trained.

    Raises
    ------
    InputError
        When it does not fit this project, or needs a package that is not installed.
    """
    target = str(node[_TARGET])
    for part, reason in _REFUSED.items():
        if part in target:
            raise InputError(f"`hydra/sweeper/sampler` must tune a single cell, but {part} {reason}.")
    for part, package in _PACKAGES.items():
        if part in target and find_spec(package) is None:
            raise InputError(
                f"`hydra/sweeper/sampler` must have the packages that it needs, but {part} lacks {package}: run "
                f"`pip install {package}`, or choose another sampler."
            )


def _targets(node: Any) -> Iterator[str]:
    """Every class that a node names, at any depth."""
    content = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    if isinstance(content, Mapping):
        if _TARGET in content:
            yield str(content[_TARGET])
        for value in content.values():
            yield from _targets(value)
    elif isinstance(content, list):
        for value in content:
            yield from _targets(value)
