"""Laws of the best settings: exact on exact tables, honest where there is nothing, and covered on simulated studies."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console
from scipy.optimize import minimize
from scipy.stats import norm
from scipy.stats import t as student

from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.json_form import plain, read
from mnist_scaling.reporting.documents.tuning_records import SettingsRecord, known_settings_laws, settings_laws_record
from mnist_scaling.reporting.text import three_digits
from mnist_scaling.reporting.words.fit_sentences import settings_summary
from mnist_scaling.settings import setting_laws, vertices
from mnist_scaling.settings.optimal_settings import SettingsOptions, optimal_settings
from mnist_scaling.settings.setting_laws import Observed, TunedKey, predict, prior, share_of_range
from mnist_scaling.settings.vertex_bias import vertex_bias
from mnist_scaling.settings.vertices import CellTrials

pytestmark = pytest.mark.slow

KEYS = (TunedKey("lr", True), TunedKey("dropout", False))
LOW, HIGH = np.array([1e-4, 0.0]), np.array([1e-1, 0.5])
CURVATURE = np.array([[0.2, 0.1], [0.1, 4.0]])


def best(n: float, d: float) -> np.ndarray:
    """lr* = 0.01 (N / 1000)^-0.5 (D / 1000)^0.2, dropout* = 0.2 + 0.02 ln(N / 1000)."""
    n, d = np.log([n / 1e3, d / 1e3])
    return np.array([np.log(0.01) - 0.5 * n + 0.2 * d, 0.2 + 0.02 * n])


def cells(
    noise: float = 0.0, trials: int = 12, seed: int = 0, curvature: np.ndarray = CURVATURE, shift: float = 0.0
) -> list[CellTrials]:
    """3 x 3 cells with an exact quadratic in ln lr and dropout, settings drawn about the best."""
    rng = np.random.default_rng(seed)
    found = []
    for n in (1e3, 3e3, 9e3):
        for d in (1e3, 4e3, 16e3):
            top = best(n, d) + np.array([shift, 0.0])
            u = top + np.array([1.0, 0.15]) * rng.normal(size=(trials, 2))
            u[:, 0] = np.clip(u[:, 0], *np.log([LOW[0], HIGH[0]]))
            u[:, 1] = np.clip(u[:, 1], LOW[1], HIGH[1])
            rise = 0.5 * np.einsum("na,ab,nb->n", u - top, curvature, u - top) + noise * rng.normal(size=trials)
            settings = np.stack([np.exp(u[:, 0]), u[:, 1]], 1)
            sizes = {"N": n, "D": d, "steps": d / 32, "loss": 9 * n**-0.2 * d**-0.3}
            found.append(CellTrials(9 * n**-0.2 * d**-0.3 * np.exp(rise), settings, LOW, HIGH, sizes))
    return found


# Vertices


def test_an_exact_quadratic_gives_its_vertices_and_its_curvature() -> None:
    table = cells()
    found = optimal_settings(table, KEYS, options=SettingsOptions(within=5.0))
    lr, dropout = found.keys
    for i, cell in enumerate(table):
        top = best(cell.sizes["N"], cell.sizes["D"])
        assert lr.best[i].value == pytest.approx(np.exp(top[0]), rel=1e-6)
        assert dropout.best[i].value == pytest.approx(top[1], abs=1e-7)
    assert lr.curvature.value == pytest.approx(0.2, rel=1e-6)
    assert dropout.curvature.value == pytest.approx(4.0, rel=1e-6)
    assert found.noise < 1e-6
    (law, steps, loss) = lr.laws
    assert (law.against, steps.against, loss.against) == (("N", "D"), ("steps",), ("loss",))
    assert [law.coefficients[k].value for k in "ND"] == pytest.approx([-0.5, 0.2], abs=1e-6)
    assert dropout.laws[0].coefficients["N"].value == pytest.approx(0.02, abs=1e-6)
    assert predict(law, lr, {"N": 27e3, "D": 1e3}).value == pytest.approx(np.exp(best(27e3, 1e3)[0]), rel=1e-5)
    assert steps.coefficients["steps"].value == pytest.approx(0.2, abs=1e-6)  # N and D are crossed


def test_curvature_and_vertices_are_those_of_one_dense_least_squares() -> None:
    table = cells(noise=0.05, seed=3)
    trials, *_ = vertices.standardise(table, [True, False], 0.5)
    at = vertices.solve(vertices.sums(trials, [0, 1]))
    z, m = trials.z, trials.count
    own = np.zeros((len(z), 3 * m))
    for row, (cell, point) in enumerate(zip(trials.cell, z, strict=True)):
        own[row, 3 * cell : 3 * cell + 3] = [1, *point]
    shared = np.stack([z[:, 0] ** 2 / 2, z[:, 0] * z[:, 1], z[:, 1] ** 2 / 2], 1)
    design = np.concatenate([own, shared], 1)
    b, (rest,), *_ = np.linalg.lstsq(design, trials.y, rcond=None)
    h = np.array([[b[-3], b[-2]], [b[-2], b[-1]]])
    np.testing.assert_allclose(at.curvature, h, rtol=1e-8)
    np.testing.assert_allclose(at.value, -b[:-3].reshape(m, 3)[:, 1:] @ np.linalg.inv(h), rtol=1e-7)
    assert at.dof == len(z) - 3 * m - 3
    assert at.noise == pytest.approx(np.sqrt(rest / at.dof))
    # Standard errors by the delta method on the whole covariance, derivatives taken numerically.
    covariance = at.noise**2 * np.linalg.inv(design.T @ design)
    errors = vertices.curvature_error(vertices.sums(trials, [0, 1]), at)
    np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance))[[-3, -1]], rtol=1e-6)

    def vertex(parameters: np.ndarray, cell: int) -> np.ndarray:
        matrix = np.array([[parameters[-3], parameters[-2]], [parameters[-2], parameters[-1]]])
        return -np.linalg.solve(matrix, parameters[3 * cell + 1 : 3 * cell + 3])

    step = 1e-6
    for cell in (0, 4):
        slopes = np.array([(vertex(b + step * e, cell) - vertex(b, cell)) / step for e in np.eye(len(b))])
        np.testing.assert_allclose(at.error[cell], np.sqrt(np.diag(slopes.T @ covariance @ slopes)), rtol=1e-3)


def test_trials_far_from_the_best_do_not_count() -> None:
    table = cells(trials=20)
    far = [replace(c, losses=np.where(np.arange(20) < 3, c.losses * 40, c.losses)) for c in table]
    found = optimal_settings(far, KEYS, options=SettingsOptions(within=3.0))
    assert found.keys[0].laws[0].coefficients["N"].value == pytest.approx(-0.5, abs=1e-6)
    assert all(found.trials <= 17)


# Cells beyond their range


def test_a_cell_beyond_its_range_says_only_on_which_side() -> None:
    """With the upper end of lr cut, clipped vertices bend the law; censored ones don't."""
    table = [replace(c, high=np.array([0.008, 0.5])) for c in cells(noise=0.002, trials=30, seed=1)]
    found = optimal_settings(table, KEYS, options=SettingsOptions(within=5.0))
    lr = found.keys[0]
    beyond = lr.side == 1
    assert 2 <= beyond.sum() <= 5
    assert all(lr.best[i].value == pytest.approx(0.008) for i in np.flatnonzero(beyond))
    exponents = lr.laws[0].coefficients
    assert [exponents[k].value for k in "ND"] == pytest.approx([-0.5, 0.2], abs=0.03)
    x = np.array([[1, np.log(c.sizes["N"]), np.log(c.sizes["D"])] for c in table])
    clipped = np.linalg.lstsq(x, np.log([b.value for b in lr.best]), rcond=None)[0]
    assert abs(clipped[1] + 0.5) > 0.1


def test_the_censored_line_has_the_highest_likelihood() -> None:
    rng = np.random.default_rng(6)
    x = np.stack([np.ones(40), rng.normal(size=40)], 1)
    error = rng.uniform(0.1, 0.5, 40)
    true = x @ [0.3, 0.8] + np.sqrt(0.2**2 + error**2) * rng.normal(size=40)
    side = np.where(true > 0.9, 1.0, np.where(true < -0.8, -1.0, 0.0))
    seen = Observed(x, np.clip(true, -0.8, 0.9), error, side)
    assert {*side} == {-1, 0, 1}

    def minus(b: np.ndarray) -> float:
        t = (seen.v - x @ b) / np.sqrt(0.2**2 + error**2)
        return -float(np.where(side == 0, norm.logpdf(t), np.where(side < 0, norm.logcdf(t), norm.logsf(t))).sum())

    np.testing.assert_allclose(setting_laws.line(seen, 0.2), minimize(minus, [0, 0], tol=1e-10).x, atol=1e-4)
    twice = np.where(np.arange(40) < 10, 2, 1)
    both = np.concatenate([np.arange(40), np.arange(10)])
    repeated = Observed(x[both], seen.v[both], error[both], side[both])
    np.testing.assert_allclose(setting_laws.line(seen, 0.2, twice), setting_laws.line(repeated, 0.2), atol=1e-10)


def test_the_spread_is_what_the_errors_leave() -> None:
    rng = np.random.default_rng(2)
    x = np.stack([np.ones(400), rng.normal(size=400)], 1)
    error = np.full(400, 0.1)
    on_the_line = Observed(x, x @ [0, 1] + error * rng.normal(size=400), error, np.zeros(400))
    about_it = replace(on_the_line, v=on_the_line.v + 0.3 * rng.normal(size=400))
    assert setting_laws.spread_of(on_the_line) < 0.05
    assert setting_laws.spread_of(about_it) == pytest.approx(0.3, rel=0.2)


# Predictions for new cells


def sided(steeper: float, noise: float = 0.02, seed: int = 0) -> list[CellTrials]:
    """Cells whose loss is (1 + steeper) / (1 - steeper) times as curved above the best ln lr as below it."""
    rng = np.random.default_rng(seed)
    found = []
    for cell in cells(noise=0.0, trials=24, seed=seed):
        top = best(cell.sizes["N"], cell.sizes["D"])
        away = np.stack([np.log(cell.settings[:, 0]), cell.settings[:, 1]], 1) - top
        factor = 1 + steeper * np.sign(away[:, 0])
        rise = 0.5 * np.einsum("na,ab,nb->n", away, CURVATURE, away) * factor + noise * rng.normal(size=24)
        found.append(replace(cell, losses=np.exp(rise)))
    return found


def test_a_loss_that_is_steeper_on_one_side_does_not_move_the_best_settings() -> None:
    """Vertices of plain quadratics all lie on the flat side; the bias takes that off, and is 0 on an even loss."""
    for steeper, least, most in ((0.4, 0.1, 0.6), (-0.4, -0.6, -0.1), (0.0, -0.1, 0.1)):
        table = sided(steeper)
        trials, centre, half = vertices.standardise(table, [True, False], 0.5)
        at = vertices.solve(vertices.sums(trials, [0, 1]))
        truth = np.array([best(c.sizes["N"], c.sizes["D"])[0] for c in table])
        plain = float(np.mean(centre[0] + half[0] * at.value[:, 0] - truth))
        law = optimal_settings(table, KEYS, options=SettingsOptions(draws=50)).keys[0].laws[0]
        assert least < law.bias < most
        ours = law.constant - best(*np.exp(law.centre))[0]
        assert abs(ours) < 0.08
        assert abs(ours) < 0.5 * abs(plain) or steeper == 0


def test_where_the_lean_can_not_be_known_it_is_half_of_the_range() -> None:
    table = cells(noise=0.02, trials=24)
    trials, *_ = vertices.standardise(table, [True, False], 0.5)
    at = vertices.solve(vertices.sums(trials, [0, 1]))
    known = vertex_bias(trials, [0, 1], at)
    assert np.sqrt(np.diag(known.covariance)).max() < 0.2
    no_minimum = replace(trials, y=-trials.y)
    unknown = vertex_bias(no_minimum, [0, 1], at)
    np.testing.assert_array_equal(unknown.value, [0, 0])
    np.testing.assert_array_equal(unknown.covariance, np.eye(2))


def test_a_prediction_is_students_interval_for_a_cell_and_not_for_the_line() -> None:
    laws = optimal_settings(cells(noise=0.05, trials=16), KEYS)
    lr, dropout = laws.keys
    law = lr.laws[0]
    found = predict(law, lr, {"N": 5e4, "D": 1e5})
    x = np.array([1, *(np.log([5e4, 1e5]) - law.centre)])
    middle = x @ [law.constant, law.coefficients["N"].value, law.coefficients["D"].value]
    reach = student.ppf(0.975, law.n - 3) * np.sqrt(x @ law.covariance @ x + law.spread**2)
    np.testing.assert_allclose(np.log([found.low, found.value, found.high]), middle + reach * np.array([-1, 0, 1]))
    wider = predict(replace(law, spread=law.spread + 1), lr, {"N": 5e4, "D": 1e5})
    assert wider.low < found.low / 5
    far = predict(dropout.laws[0], dropout, {"N": 1e-12, "D": 1e3})
    assert (far.low, far.value) == (0, 0)  # no dropout below 0


# Refusals


def test_a_key_that_does_not_bend_is_refused_and_the_others_are_fitted() -> None:
    flat = np.array([[0.2, 0.0], [0.0, 0.0]])
    found = optimal_settings(cells(noise=0.03, trials=20, curvature=flat), KEYS)
    lr, dropout = found.keys
    assert dropout.status == "The loss does not bend in dropout beyond its noise, so it shows no best value."
    assert dropout.laws == []
    assert not dropout.curvature.low > 0
    assert lr.status == "ok"
    assert lr.laws[0].coefficients["N"].holds(-0.5)


def test_nothing_that_bends_has_no_law() -> None:
    found = optimal_settings(cells(noise=0.05, trials=20, curvature=np.zeros((2, 2))), KEYS)
    assert [key.laws for key in found.keys] == [[], []]
    assert all("does not bend" in key.status for key in found.keys)


def test_too_few_trials_too_few_cells_and_one_size_are_refused() -> None:
    few = optimal_settings(cells(trials=4), KEYS)
    assert few.keys[0].status == "Too few cells have 5 trials within 50 % of their lowest loss: give the tuner more."
    assert not few.used.any()
    one_size = [replace(c, sizes={"N": 1e3, "D": 1e3}) for c in cells(noise=0.01)]
    assert optimal_settings(one_size, KEYS).keys[0].status == "9 cells are too few, or all of one size."
    two = optimal_settings(cells(noise=0.01)[:4], KEYS)
    assert all(law.n >= 1 + len(law.against) + 2 for key in two.keys for law in key.laws)


def test_cells_that_are_mostly_beyond_their_range_have_no_law() -> None:
    cut = [replace(c, high=np.array([0.002, 0.5])) for c in cells(noise=0.01, trials=30)]
    status = optimal_settings(cut, KEYS, options=SettingsOptions(within=5.0)).keys[0].status
    assert status.startswith("Only ")
    assert status.endswith(" % of the cells have their best lr inside the range.")


def test_a_size_that_all_cells_share_is_left_out() -> None:
    wide = [c for c in cells(noise=0.01, trials=20) if c.sizes["D"] == 1e3]
    three = [replace(c, sizes=c.sizes | {"N": c.sizes["N"] * f}) for c in wide for f in (1.0, 1.001)]
    assert {law.against for law in optimal_settings(three, KEYS).keys[0].laws} >= {("N",)}


# What leaves the library


def test_the_record_gives_the_same_predictions() -> None:
    found = optimal_settings(cells(noise=0.03, trials=20), KEYS)
    record = json.loads(json.dumps(plain(settings_laws_record(found, range(9))), allow_nan=False))
    assert record["status"] == "ok"
    assert record["keys"]["lr"]["scale"] == "log"
    assert [cell["row"] for cell in record["cells"]] == list(range(9))
    again = known_settings_laws(read(SettingsRecord, record))
    known = prior(found.keys, N=5e4, D=1e5)
    assert set(known) == {"lr", "dropout"}
    assert prior(again, N=5e4, D=1e5) == known
    assert prior(again, D=1e5) == {}  # no law of either key is against D alone
    assert set(prior(again, steps=3e3)) == {"lr", "dropout"}
    at = {"N": 5e4, "D": 1e5}
    told = settings_laws_record(found, at=at)
    assert told.predicted is not None
    settings = told.predicted.settings
    for one in found.keys:
        guess = known[one.key.name]
        assert guess.low < guess.value < guess.high
        assert settings[one.key.name].low == guess.low
        assert settings[one.key.name].share_of_range == share_of_range(guess, one)
    lr = known["lr"]
    text = StringIO()
    terminal.show(settings_summary(told), Console(file=text, width=200))
    numbers = ", ".join(map(three_digits, (lr.low, lr.high)))
    predicted = f"the laws predict learning rate {three_digits(lr.value)} [{numbers}] and dropout"
    assert f"For a new cell with N = 50k and D = 100k {predicted}" in " ".join(text.getvalue().split())
    assert share_of_range(lr, found.keys[0]) == pytest.approx(np.log(lr.high / lr.low) / np.log(1e3))


def test_the_seed_decides_the_intervals_and_nothing_else() -> None:
    table = cells(noise=0.05, trials=16)
    a, b, c = (optimal_settings(table, KEYS, options=SettingsOptions(seed=s)).keys[0].laws[0] for s in (0, 0, 1))
    assert a.coefficients == b.coefficients
    assert a.coefficients["N"].value == c.coefficients["N"].value
    assert a.coefficients["N"].low != c.coefficients["N"].low


# Coverage


@pytest.fixture(scope="module")
def benchmark_of() -> ModuleType:
    """benchmarks/optimal_settings.py, which makes the table of docs/evidence.md."""
    path = Path(__file__).parents[2] / "benchmarks" / "optimal_settings.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_settings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_intervals_hold_the_truth_and_are_narrower_than_those_of_the_best_trials(benchmark_of: ModuleType) -> None:
    scene = next(s for s in benchmark_of.SCENES if s.name == "quiet")
    rows = benchmark_of.measure(scene, studies=25, draws=100)
    assert [r["studies"] for r in rows] == [25] * 6
    assert np.mean([r["held"] for r in rows]) > 0.84  # 0.95, of 25 studies whose six exponents hang together
    assert min(r["held"] for r in rows) >= 0.76
    assert min(r["prior"] for r in rows) > 0.9  # 0.95, of 25 studies with 20 new cells each
    assert max(r["of_range"] for r in rows if r["key"] == "lr") < 0.25
    ratios = {(r["key"], r["size"]): r["ratio"] for r in rows}
    assert ratios["lr", "N"] > 2
    assert min(ratios.values()) > 1.2
