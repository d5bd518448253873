"""The nuisance hyperparameters of a cell: from Hydra's sweep syntax to Optuna's distributions."""

from __future__ import annotations

from collections.abc import Mapping
from math import log, sqrt
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

# The stock sweeper's own translation: log tags, integer intervals, Hydra's exclusive range ends.
from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from mnist_scaling.errors import InputError

EDGE = 0.1
"""A selected value within this share of its range from an end counts as on the edge."""


def distributions(specs: Mapping[str, str | None], values: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Optuna distributions of a search space.

    Parameters
    ----------
    specs : mapping
        Config key to Hydra sweep syntax, such as ``tag(log, interval(1e-4, 1e-1))`` or
        ``choice(16, 32)``; null takes a key out of the space.
    values : mapping
        The config's own value of each key: an interval of a whole-number key has whole numbers.

    Raises
    ------
    InputError
        When a specification is no sweep or can't be parsed.
    """
    return {key: _distribution(key, spec, values[key]) for key, spec in specs.items() if spec is not None}


def _distribution(key: str, spec: str, value: Any) -> BaseDistribution:
    example = "such as `tag(log, interval(1e-4, 1e-1))` or `choice(16, 32)`"
    try:
        override = OverridesParser.create().parse_override(f"{key}={spec}")
        distribution = create_optuna_distribution_from_override(override)
    except (HydraException, ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"`search_space.{key}` must be a Hydra sweep, {example}, but got `{spec}` ({reason})."
        ) from error
    if not isinstance(distribution, BaseDistribution):
        raise InputError(f"`search_space.{key}` must be a Hydra sweep, {example}, but got the plain value `{spec}`.")
    if isinstance(distribution, FloatDistribution) and isinstance(value, int) and not isinstance(value, bool):
        # Hydra reads interval(1, 8) as floats whatever the key's type.
        return IntDistribution(int(distribution.low), int(distribution.high), log=distribution.log)
    return distribution


def contains(space: Mapping[str, BaseDistribution], setting: Mapping[str, Any]) -> bool:
    """Whether a setting has a value inside the range of every tuned key."""
    try:
        # `_contains` is Optuna's own test of a value, by its internal representation.
        return all(d._contains(d.to_internal_repr(setting[key])) for key, d in space.items())
    except (KeyError, ValueError, TypeError):
        return False


def baseline(space: Mapping[str, BaseDistribution], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config's own values of the tuned keys as a first setting; None when one lies outside the space."""
    setting = {key: values[key] for key in space}
    return setting if contains(space, setting) else None


def on_edge(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a selected value lies on an end of its range that a wider range could move.

    Within `EDGE` of the range (in logs for a log range) for intervals, the least or the greatest for
    numeric choices. A natural end, zero, is no edge.
    """
    if isinstance(distribution, FloatDistribution | IntDistribution):
        low, high, x = float(distribution.low), float(distribution.high), float(value)
        if high == low:
            return False
        if distribution.log:
            low_end, high_end, x = log(low), log(high), log(x)
        else:
            low_end, high_end = low, high
        share = (x - low_end) / (high_end - low_end)
        return share > 1 - EDGE or (share < EDGE and low != 0)
    if isinstance(distribution, CategoricalDistribution):
        numbers = [c for c in distribution.choices if isinstance(c, int | float) and not isinstance(c, bool)]
        if len(numbers) < 2 or len(numbers) < len(distribution.choices):
            return False
        return value == max(numbers) or (value == min(numbers) and value != 0)
    return False


def widened(distribution: BaseDistribution, value: Any) -> tuple[BaseDistribution, Any] | None:
    """The range with more room beyond the end that a selected value lies on, and a value there to try.

    A log interval of floats grows by a decade and the value lies in its middle; one of whole numbers
    doubles and the value is the new end. None where nothing is to be moved: the value is interior, the
    range is not logarithmic (its ends may be a rule, such as a probability's), or it is a choice, which
    Optuna fixes for a study's life.
    """
    if not isinstance(distribution, FloatDistribution | IntDistribution) or not distribution.log:
        return None
    if not on_edge(distribution, value):
        return None
    upwards = log(value / distribution.low) > log(distribution.high / value)
    if isinstance(distribution, IntDistribution):
        next_end = 2 * distribution.high if upwards else distribution.low // 2
        if next_end < 1:
            return None
        ends = sorted((next_end, distribution.low, distribution.high))
        return IntDistribution(ends[0], ends[2], log=True), next_end
    low, high = (distribution.low, distribution.high * 10) if upwards else (distribution.low / 10, distribution.high)
    middle = distribution.high * sqrt(10) if upwards else distribution.low / sqrt(10)
    return FloatDistribution(low, high, log=True), middle


def including(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    """The range, grown to hold a value; a choice stays as it is."""
    if isinstance(distribution, FloatDistribution | IntDistribution):
        low, high = min(distribution.low, value), max(distribution.high, value)
        return type(distribution)(low, high, log=distribution.log)
    return distribution


def clipped(distribution: BaseDistribution, value: Any) -> Any:
    """A value moved into its interval; a choice stays as it is."""
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return type(distribution.low)(min(max(value, distribution.low), distribution.high))
    return value


def describe(space: Mapping[str, BaseDistribution]) -> dict[str, str]:
    """A search space as JSON texts, for records and for comparison on resume."""
    return {key: distribution_to_json(distribution) for key, distribution in sorted(space.items())}
