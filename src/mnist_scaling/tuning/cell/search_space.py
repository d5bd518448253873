"""The nuisance hyperparameters of a cell: from Hydra's sweep syntax to Optuna's distributions."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from math import ceil, floor, isfinite, log, sqrt
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Sweep
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
"""A selected value within this share of its range from an end counts as at that end."""

LOW, HIGH = "low", "high"
"""Ends of a range."""

NUISANCE = "nuisance"
"""Tag that puts a swept key into the search space: ``+optim.x=tag(nuisance, choice(1, 2))``."""

LIMITS = {"limit_low": LOW, "limit_high": HIGH}
"""Tags that declare an end a limit, beyond which nobody wants to search: ``tag(log, limit_low, interval(8, 64))``."""

_TAGS = ("log", NUISANCE, *LIMITS)


def distributions(specs: Mapping[str, str | None], values: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Optuna distributions of a search space: config key to Hydra sweep syntax; null takes a key out of the space.

    `values` are the config's own: an interval of a whole-number key has whole numbers. InputError tells what is no
    sweep.
    """
    return {key: _distribution(key, spec, values[key]) for key, spec in specs.items() if spec is not None}


def declared_limits(specs: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """The ends of each range that its tags declare to be limits; keys without one are left out."""
    limits = {}
    for key, spec in specs.items():
        given = tags(OverridesParser.create().parse_override(f"{key}={spec}")) if spec is not None else set()
        unknown = sorted(given - set(_TAGS))
        if unknown:
            raise InputError(
                f"A tag in a search space must be one of {', '.join(_TAGS)}, but `search_space.{key}` has "
                f"`{unknown[0]}`: mend it, or take it out."
            )
        if ends := tuple(end for tag, end in LIMITS.items() if tag in given):
            limits[key] = ends
    return limits


def tags(override: Override) -> set[str]:
    """The tags of a Hydra override."""
    value = override.value()
    return value.tags if isinstance(value, Sweep) else set()


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
    ends = [end for end in _numbers(distribution) if not isfinite(end)]
    if ends and not isinstance(distribution, CategoricalDistribution):
        raise InputError(
            f"The ends of a range must be finite, but `search_space.{key}` is `{spec}`: give numbers, {example}."
        )
    if isinstance(distribution, FloatDistribution) and isinstance(value, int) and not isinstance(value, bool):
        # Hydra reads interval(1, 8) as floats whatever the key's type.
        low, high, step = distribution.low, distribution.high, distribution.step or 1
        if not (float(low).is_integer() and float(high).is_integer() and float(step).is_integer()):
            inside = sorted((ceil(low), floor(high)))
            raise InputError(
                f"The range of a whole number must have whole ends, but `search_space.{key}` is `{spec}`: give "
                f"interval({inside[0]},{inside[1]})."
            )
        return IntDistribution(int(low), int(high), log=distribution.log, step=int(step))
    return distribution


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    steps = (value - distribution.low) / (distribution.step or 1.0)
    on_grid = distribution.step is None or abs(steps - round(steps)) < 1e-8
    return distribution.low <= value <= distribution.high and on_grid


def baseline(space: Mapping[str, BaseDistribution], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config's own values of the tuned keys as a first setting; None when one lies outside the space."""
    setting = {key: values[key] for key in space}
    return setting if all(_holds(space[key], value) for key, value in setting.items()) else None


def on_edge(distribution: BaseDistribution, value: Any, declared: Collection[str] = ()) -> bool:
    """Whether a value lies at an end of its range that is no limit, so that a better one may lie beyond."""
    end = _end(distribution, value)
    return end is not None and end not in _limits(distribution, declared)


def at_limit(distribution: BaseDistribution, value: Any, declared: Collection[str] = ()) -> bool:
    """Whether a selected value lies at an end of its range that is a limit; parameters as in `on_edge`."""
    return _end(distribution, value) in _limits(distribution, declared)


def _limits(distribution: BaseDistribution, declared: Collection[str]) -> set[str]:
    """The ends of a range that are limits: the declared ones, and by nature 0, and 1 where a log range counts."""
    lowest = min(_numbers(distribution), default=None)
    logarithmic = isinstance(distribution, IntDistribution) and distribution.log
    natural = lowest == 0 or (lowest == 1 and logarithmic)
    return {*declared, *([LOW] if natural else [])}


def _end(distribution: BaseDistribution, value: Any) -> str | None:
    """The end of its range at which a value lies; None for one inside, or where order means nothing.

    Within `EDGE` of the range (in logs for a log range) for intervals, the least or the greatest for
    numeric choices.
    """
    numbers = _numbers(distribution)
    if len(numbers) < 2 or min(numbers) == max(numbers):
        return None
    low, high, x = float(min(numbers)), float(max(numbers)), float(value)
    if isinstance(distribution, CategoricalDistribution):
        return LOW if x == low else HIGH if x == high else None
    if distribution.log:  # type: ignore[attr-defined]
        low, high, x = log(low), log(high), log(x)
    share = (x - low) / (high - low)
    return HIGH if share > 1 - EDGE else LOW if share < EDGE else None


def _numbers(distribution: BaseDistribution) -> list[float]:
    """The ends of an interval, or the choices where all of them are numbers."""
    values = extremes(distribution)
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return numbers if len(numbers) == len(values) else []


def widened(
    distribution: BaseDistribution, value: Any, declared: Collection[str] = ()
) -> tuple[BaseDistribution, Any] | None:
    """The range with more room beyond the end that a selected value lies on, and a value there to try.

    A log interval of floats grows by a decade and the value lies in its middle; one of whole numbers
    doubles and the value is the new end. None where nothing is to be moved: the value is interior or at a
    limit, the range is not logarithmic (its ends may be a rule, such as a probability's), or it is a choice,
    which Optuna fixes for a study's life. Parameters as in `on_edge`.
    """
    if not isinstance(distribution, FloatDistribution | IntDistribution) or not distribution.log:
        return None
    if not on_edge(distribution, value, declared):
        return None
    upwards = _end(distribution, value) == HIGH
    if isinstance(distribution, IntDistribution):
        next_end = 2 * distribution.high if upwards else distribution.low // 2
        ends = sorted((next_end, distribution.low, distribution.high))
        return IntDistribution(ends[0], ends[2], log=True), next_end
    low, high = (distribution.low, distribution.high * 10) if upwards else (distribution.low / 10, distribution.high)
    middle = distribution.high * sqrt(10) if upwards else distribution.low / sqrt(10)
    return FloatDistribution(low, high, log=True), middle


def beyond(older: BaseDistribution, distribution: BaseDistribution, value: Any) -> Any | None:
    """The middle of what is new of a range beyond the edge of the older one that a value lies on; None without."""
    end = _end(older, value)
    if end is None or not isinstance(distribution, FloatDistribution | IntDistribution):
        return None
    was, now = getattr(older, end), getattr(distribution, end)
    if was == now:
        return None
    return clipped(distribution, sqrt(was * now) if distribution.log else (was + now) / 2)


def including(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    """The range, grown to hold a value, by whole steps where it has steps; a choice stays as it is."""
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution
    low, high = min(distribution.low, value), max(distribution.high, value)
    if (step := distribution.step) is not None:
        low = distribution.low - ceil((distribution.low - low) / step) * step
        high = distribution.high + ceil((high - distribution.high) / step) * step
    return type(distribution)(low, high, log=distribution.log, step=distribution.step)  # type: ignore[arg-type]


def extremes(distribution: BaseDistribution) -> list[Any]:
    """Both ends of an interval, or all choices."""
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return [distribution.low, distribution.high]
    return [*distribution.choices]  # type: ignore[attr-defined]


def joined(distribution: BaseDistribution, older: BaseDistribution) -> BaseDistribution:
    """The range, grown to hold an older one of its kind, which may have been widened beyond it."""
    for end in _numbers(older):
        distribution = including(distribution, end)
    return distribution


def holds(distribution: BaseDistribution, other: BaseDistribution) -> bool:
    """Whether a range holds another one of its kind."""
    if isinstance(other, CategoricalDistribution):
        return {*other.choices} <= {*distribution.choices}  # type: ignore[attr-defined]
    return joined(distribution, other) == distribution


def clipped(distribution: BaseDistribution, value: Any) -> Any:
    """A value moved into its interval, and there to the nearest step; a choice stays as it is."""
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return value
    value = min(max(value, distribution.low), distribution.high)
    if (step := distribution.step) is not None:
        value = distribution.low + round((value - distribution.low) / step) * step
    return type(distribution.low)(value)


def describe(space: Mapping[str, BaseDistribution], limits: Mapping[str, Collection[str]] = {}) -> dict[str, str]:
    """A search space as JSON texts, which Optuna reads back, with the ends that are declared limits."""
    texts = {key: distribution_to_json(distribution) for key, distribution in sorted(space.items())}
    for key, ends in limits.items():
        texts[key] = json.dumps({**json.loads(texts[key]), "limits": list(ends)})
    return texts
