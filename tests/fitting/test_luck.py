"""What tuning leaves to luck: that intervals hold it, that a twin shows it, and that cells without it cost little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.comparison_coverage import RunNoise, Truth, as_tuned, comparison_coverage, left_by_tuning, simulate
from scipy import stats

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.analysis import analyse
from mnist_scaling.fitting.comparing import Arm, ComparisonOptions, compare
from mnist_scaling.fitting.comparing.comparison import slopes
from mnist_scaling.fitting.comparing.pairing import match, match_twin
from mnist_scaling.fitting.comparing.surface import fit_surfaces
from mnist_scaling.fitting.fitted import Options
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.misfit.posterior import surface
from mnist_scaling.fitting.rows import make_table
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.luck import SIZES, Field, Numbers, luck
from mnist_scaling.reporting.documents.comparison_json import comparison_record
from mnist_scaling.reporting.words.conclusion import luck_sentence

PLANE = {"A": 40.0, "alpha": 0.3, "beta": 0.4}
EQUAL = Truth(get_law("multiplicative"), PLANE, PLANE)
QUICK = ComparisonOptions(draws=300, exponents=False)
LUCKY = RunNoise(0.04, 0.5, tuning=0.03, reach=(0.7, 0.3))


def grid(widths: int = 7, amounts: int = 5) -> tuple[np.ndarray, np.ndarray]:
    n, d = np.meshgrid(np.geomspace(1e3, 6.4e4, widths), np.geomspace(3125, 5e4, amounts), indexing="ij")
    return n.ravel(), d.ravel()


def field(widths: int = 7, amounts: int = 5, tuned: bool = True) -> Field:
    return Field(np.log(np.column_stack(grid(widths, amounts))), ("N", "D"), tuned)


@pytest.mark.slow
def test_intervals_of_equal_arms_hold_correlated_luck() -> None:
    """A small part of benchmarks/comparison.py --tuning: without a field the offset was held in half of such pairs."""
    found, differs = comparison_coverage(*grid(), EQUAL, LUCKY, 40, np.random.default_rng(5), draws=200)
    held = {c.quantity: c.share for c in found}
    assert min(held.values()) >= 0.85, held
    assert max(differs.values()) <= 0.12
    alone = []
    for seed in range(40):
        a, b = (as_tuned(arm, False) for arm in simulate(*grid(), EQUAL, LUCKY, np.random.default_rng(seed)))
        alone.append(compare(a, b, QUICK).offset.holds(0))
    assert np.mean(alone) < 0.75


def test_the_model_of_fit_holds_luck_that_neighbours_share_where_cells_were_tuned() -> None:
    """The slope in N at the largest cell: of these tables 88 % of intervals held it without a term for luck."""
    n, d = grid()
    at = np.log(np.stack([n, d]))[:, -1]
    coupled = {"E": 0.013, "A": 60.0, "B": 600.0, "alpha": 0.7, "beta": 0.9, "gamma": 0.6}
    truth, noise = Truth(get_law("coupled"), coupled, coupled), RunNoise(0.02, 0.5, 5, tuning=0.02, reach=(0.7, 0.3))
    low, high = truth.logs(at + np.array([[-1e-3, 0.0], [1e-3, 0.0]]))[0]
    rng, held = np.random.default_rng(3), []
    for _ in range(40):
        table = simulate(n, d, truth, noise, rng, "a")[0].table
        found = [
            Interval(*np.quantile(of.slope(dict(zip("ND", at, strict=True)), "N"), [0.5, 0.025, 0.975]))
            for of in (surface(replace(table, tuned=tuned), 300, np.random.default_rng(0)) for tuned in (None, True))
        ]
        held.append([one.holds((low - high) / 2e-3) for one in found])
    without, share = np.mean(held, axis=0)
    assert share >= 0.92 > 0.9 > without


@pytest.mark.parametrize(("tuned", "least", "most"), [(False, 0.8, 1.25), (True, 1.2, 2.0)])
def test_without_luck_the_intervals_are_nearly_those_of_least_squares(tuned: bool, least: float, most: float) -> None:
    """Against Student's interval of the plane's residuals, which is right where cells are independent.

    Cells that were tuned have luck that a plane would hide, so that where they show none, intervals are wider still.
    """
    ratios = []
    n, d = grid()
    x = np.column_stack([np.ones(35), np.log(n), np.log(d)])
    x[:, 1:] -= x[:, 1:].mean(axis=0)
    for seed in range(15):
        arms = [as_tuned(a, tuned) for a in simulate(n, d, EQUAL, RunNoise(0.04, 0.5), np.random.default_rng(seed))]
        found = compare(arms[0], arms[1], QUICK).offset
        y = np.log(arms[1].table.loss / arms[0].table.loss)
        residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        width = 2 * stats.t.ppf(0.975, 32) * np.sqrt(residual @ residual / 32 / 35)
        ratios.append((found.high - found.low) / width)
    assert least < np.median(ratios) < most


def test_cells_of_one_level_are_no_steps_apart() -> None:
    of, rng = field(4, 4), np.random.default_rng(0)
    off = replace(of, x=of.x + np.column_stack([np.zeros(16), rng.uniform(-0.005, 0.005, 16)]))
    assert (off.steps == of.steps).all()
    stopped = replace(of, x=of.x + np.column_stack([np.zeros(16), rng.uniform(0, 0.3, 16)]), axes=of.x)
    assert (stopped.steps == of.steps).all()


@pytest.mark.parametrize("other", ["cost", "half a batch more", "rounding"])
def test_cells_at_one_place_have_one_luck(other: str) -> None:
    """Such as rows of one N and D that cost twice as much, or of one N whose D differ by half a percent."""
    n, d = (np.tile(x, 2) for x in grid(8, 1 if other == "half a batch more" else 4))
    again = np.repeat([0, 1], len(n) // 2)
    more = {"cost": 0, "rounding": 1e-7, "half a batch more": 0.005}[other]
    c, d = 6 * n * d * (1 + again * (other == "cost")), d * (1 + again * more)
    x = np.log(np.column_stack([n, d])[:, : 1 if other == "half a batch more" else 2])
    of = Field(x, ("N", "D")[: x.shape[1]])
    root = of.root(of.usual)
    np.testing.assert_allclose(root @ root.T, of.usual, rtol=1e-5, atol=1e-9)
    losses = [3 * n**-0.2 * d**-0.1 * np.exp(0.03 * np.random.default_rng(k).standard_normal(len(n))) for k in (0, 1)]
    tables = [replace(make_table(loss, {"N": n, "D": d, "C": c}), tuned=True) for loss in losses]
    assert analyse(tables[0], Options(draws=200)).headline.slope_N.known
    assert compare(Arm("a", tables[0]), Arm("b", tables[1]), QUICK).slopes["alpha"].difference.known


def test_the_likelihood_is_that_of_what_the_mean_leaves() -> None:
    """Against ln |V|, ln |F' V^-1 F| and the generalised squares, which do not project anything."""
    of, rng = field(4, 4), np.random.default_rng(0)
    mean = np.column_stack([np.ones(16), of.x - of.x.mean(axis=0)])
    own = rng.uniform(0.5, 2, 16)
    numbers = Numbers(rng.standard_normal(16), mean, own, (of,), 2.0)
    shape = of.shapes.index((0.4, 0.7))
    logs, squares, free = (np.asarray(x) for x in numbers.likelihood(shape))
    logs, squares = logs[SIZES.tolist().index(2.0)] - logs[0], squares[[0, SIZES.tolist().index(2.0)]]

    def direct(q: float) -> tuple[float, float]:
        inverse = np.linalg.inv(np.diag(own) + 2 * q * of.correlation((0.4, 0.7)))
        inside = mean.T @ inverse @ mean
        left = numbers.y - mean @ np.linalg.solve(inside, mean.T @ inverse @ numbers.y)
        log = -np.linalg.slogdet(inverse)[1] + np.linalg.slogdet(inside)[1]
        return float(log), float(left @ inverse @ left)

    assert free == 13
    assert logs == pytest.approx(direct(2.0)[0] - direct(0.0)[0])
    assert squares == pytest.approx([direct(0.0)[1], direct(2.0)[1]])


def test_a_large_grid_shows_its_luck() -> None:
    """400 cells and seeds that are known: standard deviation and correlation come back."""
    of = field(20, 20)
    noise = RunNoise(0.0, 0.0, tuning=0.06, reach=(0.7, 0.4), fall=0.25)
    rng = np.random.default_rng(1)
    own, y = 0.03, np.subtract(left_by_tuning(of.x, noise, rng), left_by_tuning(of.x, noise, rng))
    numbers = Numbers(y + own * rng.standard_normal(400), np.ones((400, 1)), np.ones(400), (of,), 2.0)
    found = luck([numbers], own**2, 800)
    assert found.sd == pytest.approx(0.06, rel=0.25)
    assert found.neighbours == pytest.approx(0.55, abs=0.1)
    points, s = found.draw(4000, np.random.default_rng(2))
    drawn = s[:, None] * found.field(points, of, np.random.default_rng(3))
    assert drawn.std() == pytest.approx(found.sd, rel=0.1)
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] == pytest.approx(0.7, abs=0.12)


def test_a_twin_shows_luck_that_few_cells_can_not() -> None:
    """Luck that a plane takes for a difference is plain in a twin, whose mean is 0 and nothing else."""
    shown = {False: [], True: []}
    for seed in range(12):
        a, b, again = simulate(*grid(4, 4), EQUAL, LUCKY, np.random.default_rng(seed), "abt")
        for twin in (False, True):
            surfaces = fit_surfaces(match(a, b), match(a, again) if twin else None)
            assert surfaces.noise.luck.dof == 10 + 32 + 16 * twin
            shown[twin].append(surfaces.noise.luck.sd)
    assert abs(np.median(shown[True]) - 0.03) < abs(np.median(shown[False]) - 0.03)


def test_the_twin_of_an_untuned_arm_shows_its_seeds_beside_a_tuned_one() -> None:
    a, b, again = simulate(*grid(4, 4), EQUAL, RunNoise(0.04, 0.5), np.random.default_rng(0), "abt")
    a, again = as_tuned(a, False), as_tuned(again, False)
    alone, with_twin = (fit_surfaces(match(a, b), twin).noise.luck for twin in (None, match(a, again)))
    assert with_twin.dof == alone.dof + 16
    assert len(with_twin.shapes) == len(alone.shapes) > 1


def test_the_ratio_of_a_twin_has_the_noise_of_both_runs() -> None:
    """Neither arms on other cells nor their twin have repeats: s^2 is of one run, and the ratio has it twice."""
    a, b, again = (
        Arm(x.name, replace(x.table, se=None, repeats=None))
        for x in simulate(*grid(4, 4), EQUAL, RunNoise(0.04, 0.0, 1), np.random.default_rng(0), "abt")
    )
    moved = Arm("b", replace(b.table, inputs=b.table.inputs | {"N": 1.2 * b.table.inputs["N"]}))
    cells = match(a, moved)
    assert not cells.paired
    assert fit_surfaces(cells, match(a, again)).noise.luck.sd < 0.022  # once the noise of one run gives 0.027


def test_a_twin_that_equals_its_arm_makes_intervals_narrower() -> None:
    n, d = grid(4, 4)
    a, b = simulate(n, d, EQUAL, RunNoise(0.04, 0.5), np.random.default_rng(0))
    widths = []
    for twin in (None, (a, Arm("again", a.table, a.runs))):
        offset = compare(a, b, QUICK, twin).offset
        widths.append(offset.high - offset.low)
    assert widths[1] < widths[0]


def test_nothing_tuned_is_no_luck_and_is_said() -> None:
    a, b = (as_tuned(x, False) for x in simulate(*grid(4, 4), EQUAL, LUCKY, np.random.default_rng(0)))
    fixed = compare(a, b, QUICK)
    assert set(fixed.surfaces.noise.luck.shapes) == {(0.0, 0.0)}
    record = comparison_record(fixed, [{}, {}])
    assert np.isnan(record.tuning_luck.sd)
    assert luck_sentence(record).startswith("Nothing was tuned")
    tuned = comparison_record(compare(as_tuned(a, True), b, QUICK), [{}, {}])
    assert tuned.tuning_luck.sd > 0
    assert 0 <= tuned.tuning_luck.correlation < 1
    assert f"about {100 * tuned.tuning_luck.sd:.2g} % of an arm's loss" in luck_sentence(tuned)
    assert "a twin study (twin=…) would show more" in luck_sentence(tuned)
    assert "may have left to luck: the cells allow about" in luck_sentence(tuned)
    assert f"assumed to be correlated by {tuned.tuning_luck.correlation:.2f} between" in luck_sentence(tuned)
    unknown = replace(tuned, tuning_luck=replace(tuned.tuning_luck, sd=np.nan), noise={"freedom": 0.0})
    assert luck_sentence(unknown).startswith("Too few cells were compared")
    named = replace(tuned, tuning_luck=replace(tuned.tuning_luck, twin="again"))
    assert "as again, an arm tuned again, and the cells" in luck_sentence(named)


def test_luck_of_arms_on_other_cells_is_each_arms_own() -> None:
    rng = np.random.default_rng(0)
    wide = []
    for size in (0.0, 0.05):
        noise = RunNoise(0.02, 0.0, tuning=size, reach=(0.7, 0.3))
        a, _ = simulate(*grid(), EQUAL, noise, rng)
        n, d = grid(6, 4)
        _, b = simulate(1.1 * n, d, EQUAL, noise, rng)
        surfaces = fit_surfaces(match(a, b))
        assert not surfaces.cells.paired
        _, offset, _ = slopes(surfaces, *surfaces.noise.draw(300, rng)[::2], 0.95)
        wide.append(offset.high - offset.low)
    assert wide[1] > 3 * wide[0]


def test_a_twin_with_other_cells_is_refused() -> None:
    a, again = simulate(*grid(), EQUAL, LUCKY, np.random.default_rng(0))
    n, d = grid(7, 6)
    more = Arm("more", make_table(np.ones(42) * 0.1, {"N": n, "D": d}))
    with pytest.raises(InputError, match="of more's 42 cells 28 of other sizes: run it on the grid of a"):
        match_twin(a, more, ("N", "D"))
    with pytest.raises(InputError, match="N and D alone vary in them"):
        match_twin(a, again, ("N",))
    part = Arm("part", again.table.take(np.arange(20)))
    assert len(match_twin(a, part, ("N", "D")).a) == 20
