"""What a law is: a name, a formula, parameters with units, a value and an analytic gradient.

To add a law, put one file beside this one that defines a subclass of `Law` with a default
constructor and names its instances in ``LAWS``; nothing else has to change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.floating[Any]]
"""Numbers of any precision, such as draws that are kept in single precision for their size."""
Logs = Mapping[str, Array]
"""Natural logarithms of the inputs, by name ("N", "D", "C", "U"), each of shape (n,)."""

LARGEST_EXPONENT = 340.0
"""exp() of more than this is taken as exp(340), whose square is still a number, so that a wild trial step stays
finite; scales lie within it, too, whatever the unit of the losses."""

NEAREST = 0.98
"""Share of chance that a start takes for losses at or above it, where what is bounded by chance would be infinite."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law, in the table's own units.

    ``log=True`` parameters are positive scales; the solver works on their logarithm. Bounds are on
    the natural value, so ``lower=0`` of a scale is never reached, and ``lower=0`` of a floor can bind.
    """

    name: str
    meaning: str
    unit: str = "1"
    lower: float = 0.0
    upper: float = np.inf
    log: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of the number that the solver works on."""
        if not self.log:
            return self.lower, self.upper
        # A term that has shrunk so far is absent; stop there instead of running to -inf.
        lower = np.log(self.lower) if self.lower > 0 else -LARGEST_EXPONENT
        return lower, min(np.log(self.upper), LARGEST_EXPONENT)


class Law(ABC):
    """log L = f(theta; log inputs), with theta in the solver's coordinates (logs of the scales)."""

    name: str
    formula: str
    inputs: tuple[str, ...]
    source: str = ""
    parameters: tuple[Parameter, ...]
    levels: int = 2
    """Distinct values that every input must have: three where each brings a scale, an exponent and a share of E."""
    default: bool = True
    """Fitted when nobody asks for particular laws and the table has its inputs."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of theta."""
        return tuple(p.name for p in self.parameters)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.parameters)

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper bounds of theta, each of shape (p,)."""
        lower, upper = zip(*(p.bounds for p in self.parameters), strict=True)
        return np.array(lower), np.array(upper)

    @property
    def floor(self) -> int | None:
        """Position of the floor E in theta, None for a law without one."""
        return self.names.index("E") if "E" in self.names else None

    @abstractmethod
    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """Logarithm of the predicted loss and its gradient.

        Parameters
        ----------
        theta : array, shape (batch, p)
            Parameters in the solver's coordinates, one set per row.
        logs : mapping of str to array, shape (n,)
            Logarithms of the inputs.

        Returns
        -------
        log_loss : array, shape (batch, n)
        gradient : array, shape (batch, p, n)
        """

    @abstractmethod
    def starts(self, logs: Logs, log_loss: Array) -> Array:
        """Starting points, shape (starts, p), from a grid; cheap, and never far from the data."""

    def for_classes(self, classes: int | None) -> Law:
        """The same law with the bounds that a number of classes sets; a law of the cross-entropy has none."""
        return self

    def refuses(self, loss: Array) -> str:
        """Why the law can't hold such losses at all, in words; empty when it can."""
        return ""

    def natural(self, theta: Array) -> Array:
        """Theta with the scales as they are instead of their logarithms; any leading shape."""
        logged = np.array([p.log for p in self.parameters])
        return np.where(logged, np.exp(np.where(logged, theta, 0.0)), theta)

    def internal(self, values: Mapping[str, float]) -> Array:
        """Theta of shape (p,) from natural values by name."""
        return np.array([np.log(values[p.name]) if p.log else values[p.name] for p in self.parameters], float)

    def predict(self, values: Mapping[str, float], **inputs: Array | float) -> Array:
        """Loss predicted by natural parameter values at N=, D=, … (broadcast against each other).

        Returns
        -------
        array
            Loss in the unit of the table that was fitted, of the inputs' broadcast shape.
        """
        arrays = np.broadcast_arrays(*(np.asarray(inputs[key], float) for key in self.inputs))
        logs = {key: np.log(a).ravel() for key, a in zip(self.inputs, arrays, strict=True)}
        log_loss, _ = self.evaluate(self.internal(values)[None], logs)
        return np.exp(log_loss[0]).reshape(arrays[0].shape)


def power(log_scale: Array, exponent: Array, log_x: Array) -> Array:
    """exp(log_scale) * x^-exponent for parameters of shape (batch,) and log x of shape (n,): (batch, n)."""
    return np.exp(np.clip(log_scale[:, None] - exponent[:, None] * log_x, -LARGEST_EXPONENT, LARGEST_EXPONENT))


def log_add(a: Array, b: Array) -> Array:
    """log(e^a + e^b) without overflow; several times as fast as numpy's own."""
    return np.maximum(a, b) + np.log1p(np.exp(-np.abs(a - b)))


def floor_parameter() -> Parameter:
    """The irreducible loss E, bounded below by 0 because a cross-entropy is."""
    return Parameter("E", "irreducible loss: what no N, D or C removes", "loss")


def exponent_parameter(name: str, meaning: str, lower: float = 0.0) -> Parameter:
    """An exponent; the upper bound, 10, is far beyond any that was ever published."""
    return Parameter(name, meaning, "1", lower, 10.0)


class OnFloor(Law):
    """E + f, for a law f that has no floor; starts take `shares` of the lowest loss for E."""

    limit = 300.0
    """The largest |log f|: a wild trial step goes no further."""

    def __init__(self, law: Law, source: str, shares: tuple[float, ...] = (0.0,), levels: int = 2) -> None:
        self.law, self.source, self.shares, self.levels = law, source, shares, levels
        self.name, self.formula, self.inputs = f"{law.name}_floor", f"E + {law.formula}", law.inputs
        self.parameters = (floor_parameter(), *law.parameters)

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        log_term, inner = self.law.evaluate(theta[:, 1:], logs)
        term = np.exp(np.clip(log_term, -self.limit, self.limit))
        loss = theta[:, :1] + term
        gradient = np.empty((*theta.shape, term.shape[1]))
        gradient[:, 0] = 1 / loss
        np.multiply(inner, (term / loss)[:, None], out=gradient[:, 1:])
        return np.log(loss), gradient

    def starts(self, logs: Logs, log_loss: Array) -> Array:
        parts = []
        for floor in np.exp(log_loss.min()) * np.array(self.shares):
            theta = self.law.starts(logs, np.log(np.exp(log_loss) - floor))
            parts.append(np.column_stack([np.full(len(theta), floor), theta]))
        return np.vstack(parts)


def linear_starts(log_loss: Array, terms: list[tuple[Array, Array]], floor: bool, squash: Array | None = None) -> Array:
    """Best scales for each set of exponents by a conditional linear solve.

    L ~ E + sum_k S_k x_k^-a_k is linear in E and S_k once the a_k are given: solve it in relative
    residuals, sum (pred / L - 1)^2, and clip what comes out negative to a small positive number. Each of the terms is
    a pair of exponents (starts,) and logs (n,). With a floor, E is the last column, after log S_k. With a squash, which
    is gamma (starts,) of (sum)^gamma, the sum is solved for L^(1/gamma).
    """
    count = len(terms[0][0])
    centred = (log_loss - log_loss.mean())[None]
    if squash is not None:
        centred = centred / squash[:, None]
    loss = np.exp(np.clip(centred, -100, 100))
    columns = [np.exp(np.clip(-a[:, None] * (x - x.mean())[None], -100, 100)) / loss for a, x in terms]
    if floor:
        columns.append(np.broadcast_to(1.0 / loss, columns[0].shape))
    design = np.stack(columns, axis=-1)
    gram = design.transpose(0, 2, 1) @ design
    right = design.sum(axis=1)
    scale = np.sqrt(np.einsum("bii->bi", gram))
    gram = gram / scale[:, :, None] / scale[:, None, :] + 1e-10 * np.eye(gram.shape[-1])
    solved = np.linalg.solve(gram, (right / scale)[..., None])[..., 0] / scale
    solved = np.clip(solved, 1e-3, None)
    level = log_loss.mean() if squash is None else log_loss.mean() / squash
    out = np.empty((count, len(columns)))
    for k, (a, x) in enumerate(terms):
        out[:, k] = np.log(solved[:, k]) + level + a * x.mean()
    if floor:
        out[:, -1] = np.clip(solved[:, -1], 0, None) * np.exp(log_loss.mean())
        out[:, -1] = np.minimum(out[:, -1], 0.98 * np.exp(log_loss.min()))
    return out


def exponent_grid(*axes: Array | list[float]) -> list[Array]:
    """Every combination of the axes, flattened: one array of shape (product,) an axis."""
    return [m.ravel() for m in np.meshgrid(*[np.asarray(a, float) for a in axes], indexing="ij")]


STEP = 1e-4
"""Half of the distance in log x of the central difference."""


def middle(logs: Logs) -> dict[str, float]:
    """The geometric middle of every input's range."""
    return {name: float((x.max() + x.min()) / 2) for name, x in logs.items()}


def log_loss_at(law: Law, thetas: Array, at: Mapping[str, float]) -> Array:
    """log f at a point, logarithms of the law's inputs, shape (batch,); NaN rows of thetas (batch, p) give NaN."""
    out = np.full(len(thetas), np.nan)
    valid = np.isfinite(thetas).all(axis=1)
    if valid.any():
        out[valid] = law.evaluate(thetas[valid], {name: np.array([at[name]]) for name in law.inputs})[0][:, 0]
    return out


def local_slope(law: Law, thetas: Array, at: Mapping[str, float], variable: str) -> Array:
    """-d log L / d log x of a variable x by central difference; arguments and shapes are those of `log_loss_at`."""
    low, high = (log_loss_at(law, thetas, {**at, variable: at[variable] + h}) for h in (-STEP, STEP))
    return (low - high) / (2 * STEP)
