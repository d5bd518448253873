"""Conditions pick rows and can do nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.study.tables.csv_table import LONGEST, rows_where

FRAME = pd.DataFrame(
    {
        "N": [1e6, 2e6, 4e6, 8e6],
        "D": [10, 20, 30, 40],
        "family": ["cnn", "mlp", None, "cnn"],
        "kept": [True, False, True, True],
        "loss (nats)": [2.0, np.nan, 1.0, 0.5],
    }
)


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("N > 1e6", [1, 2, 3]),
        ("1e6 < N <= 4e6", [1, 2]),
        ("family == 'cnn' and D > 10", [3]),
        ('family != "cnn"', [1, 2]),
        ("family in ('mlp', 'resnet') or N / D > 1.5e5", [1, 3]),
        ("D not in [10, 20]", [2, 3]),
        ("not kept", [1]),
        ("kept == True", [0, 2, 3]),
        ("-D + 2 ** 2 * (N // 1e6) % 3 < -30", [3]),
        ("`loss (nats)` < 1.5", [2, 3]),
        ("`loss (nats)` != 1", [0, 1, 3]),
        ("family == '`N`'", []),
        ("9 ** 9 ** 9 ** 9 > D", [0, 1, 2, 3]),
        ("kept == 1", [0, 2, 3]),
        ("not " * 400 + "kept", [0, 2, 3]),
    ],
)
def test_rows_that_are_kept(condition: str, kept: list[int]) -> None:
    assert np.flatnonzero(rows_where(condition, FRAME)).tolist() == kept


HOSTILE = [
    "@pd.io.common.os.system('touch {path}') == 0",
    "__import__('os').system('touch {path}') == 0",
    "open('{path}', 'w') == 1",
    "N.__class__.__base__.__subclasses__() == 1",
    "N.map(print) == 1",
    "[c for c in ().__class__.__mro__] == 1",
    "(lambda: 1)() == 1",
    'f\'{{open("{path}", "w")}}\' == family',
    "(x := N) > 1",
    "N if kept else D",
    "N[0] == 1",
    "{{'a': 1}} == 1",
    "kept & (N > 1)",
    "~kept",
    "N is D",
    "1j == N",
    "b'x' == family",
    "None == N",
    "await_ == 1",
    "N > 1; D > 1",
    "N >",
    "",
    "N",
    "'N'",
    "N == 'cnn'",
    "family < 'd'",
    "family * 3 == 'cnncnncnn'",
    "N in D",
    "N in ()",
    "N and D",
    "\x00 == N",
    "(" * 300 + "N" + ")" * 300 + " > 1",
    "N > 1" + " or N > 1" * LONGEST,
    "D ** (10 ** 400) > 1" + "0" * 5000,
]


@pytest.mark.parametrize("condition", HOSTILE)
def test_everything_else_is_one_sentence_and_does_nothing(condition: str, tmp_path: Path) -> None:
    path = tmp_path / "touched"
    with pytest.raises(InputError) as caught:
        rows_where(condition.format(path=path), FRAME)
    assert str(caught.value).count("\n") == 0 or "\n" in condition
    assert not path.exists()


def test_an_unknown_name_lists_the_columns() -> None:
    with pytest.raises(InputError, match=r"names 'nope': the table has N, D, family, kept, loss \(nats\)"):
        rows_where("nope == 1", FRAME)
