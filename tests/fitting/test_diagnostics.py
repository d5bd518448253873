"""Every flag on a table with exactly that fault, and a clean table that raises none of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_scaling.fitting import Options, Settings, Table, analyse, fit_law, get_law, make_table
from mnist_scaling.fitting.diagnostics import Flag, of_cells, of_laws
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.study import flags as study_flags

from .tables import design, grid
from .test_frontier import isoflop_table

pytestmark = pytest.mark.slow

KAPLAN = {"Nc": 50.0, "Dc": 700.0, "alpha_N": 0.3, "alpha_D": 0.6}
SIMPLE = ("kaplan", "power_N", "power_D")


def run(table: Table, **options) -> dict[str, Flag]:
    """Flags by code of one analysis with laws that a clean table of Kaplan's form can hold."""
    options = {"laws": SIMPLE, "draws": 100, "classes": 10} | options
    return {f.code: f for f in analyse(table, Options(**options)).flags}


def clean(noise=0.02, **more) -> Table:
    """Budgets around every optimum, so that no method runs into the edge of the grid."""
    table = isoflop_table(KAPLAN, "kaplan")
    runs = table.loss[:, None] * np.exp(noise * np.random.default_rng(5).standard_normal((len(table), 3)))
    return replace(
        table,
        loss=runs.mean(axis=1),
        se=runs.std(axis=1, ddof=1) / np.sqrt(3),
        repeats=np.full(len(table), 3.0),
        **more,
    )


def flat_grid(noise=0.02, seed=0) -> Table:
    """A plain grid of Kaplan's form, 5 widths x 6 fractions."""
    return grid("kaplan", KAPLAN, noise=noise, seed=seed)


def with_loss(table: Table, row: int, factor: float) -> Table:
    loss = table.loss.copy()
    loss[row] *= factor
    return replace(table, loss=loss)


def test_a_clean_table_is_silent():
    assert run(clean(), laws=("kaplan",)) == {}


@pytest.mark.parametrize("seed", range(8))
def test_a_clean_grid_raises_no_false_alarm(seed):
    """Only grid_edge may be true of a grid; what tests noise must keep quiet."""
    found = run(flat_grid(seed=seed))
    assert set(found) <= {"grid_edge"}, {k: f.message for k, f in found.items()}


def test_flags_of_a_run_have_severity_message_remedy_and_cells():
    found = run(with_loss(flat_grid(), 12, 1.6))
    for flag in found.values():
        assert flag.severity in ("info", "warning", "error")
        assert flag.message.endswith(".")
        assert flag.remedy.endswith(".")
        assert flag.cells or flag.laws


def test_not_converged():
    table = flat_grid()
    fit = fit_law(get_law("kaplan"), table.logs(("N", "D")), table.y)
    assert of_laws.not_converged({"kaplan": fit}) == []
    (flag,) = of_laws.not_converged({"kaplan": replace(fit, converged=False)})
    assert (flag.code, flag.severity, flag.laws) == ("not_converged", "error", ("kaplan",))
    assert of_laws.not_converged({"kaplan": replace(fit, agreeing=1)})


def test_parameter_at_bound():
    """Losses that bend down in logs push the floor to 0."""
    x = np.geomspace(10, 1e5, 12)
    table = make_table(5 / x**0.3 * np.exp(-0.01 * np.log(x) ** 2), {"N": x})
    found = run(table, laws=("power_N_floor",))
    assert found["parameter_at_bound"].laws == ("power_N_floor",)
    assert "E" in found["parameter_at_bound"].message
    assert found["parameter_at_bound"].remedy == "Use the law without a floor."


def test_floor_not_identified_and_identified():
    x = np.geomspace(10, 1e5, 20)
    noise = np.exp(0.03 * np.random.default_rng(1).standard_normal(20))
    without = make_table(5 / x**0.3 * noise, {"N": x})
    found = run(without, laws=("power_N_floor",))
    assert "compatible with no floor" in found["floor_not_identified"].message
    floored = make_table((0.4 + 5 / x**0.5) * noise, {"N": x})
    assert "floor_not_identified" not in run(floored, laws=("power_N_floor",))


def test_the_selected_law_says_whether_there_is_a_floor():
    floors = {"additive": Interval(0.02, 0.01, 0.03), "coupled": Interval(0.01, 0.0, 0.02)}
    assert of_laws.floor_not_identified(floors, "additive") == []
    assert [(f.laws, f.severity) for f in of_laws.floor_not_identified(floors, "coupled")] == [
        (("coupled",), "warning")
    ]
    assert [(f.laws, f.severity) for f in of_laws.floor_not_identified(floors, "kaplan")] == [(("coupled",), "info")]
    assert [(f.laws, f.severity) for f in of_laws.floor_not_identified(floors)] == [(("coupled",), "warning")]


def test_forms_disagree():
    """A law that fits as well as the best, but says of a slope what the headline rules out."""
    quoted = {"N": Interval(0.3, 0.25, 0.35), "D": Interval(0.4, 0.3, 0.5)}
    slopes = {"kaplan": {"N": Interval(0.2), "D": Interval(0.4)}, "additive": {"N": Interval(0.31), "D": Interval(0.4)}}
    (flag,) = of_laws.forms_disagree(slopes, quoted)
    assert (flag.code, flag.laws) == ("forms_disagree", ("kaplan",))
    assert of_laws.forms_disagree({"additive": slopes["additive"]}, quoted) == []


def test_misfit():
    assert of_laws.misfit("coupled", Interval(0.01, 0.0, 0.02), 0.011) == []
    (flag,) = of_laws.misfit("coupled", Interval(0.03, 0.02, 0.05), 0.01)
    assert (flag.code, flag.severity) == ("misfit", "warning")
    assert "by 3 % [2, 5], more than a cell's noise of 1 %" in flag.message


def test_collinear():
    n = np.geomspace(1e4, 1e6, 8)
    table = make_table(3 * n**-0.3, {"N": n, "D": 20 * n})
    assert "near D = 20 N" in run(table, laws="default")["collinear"].message
    assert "collinear" not in run(flat_grid())


def test_grid_edge():
    whole = clean()
    small = whole.take(np.tile(np.arange(9) < 4, 7))
    flag = run(small, laws=("kaplan",))["grid_edge"]
    assert flag.severity == "warning"
    assert "largest one tried" in flag.message
    assert len(flag.cells) >= 5
    assert all(c["N"] >= np.median(small.inputs["N"][small.inputs["C"] == c["C"]]) for c in flag.cells)


def test_grid_edge_advises_what_the_data_allow():
    """On a grid, a model below the edge of a curve may need more examples than there are."""
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e3, 1e5, 7), np.geomspace(1e3, 5e4, 5), indexing="ij"))
    loss = get_law("kaplan").predict(KAPLAN | {"Nc": 1e-3}, N=n, D=d) * (n / 1e3) ** 0.2  # the smallest is the best
    flag = run(make_table(loss, {"N": n, "D": d, "C": 6 * n * d}), laws=("kaplan",))["grid_edge"]
    assert "smallest one tried" in flag.message
    assert "a smaller model would need more than the 50,000 examples of" in flag.remedy
    more = np.append(loss, 1e3), np.append(n, 9e4), np.append(d, 1e12)
    table = make_table(more[0], {"N": more[1], "D": more[2], "C": 6 * more[1] * more[2]})
    assert "Add smaller models at these budgets, or quote" in run(table, laws=("kaplan",))["grid_edge"].remedy


@pytest.mark.parametrize(
    ("code", "severity"),
    [("search_edge", "warning"), ("undertrained", "warning"), ("repeat_lost", "warning"), ("repeated_data", "info")],
)
def test_flags_that_cells_bring(code, severity):
    table = clean()
    flags = [()] * len(table)
    flags[3] = flags[7] = (code,)
    flag = run(replace(table, flags=tuple(flags)), laws=("kaplan",))[code]
    assert [c["row"] for c in flag.cells] == [3, 7]
    assert flag.severity == severity
    assert flag.remedy == study_flags.kind(code).remedy


def test_non_monotone():
    table = flat_grid()
    found = run(with_loss(table, 2, 1.4))
    assert 2 in [c["row"] for c in found["non_monotone"].cells]
    assert "non_monotone" not in run(with_loss(table, 2, 1.02))


def noisy(rng: np.random.Generator, falls: float, repeats: int = 3) -> Table:
    """A loss of 1 everywhere; the noise of a run falls with D."""
    n, d = (x.ravel() for x in np.meshgrid(2000 * 2.0 ** np.arange(7), 3125 * 2.0 ** np.arange(5), indexing="ij"))
    runs = np.exp((0.06 * (d / d.mean()) ** -falls)[:, None] * rng.standard_normal((35, repeats)))
    return make_table(
        runs.mean(axis=1), {"N": n, "D": d}, runs.std(axis=1, ddof=1) / repeats**0.5, np.full(35, repeats)
    )


def test_a_rise_counts_against_the_noise_of_its_own_cells():
    """By the pooled noise of a table whose small data are loud, a rise of 7.5 % at a standard error of 0.2 % passed."""
    table = noisy(np.random.default_rng(2), 1.5)
    row = int(np.flatnonzero(table.inputs["D"] == 50_000)[3])
    loss, se = table.loss.copy(), table.se.copy()
    loss[row], se[row] = 1.075 * loss[row - 5], 0.002 * loss[row - 5]
    found = of_cells.non_monotone(replace(table, loss=loss, se=se), None)
    assert [cell["row"] for flag in found for cell in flag.cells] == [row]


@pytest.mark.parametrize("falls", [0.0, 0.5])
def test_unequal_noise_is_no_rise(falls):
    """Of flat tables 1 % should be flagged; by pooled noise it was 17 % where noise grows as data shrink."""
    assert (
        np.mean([bool(of_cells.non_monotone(noisy(np.random.default_rng(k), falls), None)) for k in range(100)]) < 0.08
    )


def test_seed_outlier_by_the_scatter_of_repeats():
    table = flat_grid()
    se = table.se.copy()
    se[4] *= 15
    flag = run(replace(table, se=se))["seed_outlier"]
    assert [c["row"] for c in flag.cells] == [4]


def test_seed_outlier_by_its_residual():
    flag = run(with_loss(flat_grid(), 12, 1.3))["seed_outlier"]
    assert [c["row"] for c in flag.cells] == [12]


def test_chance_level_and_its_mask():
    table = flat_grid()
    loss = table.loss.copy()
    loss[[5, 6]] = 2.29
    table = replace(table, loss=loss)
    flag = run(table)["chance_level"]
    assert [c["row"] for c in flag.cells] == [5, 6]
    assert "mask_chance=true" in flag.remedy
    result = analyse(table, Options(laws=SIMPLE, draws=50, classes=10, mask_chance=True))
    assert [c["row"] for c in result.masked] == [5, 6]
    assert result.fitted["kaplan"].fit.n == len(table) - 2
    assert "were left out" in next(f for f in result.flags if f.code == "chance_level").message


def test_double_softmax_floor():
    """ln(e + 9) - 1 = 1.4612 for ten classes."""
    inputs = design()
    loss = 1.46115 + 0.5 * get_law("kaplan").predict(KAPLAN, N=inputs["N"], D=inputs["D"]) ** 3
    flag = run(make_table(loss, inputs), laws=("additive",))["double_softmax_floor"]
    assert flag.severity == "error"
    assert "1.4612" in flag.message
    assert of_cells.double_softmax_floor(flat_grid(), 10, {"additive": Interval(0.03)}) == []
    assert of_cells.double_softmax_floor(make_table(loss, inputs), None, {}) == []


def test_too_few_cells():
    inputs = design(2, 2)
    table = grid("kaplan", KAPLAN, inputs=inputs)
    result = analyse(table, Options(draws=20))
    flag = next(f for f in result.flags if f.code == "too_few_cells")
    assert {"additive", "power_N", "power_D"} <= set(flag.laws)
    law, _, why = result.refused["additive"]
    assert (law.name, why) == ("additive", "not fitted: 2 distinct N in the table, but 3 are needed")


def test_far_extrapolation():
    table = clean()
    far = {"N": 1e7, "D": 1e8, "C": 6e15}
    flag = run(table, laws=("kaplan",), predict=far)["far_extrapolation"]
    assert flag.cells == [far]
    near = {k: float(v.max()) for k, v in table.inputs.items()} | {"C": float(2 * table.inputs["C"].max())}
    assert "far_extrapolation" not in run(table, laws=("power_C",), predict={"C": near["C"]})
    alone = make_table(np.append(table.loss, 0.05), {k: np.append(v, v.max() * 1e3) for k, v in table.inputs.items()})
    flag = run(alone, laws=("kaplan",))["far_extrapolation"]
    assert "hold-out" in flag.message


@pytest.mark.parametrize(
    ("factor", "classes", "text"),
    [(1.44, 10, "in bits"), (30.0, 10, "in percent"), (30.0, None, "in percent"), (400.0, None, "something else")],
)
def test_unit_suspect(factor, classes, text):
    table = flat_grid()
    table = replace(table, loss=table.loss / table.loss.max() * 2.2 * factor)
    assert text in run(table, classes=classes)["unit_suspect"].message


def test_an_accuracy_is_suspected():
    table = flat_grid()
    assert "accuracy" in run(replace(table, loss=1 - table.loss / 3), classes=None)["unit_suspect"].message


@pytest.mark.parametrize("logarithm", [np.log10, np.log])
def test_logarithms_of_counts_are_suspected(logarithm):
    table = flat_grid()
    inputs = {k: logarithm(table.inputs[k]) for k in ("N", "D")}
    assert "logarithms" in run(make_table(table.loss, inputs))["input_suspect"].message
    thousands = {k: table.inputs[k] / 1e3 for k in ("N", "D")}
    assert "input_suspect" not in run(make_table(table.loss, thousands))


def test_duplicate_rows():
    table = flat_grid()
    twice = table.take(np.r_[np.arange(len(table)), 3, 3])
    flag = run(twice)["duplicate_rows"]
    assert flag.severity == "warning"
    assert len(flag.cells) == 3


def test_constant_loss():
    inputs = design()
    flag = run(make_table(np.full(len(inputs["N"]), 0.5), inputs), laws=("power_N",))["constant_loss"]
    assert flag.severity == "error"
    assert "0.5" in flag.message


def test_a_small_noisy_study_breaks_nothing():
    """20 cells, 3 repeats, 10 % noise, a floor that can't be seen: flagged, with a full result."""
    table = grid(noise=0.1, inputs=design(4, 5))
    result = analyse(table, Options(draws=200, classes=10, settings=Settings()))
    codes = set(result.law_flags["additive"])
    assert "floor_not_identified" in codes or "parameter_at_bound" in codes
    assert np.isfinite(result.fitted["multiplicative"].params["beta"].low)
