"""What can be wrong with a table or a fit, one function per flag; `study.flags` says what each flag means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnist_scaling.fitting.rows import Table
from mnist_scaling.study import flags


@dataclass(frozen=True)
class Flag:
    """One soft problem; severity and remedy are those of its code in `study.flags` where they are left out."""

    code: str
    message: str
    """What was seen, as a sentence."""
    cells: Sequence[Mapping[str, Any]] = ()
    laws: Sequence[str] = ()
    """Laws that it concerns, when it concerns laws."""
    severity: str = ""
    """info, warning or error."""
    remedy: str = ""
    """What to do, as a sentence."""

    def __post_init__(self) -> None:
        usual = flags.kind(self.code)
        object.__setattr__(self, "severity", self.severity or usual.severity)
        object.__setattr__(self, "remedy", self.remedy or usual.remedy)


def cells_of(table: Table, index: Iterable[int]) -> list[dict[str, Any]]:
    """The cells at these positions, as a flag names them."""
    return [table.cell(int(i)) for i in index]
