"""Data of the figures and tables: plain frames and dataclasses, made from a `Study`. Nothing here draws."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Missing:
    """Why a figure can't be drawn, as a sentence for the reader."""

    reason: str
