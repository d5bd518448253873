"""One seed per run, and from it one independent random stream per purpose; class-balanced random orders."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np
import torch


def stream_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose of a run: sha256(seed, purpose).

    Streams are independent of each other and of how much of another stream was used, so that a
    change of the batch size does not change the initial weights.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose of a run."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose))


@contextlib.contextmanager
def global_stream(seed: int, purpose: str, device: torch.device) -> Iterator[None]:
    """Torch's global generators at a purpose's stream inside the block, untouched outside it.

    This is for what takes no generator: the initialisation of layers, and dropout.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream_seed(seed, purpose))
        yield


def stratified_order(labels: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """A random order of all rows (n,) in which every prefix has the classes in the proportions of the whole.

    The image of rank r (from 0) among the n_c of its class stands at (r + 1/2) / n_c; rows are sorted
    by that, ties in random order. A prefix of length m holds m n_c / n images of class c, give or take
    one or two, and a shorter prefix lies inside a longer one.
    """
    shuffled = torch.randperm(len(labels), generator=generator).numpy()
    position = np.empty(len(labels))
    classes = labels[shuffled]
    for c in np.unique(classes):
        members = np.flatnonzero(classes == c)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(position, kind="stable")]


def stratified_split(labels: np.ndarray, sizes: tuple[int, ...], seed: int) -> tuple[np.ndarray, ...]:
    """Fixed split into parts of these sizes and the rest: disjoint row numbers, ascending, classes in proportion."""
    order = stratified_order(labels, torch.Generator().manual_seed(seed))
    return tuple(np.sort(rows) for rows in np.split(order, np.cumsum(sizes)))
