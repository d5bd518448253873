"""Other people's tables and the answers that are known for them (../shared/data/README.md)."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mnist_scaling.fitting import Options, Settings, analyse, fit_law, get_law, make_table
from mnist_scaling.fitting.estimation.solve import minimise
from mnist_scaling.fitting.frontier.isoflop import isoflop
from mnist_scaling.reporting.documents.fit_record import fit_record
from mnist_scaling.reporting.documents.fits_json import Fits
from mnist_scaling.reporting.documents.json_form import plain, read
from mnist_scaling.reporting.text import Sentence, TextTable
from mnist_scaling.reporting.words.fit_sentences import fit_summary

from .tables import numbers, public

PUBLISHED = Settings(delta=1e-3)


@pytest.fixture(scope="module")
def chinchilla():
    columns = public("chinchilla_epoch.csv")
    table = make_table(numbers(columns, "loss"), {k: numbers(columns, k) for k in "NDC"})
    return table, numbers(columns, "kept_besiroglu") == 1


def test_besiroglu_240_rows(chinchilla):
    """Sum of Huber(1e-3) on log residuals: their optimum, to more digits than they print."""
    table, kept = chinchilla
    table = table.take(kept)
    assert len(table) == 240
    fit = fit_law(get_law("additive"), table.logs(("N", "D")), table.y, PUBLISHED)
    assert fit.objective <= 0.00101828
    assert fit.objective == pytest.approx(0.001018274, abs=1e-9)
    known = {"E": 1.81722, "A": 477.84, "B": 2143.9, "alpha": 0.34731, "beta": 0.36718}
    for key, value in known.items():
        assert fit.values[key] == pytest.approx(value, rel=1e-3), key
    assert fit.agreeing > 12


def test_besiroglu_standard_errors(chinchilla):
    """Their row bootstrap: alpha .0154, beta .0206, E .0257."""
    table, kept = chinchilla
    table = table.take(kept)
    law, logs = get_law("additive"), table.logs(("N", "D"))
    fit = fit_law(law, logs, table.y, PUBLISHED)
    counts = np.random.default_rng(0).multinomial(240, np.full(240, 1 / 240), size=1000).astype(float)
    found = minimise(replace(fit.problem, weights=counts), np.repeat(fit.theta[None], 1000, axis=0))
    assert found.converged.all()
    spread = dict(zip(law.names, found.theta.std(axis=0), strict=True))
    for key, value in {"alpha": 0.0154, "beta": 0.0206, "E": 0.0257}.items():
        assert spread[key] == pytest.approx(value, rel=0.1), key


def test_five_outliers_move_more_than_the_interval(chinchilla):
    table, _ = chinchilla
    fit = fit_law(get_law("additive"), table.logs(("N", "D")), table.y, PUBLISHED)
    assert fit.values["E"] == pytest.approx(1.8913, abs=2e-4)
    assert fit.values["beta"] == pytest.approx(0.4530, abs=2e-4)


def test_chinchilla_frontier_methods_agree(chinchilla):
    """All four near the published a = .50 to .51, from the same rows; the interval of the surfaces is the widest."""
    table, kept = chinchilla
    options = Options(laws=("additive",), settings=PUBLISHED, draws=200)
    found = analyse(table.take(kept), options).frontier
    for method, result in found.items():
        interval = result.intervals["N_exponent"]
        assert interval.value == pytest.approx(0.505, abs=0.06), method
        assert interval.low < interval.value < interval.high, method


@pytest.mark.parametrize("left_out", [0, 6])
def test_chinchillas_headline_is_true_of_its_rows(chinchilla, left_out):
    """Additive residuals have structure of twice the noise: no law need hold, and N* has an interval all the same."""
    table, kept = chinchilla
    table = table.take(kept)
    table = table.take(np.argsort(table.inputs["C"])[: len(table) - left_out])
    result = analyse(table, Options(draws=200))
    fits = read(Fits, json.loads(json.dumps(plain(fit_record(result)))))
    assert fits.headline.N_exponent.bounded
    assert fits.headline.N_exponent.holds(0.5)
    assert fits.headline.floor.high <= table.loss.min()
    assert not fits.headline.settled
    said = " ".join(str(part.text) for part in fit_summary(fits) if isinstance(part, Sentence))
    assert "No law is shown to hold: <b>coupled</b> is the nearest" in said
    assert "No law is fitted" not in said
    assert "no joint law" not in said
    assert (
        sum("a in N*" in str(row[0]) for part in fit_summary(fits) if isinstance(part, TextTable) for row in part.rows)
        == 1
    )


def test_porian_corrections():
    """N* ~ C^a on RefinedWeb after each of their corrections, weighted by the errors that they give."""
    columns = public("porian_optimal_pairs.csv")
    steps = [
        (("base", "long", "kaplan", "kaplan", "train"), 0.835),
        (("base", "long", "kaplan", "standard", "val"), 0.707),
        (("base", "short", "kaplan", "standard", "val"), 0.602),
        (("base", "short", "chinchilla", "standard", "val"), 0.572),
        (("tuned", "short", "const", "standard", "val"), 0.497),
    ]
    c, n, error = (numbers(columns, k) for k in ("C", "N_star", "logN_star_std"))
    keys = zip(*(columns[k] for k in ("hparams", "warmup", "decay", "param_count", "val")), strict=True)
    keys = list(keys)
    rw = np.array(columns["dataset"]) == "rw"
    for key, published in steps:
        rows = rw & np.array([k == key for k in keys]) & np.isfinite(n) & np.isfinite(error)
        value = np.polyfit(np.log(c[rows]), np.log(n[rows]), 1, w=1 / error[rows])[0]
        assert value == pytest.approx(published, abs=1e-3), key
    assert 0.491 <= value <= 0.505


def test_cs336_methods_differ_on_the_same_rows():
    columns = public("cs336_isoflops_synthetic.csv")
    table = make_table(numbers(columns, "loss"), {k: numbers(columns, k) for k in "NDC"})
    assert isoflop(table, "argmin").intervals["N_exponent"].value == pytest.approx(0.469, abs=5e-4)
    assert isoflop(table, "parabola").intervals["N_exponent"].value == pytest.approx(0.515, abs=5e-4)


def test_argmin_by_flops_least_squares():
    columns = public("argmin_by_flops.csv")
    c, loss = 10 ** numbers(columns, "log10_train_flops"), 10 ** numbers(columns, "log10_loss")
    law = get_law("power_C")
    for first, expected in ((1, 2.743575), (0, 2.837932)):
        fit = fit_law(law, {"C": np.log(c[first:])}, np.log(loss[first:]), Settings(loss="squared"))
        assert law.predict(fit.values, C=1e19) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("name", "unit"), [("datablations_cell2.csv", 1.0), ("datablations_cell26.csv", 1e9)])
def test_datablations_repeated_law_beats_additive(name, unit):
    """Repeating data is worth less than fresh data, and the law that says so fits better."""
    columns = public(name)
    inputs = {k: unit * numbers(columns, c) for k, c in {"N": "N", "D": "D_total", "U": "U_unique"}.items()}
    table = make_table(numbers(columns, "loss"), inputs)
    fits = {}
    for law in map(get_law, ("additive", "repeated")):
        fits[law.name] = fit_law(law, table.logs(law.inputs), table.y, PUBLISHED)
    assert fits["repeated"].objective < 0.8 * fits["additive"].objective
    assert fits["repeated"].converged


def test_gadre_overtrained_runs_obey_one_law():
    """Token multipliers 5 to 640: the additive law holds far from the compute-efficient line."""
    columns = public("overtraining_gadre_openlm.csv")
    loss = numbers(columns, "loss_c4_val")
    c4 = np.array([d == "c4_original" for d in columns["dataset"]])
    kept = np.isfinite(loss) & c4 & (numbers(columns, "chinchilla_mult") <= 32)
    table = make_table(loss[kept], {k: numbers(columns, k)[kept] for k in "ND"})
    fit = fit_law(get_law("additive"), table.logs(("N", "D")), table.y)
    assert fit.rmse < 0.035
    assert 0.2 < fit.values["alpha"] < 0.5
    assert 0.2 < fit.values["beta"] < 0.5


@pytest.mark.slow
def test_olmo_ladder_predicts_its_target():
    """16 small runs, a 7B target at 75 times their compute: within 3 %, and flagged as far."""
    columns = public("olmo_ladder_c4.csv")
    inputs = {"N": numbers(columns, "N"), "D": numbers(columns, "D"), "C": numbers(columns, "C_olmo")}
    table = make_table(numbers(columns, "loss_c4"), inputs)
    small, target = table.take(np.arange(16)), table.take(np.array([16]))
    wanted = {k: float(v[0]) for k, v in target.inputs.items()}
    result = analyse(small, Options(settings=PUBLISHED, draws=100, predict=wanted))
    foreseen = get_law("additive").predict(result.fitted["additive"].fit.values, **wanted)
    assert foreseen == pytest.approx(float(target.loss[0]), rel=0.03)
    assert result.headline.asked.reach == pytest.approx(wanted["C"] / small.inputs["C"].max())
    assert "far_extrapolation" in [f.code for f in result.flags]
