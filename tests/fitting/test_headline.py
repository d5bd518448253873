"""What is quoted: at cells that exist, along ladders, by distance, and how large the misfit is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.fitting import Options, analyse, get_law, make_table
from mnist_scaling.fitting.ahead import lowest_at
from mnist_scaling.fitting.frontier.parametric import PER_EXAMPLE, fit_cost
from mnist_scaling.fitting.slices import ray_of

from .tables import ADDITIVE, grid

QUICK = Options(draws=200)


@pytest.fixture(scope="module")
def normal():
    table = grid(noise=0.02)
    n, rng = table.inputs["N"], np.random.default_rng(0)
    sizes = {"square": n**2, "double": 2 * n, "mixed": n * np.exp(rng.standard_normal(len(n)))}
    return analyse(replace(table, conventions={"N": sizes}), Options(draws=400, predict={"N": 2e4, "D": 1e5}))


def test_slopes_are_those_of_the_truth_at_the_cell_of_the_largest_compute(normal):
    n, d = (float(normal.table.inputs[k].max()) for k in "ND")
    assert normal.headline.at == pytest.approx({"N": n, "D": d, "C": float(normal.table.inputs["C"].max())})
    model, data = ADDITIVE["A"] * n ** -ADDITIVE["alpha"], ADDITIVE["B"] * d ** -ADDITIVE["beta"]
    loss = ADDITIVE["E"] + model + data
    assert normal.headline.slope_N.holds(ADDITIVE["alpha"] * model / loss)
    assert normal.headline.slope_D.holds(ADDITIVE["beta"] * data / loss)
    # The truth bends towards its floor, so that four times the data leaves more of the loss than the slope says.
    factor, more = normal.headline.factors["D"], data * 4 ** -ADDITIVE["beta"]
    assert factor.holds((loss - data + more) / loss)
    assert factor.value > 4**-normal.headline.slope_D.value
    assert normal.headline.factors["N"].holds((loss - model * (1 - 4 ** -ADDITIVE["alpha"])) / loss)
    assert normal.headline.N_exponent.bounded


def test_sizes_counted_otherwise_have_exponents_of_their_own(normal):
    found = {one.count: one for one in normal.headline.counts}
    assert set(found) == {"N", "square", "mixed", PER_EXAMPLE}  # a multiple of N changes nothing
    own, square = found["N"], found["square"]
    for key in ("N_exponent", "slope_N", "middle_slope_N"):
        assert getattr(own, key).value == pytest.approx(getattr(normal.headline, key).value)
    for end in ("value", "low", "high"):
        assert getattr(square.N_exponent, end) == pytest.approx(2 * getattr(own.N_exponent, end))
        assert getattr(square.slope_N, end) == pytest.approx(getattr(own.slope_N, end) / 2)
    # All compute is FLOPs per example times examples.
    total = found[PER_EXAMPLE].N_exponent.value + normal.headline.D_exponent.value
    assert total == pytest.approx(1, abs=0.02)
    assert not found["mixed"].slope_N.known
    assert "no function of N" in found["mixed"].why


def test_predicted_losses_widen_with_the_distance(normal):
    found = normal.headline.loss
    assert [one.reach for one in found] == [2, 4, 8, 30]
    assert pytest.approx(2 * normal.table.inputs["C"].max()) == found[0].C
    widths = [np.log(one.high / one.low) for one in found]
    assert widths == sorted(widths)
    for end in ("value", "low", "high"):
        ahead = [getattr(one, end) for one in found]
        assert ahead == sorted(ahead, reverse=True)
    # Each surface is at its own best size, so that it is no higher than at the size that is best for most.
    one, model = found[0], normal.model
    assert one.optimal
    assert one.value <= model.loss(N=np.log(one.N), D=np.log(one.D)).value
    asked = normal.headline.asked
    assert asked.value == pytest.approx(float(get_law("additive").predict(ADDITIVE, N=2e4, D=1e5)), rel=0.1)
    assert asked.low < asked.value < asked.high


def test_where_examples_end_the_model_takes_what_is_left_of_the_compute(normal):
    """Beyond the largest amount of data that there is, D is that amount, and N is what the compute then allows."""
    limit = float(normal.table.inputs["D"].max())
    options = replace(QUICK, predict={"C": 4 * float(normal.table.inputs["C"].max())})
    found, cost = analyse(replace(normal.table, examples=limit), options).headline, fit_cost(normal.table)
    for one, free in zip(found.loss, normal.headline.loss, strict=True):
        assert (one.all_examples, one.optimal, free.all_examples) == (True, False, None)
        assert pytest.approx(limit) == one.D
        assert float(cost.log_c(np.log(one.N), np.log(one.D))) == pytest.approx(np.log(one.C), abs=1e-6)
        assert one.low <= float(get_law("additive").predict(ADDITIVE, N=one.N, D=limit)) <= one.high
        assert one.value > free.value
    assert (found.asked.at["N"], found.asked.value) == pytest.approx((found.loss[1].N, found.loss[1].value), rel=0.02)
    best = [one for one in found.sizes if one.optimal]
    assert 0 < len(best) < len(found.sizes)
    assert (found.examples_last, normal.headline.examples_last) == (max(one.C for one in best), 0)
    ranges = {k: (normal.table.inputs[k].min(), normal.table.inputs[k].max() * 1.001) for k in "ND"}
    for one in found.sizes:
        assert limit * 1.001 >= one.D
        assert one.tried == all(low <= getattr(one, k) <= high for k, (low, high) in ranges.items())
    for one in best:
        assert one.N_low < one.N < one.N_high


def test_beyond_the_last_example_the_loss_of_a_compute_never_rises(normal):
    """A best size that is lost beyond the examples does not bring back less data; below the first there is none."""
    limit = float(normal.table.inputs["D"].max()) / 3
    table = replace(normal.table.take(normal.table.inputs["D"] <= limit), examples=limit)
    found = analyse(table, QUICK)
    cost, last = fit_cost(table), [one.all_examples for one in found.headline.sizes]
    assert last == sorted(last, key=bool)
    for one in found.headline.sizes:
        place, draws = lowest_at(found.model, cost, float(np.log(one.C)))
        assert (place["N"], float(np.median(np.exp(draws)))) == pytest.approx((one.N, one.value), rel=1e-3)
        assert one.optimal or one.all_examples or one.reach >= 1


def test_predicted_losses_never_rise_with_compute():
    """Cells so noisy that many surfaces rise beyond them."""
    rng = np.random.default_rng(3)
    table = grid(noise=0.05)
    table = replace(table, loss=table.loss * np.exp(0.2 * rng.standard_normal(len(table))))
    found = analyse(table, QUICK).headline.loss
    for end in ("value", "low", "high"):
        ahead = [getattr(one, end) for one in found]
        assert ahead == sorted(ahead, reverse=True)


def test_a_law_that_holds_is_settled(normal):
    assert normal.headline.settled
    assert normal.model.misfit.high < 0.02
    assert normal.selected in ("additive", "coupled")


def test_losses_that_are_a_laws_to_rounding_are_no_misfit():
    found = analyse(grid("multiplicative", {"A": 40.0, "alpha": 0.2, "beta": 0.4}), QUICK)
    assert found.headline.settled
    assert "misfit" not in {f.code for f in found.flags}


def test_of_scattered_rows_the_slope_is_at_a_row():
    rng = np.random.default_rng(1)
    n, d = np.exp(rng.uniform(8, 12, 30)), np.exp(rng.uniform(8, 12, 30))
    loss = get_law("additive").predict(ADDITIVE, N=n, D=d) * np.exp(0.02 * rng.standard_normal(30))
    result = analyse(make_table(loss, {"N": n, "D": d, "C": 6 * n * d}), QUICK)
    row = int(np.argmax(n * d))
    assert (result.headline.at["N"], result.headline.at["D"]) == pytest.approx((n[row], d[row]))
    assert n[row] < n.max() or d[row] < d.max()


def ladder(batch=0.0, rows=10, noise=0.01):
    """Twenty examples per parameter, each amount off by up to half a batch of so many per cent."""
    rng = np.random.default_rng(2)
    n = np.geomspace(1e4, 1e7, rows)
    d = 20 * n * np.exp(batch * rng.uniform(-0.5, 0.5, rows))
    loss = 2 * n**-0.15 * (d / 20) ** -0.1 * np.exp(noise * rng.standard_normal(rows))
    return make_table(loss, {"N": n, "D": d, "C": 6 * n * d})


@pytest.mark.parametrize("batch", [0.0, 0.005, 0.012])
def test_along_a_ladder_one_exponent_is_quoted_and_none_by_itself(batch):
    table = ladder(batch)
    result = analyse(table, replace(QUICK, predict={"N": 2e7, "D": 4e8}))
    ray = result.headline.ray
    assert ray.line.startswith("D = 2")
    assert ray.N.holds(0.25)
    assert ray.C.holds(0.125)
    assert result.headline.factors["C"].holds(4**-0.125)
    assert result.headline.factors["N"].holds(4**-0.25)
    for key in ("slope_N", "slope_D", "N_exponent", "D_exponent", "loss_exponent"):
        assert not getattr(result.headline, key).known
        assert "quote `ray`" in getattr(result.headline, key).why
    assert all("move together" in why for law, _, why in result.refused.values() if len(law.inputs) > 1)
    assert result.headline.asked.holds(2 * 2e7**-0.25)
    assert [one.reach for one in result.headline.loss] == [2, 4, 8, 30]
    assert "collinear" in {f.code for f in result.flags}


def test_a_loss_off_the_ladder_is_refused():
    found = analyse(ladder(), replace(QUICK, predict={"N": 2e7, "D": 2e8})).headline.asked
    assert not found.known
    assert found.why == "The rows are all near D = 20 N, and say nothing of a loss off that line."


def test_a_point_of_a_ladder_is_as_far_as_its_compute():
    """One size says the other and C, so 1e7 parameters beyond 1e6 are not ten times the compute."""
    table = ladder()
    size = 10 * table.inputs["N"].max()
    of_n, of_d, twice = (
        analyse(table, replace(QUICK, predict=point)).headline.asked
        for point in ({"N": size}, {"D": 20 * size}, {"N": size, "C": 6e3})
    )
    assert of_n.reach == pytest.approx(100, rel=0.05)
    assert of_n.beyond.endswith("times the largest compute")
    assert (of_d.reach, of_d.value) == pytest.approx((of_n.reach, of_n.value), rel=0.05)
    assert not twice.known
    assert "leave predict.C out, or mend its N or D" in twice.why


@pytest.mark.parametrize(
    ("point", "beyond", "flagged"),
    [
        ({"N": 1, "D": 1}, "inside the data", False),
        ({"N": 1 / 64, "D": 32}, "32 times the largest D", True),
        ({"N": 64, "D": 1 / 64}, "64 times the largest N", True),
        ({"N": 1 / 1024, "D": 1}, "1/16 of the smallest N", True),
        ({"N": 4, "D": 4}, "16 times the largest compute", True),
    ],
)
def test_how_far_a_point_is_beyond_the_data_is_said_by_its_farthest_axis(point, beyond, flagged):
    """The compute of a small model with 32 times the data is that of a cell."""
    n, d = (x.ravel() for x in np.meshgrid(1e3 * 4.0 ** np.arange(4), 1e4 * 4.0 ** np.arange(4), indexing="ij"))
    table = make_table(5 * n**-0.2 + 40 * d**-0.5, {"N": n, "D": d, "C": 6 * n * d})
    at = {k: table.inputs[k].max() * times for k, times in point.items()}
    result = analyse(table, replace(QUICK, draws=20, predict=at))
    assert result.headline.asked.beyond == beyond
    said = [f.message for f in result.flags if f.code == "far_extrapolation" and "asked for" in f.message]
    assert said == ([f"The prediction asked for reaches {beyond} that was fitted."] if flagged else [])
    contradicting = analyse(table, replace(QUICK, draws=20, predict=at | {"C": 3 * 6 * at["N"] * at["D"]}))
    assert "The C of a point must be that of its N and D" in contradicting.headline.asked.why


def test_ratios_that_differ_are_no_ladder():
    table = ladder()
    spread = replace(table, inputs={**table.inputs, "D": table.inputs["D"] * np.tile([0.5, 2.0], 5)})
    assert ray_of(table) is not None
    assert ray_of(spread) is None
    assert ray_of(grid(noise=0.5)) is None


def bent(seed, rows=40, noise=0.003):
    """Losses that no law of the library follows: an exponent that swings once, without repeats."""
    x = np.geomspace(1e3, 1e7, rows)
    u = np.linspace(-1, 1, rows)
    errors = noise * np.random.default_rng(seed).standard_normal(rows)
    return make_table(3 * x**-0.2 * np.exp(0.04 * np.sin(1.5 * np.pi * u) + errors), {"N": x})


def near_ladder(jitter, seed=3):
    """Sixteen rows of a law with an optimum, each off D = 20 N by so much of D."""
    rng = np.random.default_rng(seed)
    n = np.geomspace(1e5, 1e8, 16)
    d = 20 * n * np.exp(jitter * rng.standard_normal(16))
    loss = 1 + 80 * n**-0.4 + 60 * d**-0.3
    return make_table(loss * np.exp(0.003 * rng.standard_normal(16)), {"N": n, "D": d, "C": 6 * n * d})


def test_rows_near_a_line_have_slopes_but_no_best_size():
    """The interval of N*'s exponent missed the truth in 3 of 13 such tables."""
    found = analyse(near_ladder(0.1), QUICK)
    assert found.headline.ray is None
    n, d = (found.headline.at[k] for k in "ND")
    loss = 1 + 80 * n**-0.4 + 60 * d**-0.3
    assert found.headline.slope_N.holds(0.4 * 80 * n**-0.4 / loss)
    assert found.headline.slope_D.holds(0.3 * 60 * d**-0.3 / loss)
    for key in ("N_exponent", "D_exponent", "loss_exponent"):
        assert not getattr(found.headline, key).known
        assert getattr(found.headline, key).why.startswith("The rows lie too near a line (D = ")
    assert not any(one.optimal for one in found.headline.loss)
    assert analyse(near_ladder(1.0), QUICK).headline.N_exponent.holds(0.3 / 0.7)


@pytest.mark.parametrize("narrow", ["N", "D"])
def test_a_grid_that_is_narrow_in_one_direction_is_no_ladder(narrow):
    wide = "D" if narrow == "N" else "N"
    axes = {narrow: [1e4, 1.2e4, 1.4e4], wide: [1e4, 1e5, 1e6]}
    n, d = (x.ravel() for x in np.meshgrid(axes["N"], axes["D"]))
    steep, flat = {narrow: 0.5, wide: 0.2}["N"], {narrow: 0.5, wide: 0.2}["D"]
    assert ray_of(make_table(100 * n**-steep * d**-flat, {"N": n, "D": d})) is None


def test_structure_in_the_residuals_is_a_misfit():
    """As in NIST's Bennett5; a table that obeys its law is seldom taken for one."""
    found = analyse(bent(0), QUICK)
    assert not found.headline.settled
    assert found.headline.misfit.low > 0.01
    assert "misfit" in {f.code for f in found.flags}
    x = np.geomspace(1e3, 1e7, 40)
    for seed in range(4):
        noisy = (0.3 + 3 * x**-0.2) * np.exp(0.003 * np.random.default_rng(seed).standard_normal(40))
        assert "misfit" not in {f.code for f in analyse(make_table(noisy, {"N": x}), QUICK).flags}


def test_five_sizes_are_quoted_with_the_floor_in_doubt():
    """A straight line alone had an AICc, was named, and gave a slope of twice the truth."""
    n = np.geomspace(4e6, 4e9, 5)
    truth = 1.69 + 410 * n**-0.34
    table = make_table(truth * np.exp(0.001 * np.array([1, -1, 0.5, 1, -1])), {"N": n})
    found = analyse(table, replace(QUICK, predict={"N": 4e10})).headline
    slope = 0.34 * 410 * n[-1] ** -0.34 / truth[-1]
    assert found.slope_N.holds(slope)
    assert found.asked.holds(1.69 + 410 * 4e10**-0.34)


def test_nothing_to_fit_has_its_reason():
    table = grid()
    same = analyse(replace(table, loss=np.full(len(table), 2.0)), QUICK)
    assert same.headline.slope_N.why == "No law is fitted: every loss is the same, so no law has anything to fit."
    none = analyse(table, Options(laws=(), draws=50))
    assert none.headline.slope_N.why == "No law is fitted: no law was asked for."


def test_laws_that_are_named_are_the_base():
    found = analyse(grid(noise=0.02), Options(laws=("additive",), draws=50))
    assert found.headline.laws == ["additive"]
    assert found.selected == "additive"


def test_a_broken_row_is_left_out_and_said():
    table = grid(noise=0.02)
    loss = table.loss.copy()
    loss[11] *= 1.6
    found = analyse(make_table(loss, table.inputs), QUICK)
    (note,) = found.notes
    assert note.startswith(f"1 of {len(table)} rows lies far off the neighbours")
    assert "row 11" in note
    assert found.headline.noise < 0.02


def test_what_the_model_does_not_hold_is_said():
    """The model is of N and D: amounts of data that are not repeated are not in it."""
    table = grid(noise=0.02)
    unique = np.minimum(table.inputs["D"], np.median(table.inputs["D"]))
    repeated = replace(table, inputs={**table.inputs, "U": unique})
    assert "the numbers to quote are of N and D: U is not in their model" in analyse(repeated, QUICK).notes
    alone = analyse(repeated, replace(QUICK, laws=("repeated",)))
    assert alone.fitted
    assert alone.headline.slope_N.why.startswith("Nothing is quoted: the model is of N and D, and repeated is of")


def test_what_is_not_given_has_its_reason():
    n = np.geomspace(1e3, 1e7, 12)
    loss = (0.3 + 3 * n**-0.2) * np.exp(0.003 * np.random.default_rng(0).standard_normal(12))
    sizes = analyse(make_table(loss, {"N": n}), replace(QUICK, predict={"D": 1e5})).headline
    assert not sizes.loss
    assert sizes.no_loss.startswith("Losses are predicted by compute")
    assert sizes.asked.why == "The model is of N: give predict.N=…, too."
    compute = analyse(make_table(loss, {"C": n**2}), QUICK)
    assert compute.headline.no_loss == ""
    assert compute.why == "no joint law was asked for"
    assert compute.frontier["pareto"].status.endswith("there is no joint law to redraw about")
    without = analyse(make_table(loss, {"C": n**2}), Options(draws=0)).frontier["pareto"]
    assert without.status.endswith("no draws were asked for")


def test_compute_that_is_assumed_is_said():
    table = ladder()
    alone = replace(table, inputs={k: table.inputs[k] for k in "ND"})
    assert analyse(alone, QUICK).headline.ray.line == "D = 20 N (with C = 6 N D assumed)"


@pytest.mark.parametrize("cells", [2, 3, 4])
def test_the_fewest_cells(cells):
    """docs/fitting.md: two cells are no fit, and a 2 x 2 grid has a plane."""
    n, d = (x.ravel()[:cells] for x in np.meshgrid([1e4, 4e4], [1e5, 4e5]))
    table = make_table(20 * n**-0.2 * d**-0.1, {"N": n, "D": d})
    if cells == 2:
        with pytest.raises(InputError, match="at least 3 rows with a loss, but got 2"):
            analyse(table, QUICK)
        return
    found = analyse(table, QUICK)
    assert bool(found.fitted) == (cells == 4)
    assert "too_few_cells" in {f.code for f in found.flags}
    if cells == 4:
        assert found.headline.slope_N.holds(0.2)
        assert found.headline.slope_D.holds(0.1)
