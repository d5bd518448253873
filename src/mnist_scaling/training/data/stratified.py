"""Orders in which every prefix has the classes in the proportions of the whole, to cut splits and subsets from."""

from __future__ import annotations

import numpy as np
import torch


def stratified_order(labels: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """A random order of all rows in which every prefix has the classes in the proportions of the whole.

    The image of rank r (from 0) among the n_c of its class stands at (r + 1/2) / n_c; rows are sorted
    by that, ties in random order. A prefix of length m holds m n_c / n images of class c, give or take
    one or two, and a shorter prefix lies inside a longer one.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Class of each row.
    generator : torch.Generator
        Decides the order.

    Returns
    -------
    ndarray of shape (n,), int64
        Row numbers.
    """
    shuffled = torch.randperm(len(labels), generator=generator).numpy()
    position = np.empty(len(labels))
    classes = labels[shuffled]
    for c in np.unique(classes):
        members = np.flatnonzero(classes == c)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(position, kind="stable")]


def split(labels: np.ndarray, sizes: tuple[int, ...], seed: int) -> tuple[np.ndarray, ...]:
    """Fixed stratified split: row numbers of a part of each size, and last those of what is left.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Class of each row.
    sizes : tuple of int
        Sizes of the parts; they add up to less than n.
    seed : int
        Decides the split.

    Returns
    -------
    tuple of ndarray
        One for each size and one for the rest, disjoint, each in ascending order and with the classes in the
        proportions of the whole.
    """
    order = stratified_order(labels, torch.Generator().manual_seed(seed))
    return tuple(np.sort(rows) for rows in np.split(order, np.cumsum(sizes)))
