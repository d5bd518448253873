"""One seed per run, and from it one independent random stream per purpose."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

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
