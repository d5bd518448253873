"""Columns of a file to a table: everything that is wrong with one is said in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.fitting import Options, analyse, make_table
from mnist_scaling.fitting.read import read_columns

NAMES = {"N": "n", "loss": "l", "se": "s", "flags": "f"}
GOOD = {"n": [1, 2, 3], "l": [3.0, 2.0, 1.0], "s": [0.1, None, 0.1], "f": ["", None, "a; b"]}


def test_columns_become_a_table():
    table, left_out = read_columns(GOOD, NAMES)
    np.testing.assert_array_equal(table.inputs["N"], [1, 2, 3])
    np.testing.assert_array_equal(table.loss, [3, 2, 1])
    assert np.isnan(table.se[1])
    assert table.flags == ((), (), ("a", "b"))
    assert left_out == []


def test_numbers_may_be_text():
    table, _ = read_columns(GOOD | {"n": ["1e3", " 2e3 ", "3000"]}, NAMES)
    np.testing.assert_array_equal(table.inputs["N"], [1e3, 2e3, 3e3])


def test_empty_rows_are_left_out_and_listed():
    table, left_out = read_columns(GOOD | {"l": [3.0, None, 1.0]}, NAMES)
    assert left_out == [{"row": 1, "why": "no loss"}]
    np.testing.assert_array_equal(table.rows, [0, 2])
    _, left_out = read_columns(GOOD | {"l": [3.0, "", float("nan")]}, NAMES)
    assert [r["row"] for r in left_out] == [1, 2]


@pytest.mark.parametrize(
    ("change", "names", "text"),
    [
        ({}, {"loss": None}, "loss of the table must be named"),
        ({}, {"N": "params"}, "must have the column params, but has only n, l, s, f"),
        ({"l": [3.0, "nan?", 1.0]}, {}, r"Column l of the table must hold numbers, but line 3 has 'nan\?'"),
        ({"l": [3.0, 0.0, 1.0]}, {}, "`l > 0` must hold in every row of the table, but line 3 has 0"),
        ({"l": [3.0, -2.0, -1.0]}, {}, r"line 3 has -2 \(and 1 more\)"),
        ({"n": [0, 1, 2]}, {}, "`n > 0` must hold"),
        ({"n": [1, float("inf"), 2]}, {}, "`n < inf` must hold in every row of the table, but line 3 has inf"),
        ({"s": [0.1, -0.1, 0.1]}, {}, "`0 <= s < inf` must hold"),
        ({"s": [0.1, float("inf"), 0.1]}, {}, "`0 <= s < inf` must hold .* line 3 has inf"),
        ({"l": [None, 2.0, 1e-99]}, {}, "`1e-30 <= l <= 1e.30` must hold .* line 4 has 1e-99"),
        ({"l": [None, None, None]}, {}, "at least one row with every number, but all 3 lack one"),
        ({}, {"N": None}, "at least one of N, D and C"),
    ],
)
def test_bad_columns_are_refused(change, names, text):
    with pytest.raises(InputError, match=text):
        read_columns(GOOD | change, NAMES | names)


def test_arrays_are_checked_too():
    with pytest.raises(InputError, match="must have 3 values"):
        make_table(np.ones(3), {"N": np.ones(2)})
    with pytest.raises(InputError, match="but se has 2"):
        make_table(np.ones(3), {"N": np.ones(3)}, se=np.ones(2))
    with pytest.raises(InputError, match="`N > 0` must hold"):
        make_table(np.ones(3), {"N": np.array([1.0, np.nan, 2.0])})


def test_conventions_need_every_row():
    columns = GOOD | {"h": [1, 2, 3], "gap": [1, None, 3]}
    table, _ = read_columns(columns, NAMES, {"N": {"hidden": "h", "gap": "gap", "absent": "zzz"}})
    assert list(table.conventions["N"]) == ["hidden"]


def test_a_huge_table_is_thinned_and_says_so():
    rng = np.random.default_rng(0)
    n = rng.uniform(1e3, 1e6, 100_000)
    table = make_table(3 / n**0.3 * np.exp(0.05 * rng.standard_normal(len(n))), {"N": n})
    result = analyse(table, Options(laws=("power_N",), draws=20))
    assert "100000 rows are 99998 cells" in result.notes[0]
    assert "4000 of 99998 rows" in result.notes[1]
    assert result.fitted["power_N"].fit.values["alpha"] == pytest.approx(0.3, abs=0.01)


def test_two_rows_are_no_table():
    with pytest.raises(InputError, match="at least 3 rows"):
        analyse(make_table(np.ones(2), {"N": np.array([1.0, 2.0])}))
