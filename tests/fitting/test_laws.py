"""Every law: gradients against finite differences, special cases of one another, published values."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.fitting import ALL, get_law, laws
from mnist_scaling.fitting.laws.base import Law

N = np.array([1e3, 4e3, 2e4])
D = np.array([5e2, 6e3, 4e4])


def somewhere(law: Law, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Parameters and inputs at which no bound and no clipping binds."""
    theta = np.array([rng.uniform(0, 3) if p.log else rng.uniform(0.1, 0.9) for p in law.parameters])
    theta = np.minimum(theta, law.bounds[1] - 0.2)  # a chance of error is at most 1
    logs = {k: rng.uniform(2, 8, 40) for k in "NDC"}
    logs["U"] = logs["D"] - rng.uniform(0, 2.5, 40)
    return theta + rng.uniform(0, 0.1, (4, law.size)), logs


@pytest.mark.parametrize("name", ALL)
def test_gradient_is_the_derivative(name):
    law = ALL[name]
    theta, logs = somewhere(law, np.random.default_rng(len(name)))
    _, gradient = law.evaluate(theta, logs)
    for k in range(law.size):
        up, down = theta.copy(), theta.copy()
        up[:, k] += 1e-6
        down[:, k] -= 1e-6
        numeric = (law.evaluate(up, logs)[0] - law.evaluate(down, logs)[0]) / 2e-6
        np.testing.assert_allclose(gradient[:, k], numeric, atol=2e-8, err_msg=law.names[k])


@pytest.mark.parametrize("name", ALL)
def test_starts_are_finite_and_one_is_near(name):
    law = ALL[name]
    theta, logs = somewhere(law, np.random.default_rng(1))
    y = law.evaluate(theta[:1], logs)[0][0]
    starts = law.starts(logs, y)
    assert starts.shape[1] == law.size
    assert np.isfinite(starts).all()
    value, _ = law.evaluate(np.clip(starts, *law.bounds), logs)
    assert np.abs(value - y).mean(axis=1).min() < 0.5 * np.abs(y - np.median(y)).mean()


@pytest.mark.parametrize("name", ALL)
def test_a_law_says_what_it_is(name):
    law = ALL[name]
    assert law.name == name
    assert law.source
    assert all(p in law.formula for p in law.names)
    assert len(set(law.names)) == law.size
    assert all(p.meaning and p.unit for p in law.parameters)


def test_additive_by_hand():
    values = {"E": 1.5, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
    expected = 1.5 + 400 / N**0.35 + 2000 / D**0.37
    np.testing.assert_allclose(get_law("additive").predict(values, N=N, D=D), expected, rtol=1e-14)


def test_power_laws_by_hand():
    np.testing.assert_allclose(get_law("power_D").predict({"B": 7.0, "beta": 0.5}, D=D), 7 / D**0.5, rtol=1e-13)
    floor = get_law("power_C_floor").predict({"E": 0.2, "A": 7.0, "gamma": 0.1}, C=N)
    np.testing.assert_allclose(floor, 0.2 + 7 / N**0.1, rtol=1e-13)


def test_coupled_holds_additive_and_kaplan():
    plain = {"E": 0.1, "A": 5.0, "B": 50.0, "alpha": 0.4, "beta": 0.6}
    coupled = get_law("coupled")
    np.testing.assert_allclose(
        coupled.predict(plain | {"gamma": 1.0}, N=N, D=D), get_law("additive").predict(plain, N=N, D=D), rtol=1e-13
    )
    kaplan = {"Nc": 60.0, "Dc": 700.0, "alpha_N": 0.3, "alpha_D": 0.6}
    same = {"E": 0.0, "A": 60.0**0.5, "B": 700.0, "alpha": 0.5, "beta": 1.0, "gamma": 0.6}
    np.testing.assert_allclose(coupled.predict(same, N=N, D=D), get_law("kaplan").predict(kaplan, N=N, D=D), rtol=1e-13)


def test_kaplan_by_hand():
    expected = ((60 / N) ** (0.3 / 0.6) + 700 / D) ** 0.6
    values = {"Nc": 60.0, "Dc": 700.0, "alpha_N": 0.3, "alpha_D": 0.6}
    np.testing.assert_allclose(get_law("kaplan").predict(values, N=N, D=D), expected, rtol=1e-13)


def test_repeated_law_gives_the_published_losses():
    """Muennighoff et al. 2023: their constants at their two check points."""
    values = {
        "E": np.exp(0.6254804),
        "A": np.exp(6.255414),
        "B": np.exp(7.3049974),
        "alpha": 0.3526596,
        "beta": 0.3526596,
        "Rd": 15.387756,
        "Rn": 5.309743,
    }
    law = get_law("repeated")
    assert law.predict(values, N=6.34e9, D=242e9, U=25e9) == pytest.approx(2.2256440889984477, abs=1e-9)
    assert law.predict(values, N=8.67e9, D=178e9, U=25e9) == pytest.approx(2.2269634075087867, abs=1e-9)


def test_repeated_law_is_additive_without_repetition():
    values = {"E": 1.5, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
    fresh = get_law("repeated").predict(values | {"Rd": 15.0, "Rn": 5.0}, N=N, D=1e9, U=1e9)
    np.testing.assert_allclose(fresh, get_law("additive").predict(values, N=N, D=1e9), rtol=1e-12)


def test_bounded_law_starts_at_chance_and_ends_as_coupled():
    values = {"E": 0.02, "A": 50.0, "B": 900.0, "alpha": 0.8, "beta": 0.9, "gamma": 0.7}
    law = get_law("bounded")
    assert law.predict(values, N=1e-9, D=1e9) == pytest.approx(np.log(10), rel=1e-4)
    assert law.for_classes(4).predict(values, N=1e-9, D=1e9) == pytest.approx(np.log(4), rel=1e-4)
    far = {"N": 1e9, "D": 1e10}
    reducible = get_law("coupled").predict(values | {"E": 0.0}, **far) * (np.log(10) - 0.02)
    assert law.predict(values, **far) - 0.02 == pytest.approx(reducible, rel=1e-3)
    assert "no loss is below" in law.for_classes(4).refuses(np.array([1.4, 1.5]))


def test_overfitting_makes_a_larger_model_worse_where_unique_data_are_few():
    values = {"E": 0.02, "A": 50.0, "B": 900.0, "alpha": 0.8, "beta": 0.9, "F": 0.05, "gamma": 0.6, "delta": 0.9}
    law = get_law("overfitting")
    h = 50 / N**0.8 + 900 / D**0.9 + 0.05 * N**0.6 / 400**0.9
    expected = 0.02 + (np.log(10) - 0.02) * h / (1 + h)
    np.testing.assert_allclose(law.predict(values, N=N, D=D, U=400.0), expected, rtol=1e-12)
    few, many = (np.diff(law.predict(values, N=N, D=1e6, U=u)) for u in (10, 1e6))
    assert (few > 0).all()
    assert (many < 0).all()


def test_a_new_law_is_one_file(tmp_path, monkeypatch):
    """A module in the laws' folder is all it takes."""
    (tmp_path / "mine.py").write_text(
        "from mnist_scaling.fitting.laws.power import PowerLaw\n"
        "class Mine(PowerLaw):\n"
        "    def __init__(self):\n"
        "        super().__init__('N')\n"
        "        self.name = 'mine'\n"
        "LAWS = (Mine(),)\n"
    )
    assert "mine" not in ALL
    monkeypatch.setattr(laws, "__path__", [*laws.__path__, str(tmp_path)])
    assert laws._discover()["mine"].predict({"A": 2.0, "alpha": 0.5}, N=4.0) == pytest.approx(1.0)


def test_unknown_law_is_refused():
    with pytest.raises(InputError, match="must name laws among additive"):
        get_law("addtive")
