"""What reference_study, planning, tutorial (docs/) and README.md say of our own studies is what the kept tables give.

Answers and the table of all answers are test_kept_answers.py's; here is the prose between them. A claim in words
("about two thirds") is tested as a range, and what a page quotes of others is not tested.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import predictions
import pytest
import reference

from mnist_scaling import cli, compare, plan
from mnist_scaling.config.compare_schema import CompareConfig
from mnist_scaling.config.plan_schema import PlanConfig
from mnist_scaling.fitting.comparing.comparison import difference_of
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.fits_json import read_fits
from mnist_scaling.reporting.documents.json_form import read
from mnist_scaling.reporting.text import estimate, listing
from mnist_scaling.reporting.words.fit_sentences import fit_summary

pytestmark = pytest.mark.slow

KEPT = reference.REFERENCE
STUDY, PLANNING, README, TRAINING = "docs/reference_study.md", "docs/planning.md", "README.md", "docs/training.md"
TUTORIAL = "docs/tutorial.md"
COUNT = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip


# What the kept files hold.


@functools.cache
def page(name: str) -> str:
    """A page, its words joined by single spaces."""
    return " ".join((reference.ROOT / name).read_text(encoding="utf-8").split())


@functools.cache
def record(path: str) -> Any:
    return json.loads((KEPT / path).read_text(encoding="utf-8"))


@functools.cache
def cells(study: str) -> pd.DataFrame:
    return pd.read_csv(KEPT / study / "cells.csv").sort_values("flops", ignore_index=True)


def of(question: str, key: str) -> Interval:
    return read(Interval, record(f"answers/{question}.json")["numbers"][key])


def verdict(question: str, key: str) -> str:
    return str(record(f"answers/{question}.json")["words"][f"{key}_verdict"])


def headline(study: str, key: str) -> Interval:
    return read(Interval, record(f"{study}/fits.json")["headline"][key])


def isoflop(study: str, key: str) -> list[Any]:
    return list(record(f"{study}/fits.json")["frontier"]["isoflop"][key])


def setting(study: str, key: str) -> float:
    """What the command of a study sets."""
    return float(re.findall(rf" {key}=([\d.e-]+)", record(f"{study}/study.json")["command"])[0])


@functools.cache
def predicted() -> pd.DataFrame:
    """Every registered prediction with what came."""
    rows = pd.concat([pd.read_csv(path) for path in KEPT.glob("predict_*/predictions.csv")], ignore_index=True)
    return rows.assign(cells=[len(cells(study)) for study in rows["study"]], span=np.log(rows["high"] / rows["low"]))


# What the pages say of them.


def said(interval: Interval) -> str:
    return estimate(interval, gap=" ")


def higher(ratio: Interval) -> list[str]:
    """By how many per cent something is more than 1: value, low and high."""
    return [f"{100 * (end - 1):.0f}".replace("-", "−") for end in (ratio.value, ratio.low, ratio.high)]


def ends(values: pd.Series[Any]) -> tuple[Any, Any]:
    return values.min(), values.max()


def half(interval: Interval) -> float:
    return (interval.high - interval.low) / 2


def overlap(*intervals: Interval) -> bool:
    return max(one.low for one in intervals) <= min(one.high for one in intervals)


def slopes(study: str) -> list[str]:
    return [said(headline(study, f"slope_{size}")) for size in "ND"]


def mean_lr(study: str) -> str:
    """The geometric mean of the tuned rates."""
    return f"{np.exp(np.log(cells(study)['lr']).mean()):.2g}"


def loss_ratio(over: str, under: str) -> pd.Series[float]:
    """Loss of the first study over that of the second, by width and share of the data."""
    one, other = (cells(study).set_index(["width", "data_fraction"])["test_loss"] for study in (over, under))
    return (one / other).dropna()


def at_largest(over: str, under: str) -> str:
    """The same in the largest cell, with its interval: no record has this pair alone."""
    pair = compare.compared(CompareConfig(studies=[str(KEPT / s) for s in (under, over)], out="c", exponents=False))
    return said(pair.largest.exp())


def output_share(study: str) -> pd.Series[float]:
    """The output layer's share of each model's parameters."""
    return cells(study)["n_params_output"] / cells(study)["n_params"]


def best_inside(study: str) -> list[bool]:
    """Of each budget within the compute that was run: does its best size lie between two others?"""
    sizes = record(f"{study}/fits.json")["headline"]["sizes"]
    return [bool(one["optimal"] and one["tried"]) for one in sizes if one["reach"] <= 1]


def examples_end() -> float:
    """The largest budget of width_x_data whose best size leaves images over."""
    sizes = record("width_x_data/fits.json")["headline"]["sizes"]
    return float([one["C"] for one in sizes if not one.get("all_examples")][-1])


@functools.cache
def of_models() -> dict[str, float]:
    """The exponent of N* that each method reads off the quoted model's own losses."""
    found = reference.answered("model_size", Path(cli.conf_dir())).findings.numbers
    return {method: found[f"grid_{method}_N_of_model"].interval.value for method in ("hull", "pareto")}


def published_ranges() -> list[list[float]]:
    """Of alpha and of beta in public solutions, as the page quotes them."""
    quoted = re.findall(r"of (0\.\d+) to (0\.\d+) in [ND]", page(STUDY))
    return [[float(end) for end in ends_of_one] for ends_of_one in quoted]


def passes(study: str, where: str = "n_params > 0") -> tuple[float, float]:
    """Mean passes of converged runs: to their best weights, and to their end."""
    rows = cells(study).query(where)
    return rows["epochs"].mean(), rows["epochs_spent"].mean()


def shared_widths() -> tuple[int, int]:
    """The smallest and the largest perceptron that is of a size which the CNNs have, too."""
    mlp = cells("mlp")
    return ends(mlp["width"][mlp["n_params"].between(*ends(cells("width_x_data")["n_params"]))])


def best_depth(size: int) -> int:
    """At a number of parameters, by interpolation of each depth's losses."""
    curves = cells("shapes").sort_values("n_params").groupby("depth")
    losses = {depth: np.interp(size, own["n_params"], own["test_loss"]) for depth, own in curves}
    return min(losses, key=lambda depth: losses[depth])


def alpha_differences() -> list[Interval]:
    """Of the questions in the first row of the last table."""
    arms = {"learning_rate": ("fixed", "one", "fan_in"), "dropout": ("some",), "optimizer": ("sgd",)}
    return [of(question, f"{arm}_alpha_difference") for question, names in arms.items() for arm in names]


def settling() -> dict[str, Any]:
    """What would settle the comparison that the first row of the last table links to."""
    return dict(record("answers/dropout/comparison.json")["settling"])


@functools.cache
def again() -> pd.DataFrame:
    """The same cells, predicted by today's code from the same rows."""
    rows = pd.DataFrame([row for key in predictions.STUDIES for row in predictions.again(key)])
    return rows.assign(span=np.log(rows["high"] / rows["low"]))


def validation_higher() -> pd.Series:
    """Validation over test loss of the repeats of each cell, less 1, in per cent."""
    return 100 * (cells("width_x_data")["repeat_val_loss"] / cells("width_x_data")["test_loss"] - 1)


def largest_regret() -> tuple[float, float]:
    """In per cent of the loss, and how far off its cell was."""
    worst = predicted().loc[predicted()["regret"].idxmax()]
    return 100 * np.expm1(worst["regret"]), worst["reach"]


def larger_batch(data: str) -> float:
    """The critical batch size of the wide networks over that of the narrow ones."""
    return of("critical_batch", f"large_{data}").value / of("critical_batch", f"small_{data}").value


def notes(question: str) -> list[str]:
    return list(record(f"answers/{question}.json")["notes"])


def tuned_studies() -> list[str]:
    """Studies of the page's answers whose cells were tuned."""
    answers = [json.loads(path.read_text(encoding="utf-8")) for path in (KEPT / "answers").glob("*.json")]
    return sorted({study for one in answers for study in one["studies"] if cells(study)["n_trials"].max() > 1})


def price_of_tuning() -> tuple[int, float, int]:
    """Trials of lr_tuned, and their FLOPs over those of one rate's repeats, whose number comes last."""
    runs = {study: pd.read_csv(KEPT / study / "trials.csv") for study in ("lr_tuned", "lr_fixed")}
    trials, repeats = (runs[s].query(f"stage == '{of}'") for s, of in (("lr_tuned", "trial"), ("lr_fixed", "repeat")))
    return len(trials), trials["flops_spent"].sum() / repeats["flops_spent"].sum(), len(repeats)


def planned(flops: float) -> tuple[str, ...]:
    """Width, share of the data and loss that `plan` prints of the quickstart for a budget."""
    with contextlib.redirect_stdout(io.StringIO()) as said_by:
        plan.run(PlanConfig(name=str(KEPT / "quickstart"), target={"flops": flops}, register=False))
    found = re.search(
        r"width (\d+), data fraction ([\d.]+) .*?mean of its 3 repeats +(\S+ \[.*?\])", said_by.getvalue(), re.S
    )
    assert found
    return found.groups()


def reasons(key: str) -> list[str]:
    """Why a number of the quickstart is trusted no further."""
    return list(record("quickstart/fits.json")["answer"]["numbers"][key]["reasons"])


def trusted(key: str) -> str:
    """The same in words."""
    level = record("quickstart/fits.json")["answer"]["numbers"][key]["trust"]
    return f"{level}, since {listing(reasons(key))}"


def factor(size: str) -> list[float]:
    """What four times the size or data leaves of the loss of the quickstart: value, low and high."""
    found = read(Interval, record("quickstart/fits.json")["headline"]["factors"][size])
    return [found.value, found.low, found.high]


NUMBERS: list[tuple[str, str, Callable[[], Any]]] = [
    (TUTORIAL, "took {} trials, with {:.1f} times the FLOPs of the {} repeats", price_of_tuning),
    (STUDY, "took {} trials, with {:.1f} times the FLOPs of the {} repeats", price_of_tuning),
    (TUTORIAL, "to {:.2f} of what it is at the largest cell (width {}, all {:,} images), four times the parameters to "
        "{:.2f}", lambda: [
        factor("D")[0], cells("quickstart")["width"].max(), cells("quickstart")["n_seen"].max(), factor("N")[0]
    ]),
    (TUTORIAL, "data: {:.2f} to {:.2f}; parameters: {:.2f} to {:.2f}", lambda: factor("D")[1:] + factor("N")[1:]),
    (TUTORIAL, "known to {} % at four times the data and to {} % at four times the parameters", lambda: [
        re.findall(r"± (\d+) %", " ".join(reasons(f"factor_{size}")))[0] for size in "DN"
    ]),
    (TUTORIAL, "as C^−c with c = {}, trust {}", lambda: [
        said(-headline("quickstart", "loss_exponent")), trusted("loss_exponent")
    ]),
    (TUTORIAL, "as C^a with a = {}, trust {}", lambda: [
        said(headline("quickstart", "N_exponent")), trusted("N_exponent")
    ]),
    (TUTORIAL, "slopes {} in N and {} in D", lambda: slopes("quickstart")),
    ("docs/report.md", "harder, [by {:.0f} % of the loss]", lambda: validation_higher().mean()),
    (TUTORIAL, "above the test losses, by {:.0f} % in the mean of quickstart", lambda: (
        100 * (cells("quickstart")["repeat_val_loss"] / cells("quickstart")["test_loss"] - 1).mean()
    )),
    (STUDY, "Hull and Pareto front pick whole cells: they make {:.2f} and {:.2f}", lambda: (
        of_models().values()
    )),
    (STUDY, "; {:,} training, {:,} validation and {:,} test images", lambda: [
        record("width_x_data/study.json")["data"][0][f"n_{part}"] for part in ("train", "validation", "test")
    ]),
    (STUDY, "widths {} to {} in steps of √2", lambda: ends(cells("width_x_data")["width"])),
    (STUDY, "| {} trials per cell in most studies", lambda: cells("width_x_data")["n_trials"].unique()),
    (STUDY, "of {} fresh seeds", lambda: COUNT[cells("width_x_data")["n_repeats"].unique().item()]),
    # Is it worth tuning every cell?
    (STUDY, "The grid at {:g}, a usual rate for Adam", lambda: setting("lr_fixed", "optim.lr")),
    (STUDY, "tuning chose {:g} itself at the largest cell", lambda: cells("lr_tuned")["lr"].iloc[-1]),
    (STUDY, "grid as a whole, {}, the geometric mean of the tuned ones", lambda: mean_lr("lr_tuned")),
    (STUDY, "its loss is {} % [{}, {}] higher", lambda: higher(of("learning_rate", "one_loss_ratio_largest"))),
    (STUDY, "the slopes there are {} and {} where", lambda: slopes("lr_one")),
    (STUDY, "where tuning gives {} and {},", lambda: slopes("lr_tuned")),
    (STUDY, "and {} and {} when it is done again", lambda: slopes("lr_tuned_twin")),
    (STUDY, "follows the width, has {} times that loss", lambda: at_largest("lr_fan_in", "lr_one")),
    # Does µP spare the tuning?
    (STUDY, "µP's one rate, {:g}, loses", lambda: setting("mup_one", "optim.lr")),
    (STUDY, "loses {} % [{}, {}] there", lambda: higher(of("parametrization", "mup_loss_ratio_largest"))),
    (STUDY, "has {} times the loss of the other's", lambda: at_largest("mup_one", "lr_one")),
    # Loss, accuracy and the frontier
    (STUDY, "between 10 and 14, which gives {:.2f} to {:.2f}.", lambda: [4 / 14, 4 / 10]),
    (STUDY, "the best model of {} of {} budgets lies between two others", lambda: [
        COUNT[sum(best_inside("frontier"))], COUNT[len(best_inside("frontier"))]
    ]),
    (STUDY, "The isoFLOP parabolas use {} budgets", lambda: COUNT[len(isoflop("frontier", "points"))]),
    # Does the regime change the answer?
    (STUDY, "each of its {} budgets has its minimum inside", lambda: COUNT[len(isoflop("isoflop", "points"))]),
    (STUDY, "and have {:.2f} of its loss,", lambda: of("regimes", "converged_loss_ratio").value),
    # Do families share their exponents?
    (STUDY, "the perceptron has {} to {} hidden neurons", shared_widths),
    # How large a batch is too large?
    (STUDY, "{} times the width makes it larger", lambda: COUNT[
        round(setting("batches_width_16", "model.width") / setting("batches_width_4", "model.width"))
    ].capitalize()),
    # Wrong labels
    (STUDY, "squared: {:.2f} at 20 % and {:.2f} at 50 %", lambda: [(1 - 10 / 9 * share) ** 2 for share in (0.2, 0.5)]),
    # Held to predictions
    (STUDY, "{} cells of {} studies", lambda: [
        COUNT[len(predicted())].capitalize(), COUNT[predicted()["study"].nunique()]
    ]),
    (STUDY, "at {:.0f} to {:.0f} times the compute of what", lambda: ends(predicted()["reach"])),
    # Shape: depth against width
    (STUDY, "one to three layers then reach {:.3f}, {:.3f} and {:.3f}, and four {:.3f}.", lambda: (
        cells("shapes").groupby("depth")["test_loss"].min()
    )),
    (STUDY, " {} layers are best at 2,500 parameters, {} at 5,000 and {} from 10,000", lambda: [
        COUNT[best_depth(size)] for size in (2_500, 5_000, 10_000)
    ]),
    # What would change this
    (STUDY, "alpha is known to ± {:.2f} to {:.2f}, most", lambda: ends(pd.Series([*map(half, alpha_differences())]))),
    (STUDY, "| {:g} times the trials and {:g} times the repeats, as [compare]", lambda: [
        settling()[what] for what in ("trials", "repeats")
    ]),
    (STUDY, "widths beyond {} |", lambda: cells("mup_tuned")["width"].max()),
    (STUDY, "the scatter of single cells, {:.2f} in ln lr under µP", lambda: of("best_rate", "mup_scatter").value),
    (STUDY, "the images end at {:.1f} × 10⁹ FLOPs on width_x_data", lambda: examples_end() / 1e9),
    (STUDY, "more widths between {} and {} |", lambda: ends(cells("isoflop")["width"])),
    (STUDY, "MLPs of 2 to {} hidden neurons", lambda: cells("mlp")["width"].min()),
    (STUDY, "batches beyond {} |", lambda: cells("batches_width_4")["batch_size"].max()),
    (STUDY, "16 of them over few images {:.2f} to {:.2f}", lambda: ends(
        cells("passes").query("epochs == 16 and n_train < 2000")["dropout"]
    )),
    (TRAINING, "| D′ / U | 1 | {:.2f} | {:.2f} | {:.2f} | {:.2f} |", lambda: [
        1 + (n - 1) * of("repetition", f"{arm}_worth").value
        for arm, n in {"two": 2, "four": 4, "eight": 8, "sixteen": 16}.items()
    ]),
    (TRAINING, "takes its own dropout, up to {:.2f}", lambda: cells("passes")["dropout"].max()),
    (STUDY, "the second pass is known to ± {:.1f}", lambda: half(of("repetition", "two_worth"))),

    (PLANNING, "settings lose up to {:.0f} % of the loss at {:.0f} times the compute", lambda: largest_regret()),
    (PLANNING, "It grows to {:.0f} % at {:.0f} times the compute", lambda: largest_regret()),
    (PLANNING, "by {:.0f} % in the mean of the {} cells of width_x_data, and by {:.0f} to {:.0f} % in each", lambda: [
        validation_higher().mean(), len(validation_higher()), *ends(validation_higher())
    ]),
    (PLANNING, "ran and scored {} predictions over {} studies", lambda: [
        COUNT[len(predicted())], COUNT[predicted()["study"].nunique()]
    ]),
    (PLANNING, "All {} hold. They", lambda: COUNT[(predicted()["inside"].astype(str).str.lower() == "true").sum()]),
    (PLANNING, "because {} or {} cells with {} trials", lambda: [
        *(COUNT[n] for n in ends(predicted()["cells"] - predicted().groupby("study")["width"].transform("size"))),
        COUNT[cells("predict_mnist_cnn")["n_trials"].unique().item()],
    ]),
    (PLANNING, "gives {} of {} with a width of {:.3f}, an rms error of {:.3f} and a CRPS of {:.3f}", lambda: [
        (again()["inside"] == "true").sum(), len(again()),
        again()["span"].mean(), (again()["log_error"] ** 2).mean() ** 0.5, again()["crps"].mean(),
    ]),

    (TUTORIAL, "(widths 2 to 16) it is {}, in that of width_x_data (3 to 32) {}", lambda: [
        said(headline(study, "middle_slope_N")) for study in ("quickstart", "width_x_data")
    ]),
    ("docs/report.md", "it is {} in the middle of quickstart, and {} in that of", lambda: [
        said(headline(study, "middle_slope_N")) for study in ("quickstart", "width_x_data")
    ]),
    (README, "one grid of {} small networks", lambda: len(cells("width_x_data"))),
    (README, "one plane through all {} networks", lambda: len(cells("width_x_data"))),
    (README, "`fit` prints {} for this study", lambda: said(headline("width_x_data", "slope_N"))),
    (README, "costs {} % [{}, {}] of loss at the largest network", lambda: (
        higher(of("learning_rate", "one_loss_ratio_largest"))
    )),
    (README, "lowers the slope in D there by {}", lambda: said(-of("learning_rate", "one_slope_D_difference"))),
    (README, "names width {} and {} of the data, and foresees a test loss of {} as the mean of three runs", lambda: (
        planned(2e10)
    )),
    (README, "tune {} cells, repeat", lambda: len(cells("quickstart"))),
    (README, "A slope of {0:.3f} says that 1 % more data takes {0:.3f} % off", lambda: (
        headline("quickstart", "slope_D").value
    )),
    (README, "the loss at four times the data is known to {} %", lambda: re.findall(
        r"± (\d+) % at 4 times D", " ".join(record("quickstart/fits.json")["answer"]["numbers"]["factor_D"]["reasons"])
    )),
    (README, "here, {} of the {} cells are certified tuned", lambda: [
        (cells("quickstart")["tuned"] == "yes").sum(), len(cells("quickstart"))
    ]),
    (README, "batch sizes below {} were ruled out", lambda: json.loads(
        record("quickstart/study.json")["identity"]["ranges"]["optim.batch_size"]
    )["attributes"]["low"]),
    (README, "did, at {:.0f} to {:.0f} times the compute", lambda: ends(predicted()["reach"])),
]  # fmt: skip
"""Page, words with places for numbers, and what computes these."""

CLAIMS: list[tuple[str, str, Callable[[], Any]]] = [
    (TUTORIAL, "flagged `uncertified`", lambda: all("flagged uncertified" in reasons(f"factor_{x}") for x in "DN")),
    (STUDY, "in steps of √2", lambda: np.allclose(
        np.log2(cells("width_x_data")["width"].drop_duplicates().sort_values()).diff().dropna(), 0.5, atol=0.1
    )),
    (STUDY, "16 trials per cell in most studies", lambda: (
        pd.concat(cells(s).assign(study=s) for s in tuned_studies()).groupby("study")["n_trials"].max().median() == 16
    )),
    (STUDY, "five fresh seeds (three in some studies)", lambda: (
        {n for s in tuned_studies() for n in cells(s)["n_repeats"]} == {3, 5}
    )),
    # Is it worth tuning every cell?
    (STUDY, "lies within these ranges and the tuned one below them", lambda: all(
        of("learning_rate", f"tuned_{key}").value < low <= of("learning_rate", f"fixed_{key}").value <= high
        for key, (low, high) in zip(("alpha", "beta"), published_ranges(), strict=True)
    )),
    (STUDY, "narrow networks on little data take few steps: it more than doubles their loss", lambda: (
        loss_ratio("lr_fixed", "lr_tuned").loc[[3, 4, 6], [1 / 64]].min() > 2
        and cells("lr_fixed")["steps"].min() < 30
    )),
    (STUDY, "is not shown to move the average exponents", lambda: (
        "differs" not in {verdict("learning_rate", f"one_{exponent}") for exponent in ("alpha", "beta")}
    )),
    (STUDY, "both slopes fall, that in N by one tuning only", lambda: (
        max(of("learning_rate", f"one_slope_{size}_difference").high for size in "ND") < 0
        and difference_of(*(headline(study, "slope_D") for study in ("lr_tuned_twin", "lr_one"))).high < 0
        and difference_of(*(headline(study, "slope_N") for study in ("lr_tuned_twin", "lr_one"))).holds(0)
    )),
    # Does µP spare the tuning?
    (STUDY, "Averages show no difference, but the largest cell does", lambda: (
        "differs" not in {verdict("parametrization", f"{arm}_{exponent}")
                          for arm in ("mup", "standard") for exponent in ("alpha", "beta")}
    )),
    # Where does the best learning rate go?
    (STUDY, "the best rate falls as one over the root of the width", lambda: (
        of("best_rate", "standard_width").holds(-0.5)
    )),
    (STUDY, "rises a little with the width", lambda: (
        of("best_rate", "mup_width").low > 0 and of("best_rate", "mup_width").value < 0.3
    )),
    (STUDY, "most parameters stand in the output layer", lambda: output_share("mup_tuned").min() > 0.5),
    (STUDY, "In both it falls as the data grow", lambda: (
        max(of("best_rate", f"{arm}_n_seen").high for arm in ("standard", "mup")) < 0
    )),
    (STUDY, "no difference of the exponents is shown, and for beta none that matters is left", lambda: (
        verdict("best_rate", "mup_alpha") != "differs" and verdict("best_rate", "mup_beta") == "equivalent"
    )),
    # Loss, accuracy and the frontier
    (STUDY, "so this is no contradiction", lambda: of("accuracy", "loss_alpha").high < 4 / 14),
    (STUDY, "This grid begins at one channel", lambda: cells("frontier")["width"].min() == 1),
    (STUDY, "in grids that begin at width 3 hardly any does", lambda: (
        max(sum(best_inside(s)) for s in ("width_x_data", "dropout_0", "lr_tuned", "sgd", "fashion", "tuned_on")) <= 2
    )),
    (STUDY, "the output layer holds most of a narrow network's parameters", lambda: (
        output_share("frontier").max() > 0.9
    )),
    # Does the regime change the answer?
    (STUDY, "agree on the best size within their intervals", lambda: overlap(
        *(of("regimes", f"{arm}_{by}_N") for arm in ("one_epoch", "wsd", "isoflop") for by in ("isoflop", "parametric"))
    )),
    (STUDY, "The isoFLOP study says it best", lambda: half(of("regimes", "isoflop_isoflop_N")) < min(
        half(of("regimes", f"{arm}_isoflop_N")) for arm in ("one_epoch", "wsd")
    )),
    (STUDY, "budgets has its minimum inside", lambda: (
        len(isoflop("isoflop", "points")) == len(isoflop("isoflop", "curves"))
    )),
    (STUDY, "none of which ended at its cap", lambda: (
        pd.read_csv(KEPT / "converged/trials.csv").query("stage == 'repeat'")["epochs_spent"].max()
        < setting("converged", "regime.max_epochs")
    )),
    (STUDY, "not shown to have another exponent in unique images", lambda: (
        of("regimes", "converged_beta_difference").holds(0)
    )),
    (STUDY, "which is what some fourteen passes bring", lambda: abs(passes("converged")[0] - 14) < 1),
    # Dropout
    (STUDY, "changes of about 0.02 in either exponent, without intervals. Here alpha's interval cannot tell", lambda: (
        of("dropout", "some_alpha_difference").holds(0) and of("dropout", "some_alpha_difference").holds(0.02)
    )),
    (STUDY, "such a change from none, and beta's rules out that it matters", lambda: (
        verdict("dropout", "some_beta") == "equivalent"
    )),
    (STUDY, "In one epoch dropout costs loss", lambda: of("dropout", "some_loss_ratio").low > 1),
    # Do families share their exponents?
    (STUDY, "a ResNet gains most from further images, then the CNN, then the transformer and the perceptron", lambda: (
        of("families", "resnet_beta_difference").low > 0
        and max(of("families", f"{family}_beta_difference").high for family in ("transformer", "mlp")) < 0
    )),
    # Adam or SGD?
    (STUDY, "Here both exponents agree within their intervals and the loss is shifted", lambda: (
        of("optimizer", "sgd_alpha_difference").holds(0) and of("optimizer", "sgd_beta_difference").holds(0)
        and of("optimizer", "sgd_loss_ratio").low > 1
    )),
    # How large a batch is too large?
    (STUDY, "about as the data to the power 0.47. Both widths here agree with that power", lambda: all(
        of("critical_batch", f"{width}_growth").holds(0.47) for width in ("small", "large")
    )),
    (STUDY, "larger by a third with little data and by more with much", lambda: (
        1.25 < larger_batch("first") < 1.42 and larger_batch("first") < larger_batch("last")
    )),
    # What is a second pass worth?
    (STUDY, "passes 2 to 4 are worth on average less than half of fresh images", lambda: (
        0.4 < of("repetition", "four_worth").value < 0.5
    )),
    (STUDY, "and 2 to 16 about a sixth", lambda: 0.15 < of("repetition", "sixteen_worth").value < 0.18),
    (STUDY, "Affine distortions make later passes worth about three times as much", lambda: (
        2.5 < of("augmentation", "augmented_worth").value / of("augmentation", "plain_worth").value < 3.5
    )),
    # Another data set
    (STUDY, "Both make slopes smaller", lambda: (
        max(of("datasets", f"fashion_{exponent}_difference").high for exponent in ("alpha", "beta")) < 0
    )),
    # Wrong labels
    (STUDY, "It is worth less, perhaps", lambda: all(
        of("label_noise", f"noise_{share}_worth").high < (1 - 10 / 9 * share / 100) ** 2 for share in (20, 50)
    )),
    # Distorted test images, and weights from clothes
    (STUDY, "beta falls to about half", lambda: all(
        0.45 < of("off_distribution", f"{images}_beta").value / of("off_distribution", "clean_beta").value < 0.57
        for images in ("rotated", "shifted", "noisy")
    )),
    (STUDY, "pre-training multiplies the data, most where they are few. So it is here", lambda: (
        of("transfer", "transferred_worth").low > 1
        and loss_ratio("tuned_on", "width_x_data").groupby("data_fraction").mean().idxmin() == 1 / 64
    )),
    # Shape: depth against width
    (STUDY, "and one from 10,000", lambda: {best_depth(size) for size in (10_000, 15_000, 20_000)} == {1}),
    (STUDY, "transformers gain more from length than from depth; in MLPs depth does not help", lambda: (
        of("embed_dim_depth", "transformer_width").high < of("embed_dim_depth", "transformer_depth").low
        and of("embed_dim_depth", "mlp_depth").value > 0
    )),
    # What would change this
    (STUDY, "most of which is luck in tuning", lambda: settling()["noise_share"] < 0.5),
    (STUDY, "all single rates were read off grids that had been tuned", lambda: all(
        f"{setting(f'{arm}_one', 'optim.lr'):g}" == mean_lr(f"{arm}_tuned") for arm in ("lr", "mup")
    )),
    (STUDY, "their isoFLOP curves say little", lambda: half(of("regimes", "one_epoch_isoflop_N")) > 0.2),
    (STUDY, "MLP and CNN share few sizes", lambda: "MLP share too few cells" in " ".join(notes("families"))),
    (STUDY, "one budget; the widest networks see few images", lambda: (
        setting("shapes", "regime.flops") == 8e9 and cells("shapes").query("width == 16")["n_seen"].median() < 5_000
    )),
    (STUDY, "with the most data it lies beyond the batch sizes that were tried", lambda: (
        min(of("critical_batch", f"{width}_last").value for width in ("small", "large"))
        > cells("batches_width_4")["batch_size"].max()
    )),
    (STUDY, "some cells rest on the clean curve beyond its own cells", lambda: all(
        "beyond its own cells" in " ".join(notes(question)) for question in ("label_noise", "transfer")
    )),
    (STUDY, "networks of 10⁶ parameters", lambda: cells("fashion")["n_params"].max() < 1e6),

    (PLANNING, "beyond five times the compute an interval spans a factor of two to three", lambda: all(
        2 < np.exp(predicted()["span"][predicted()["reach"].between(low, high)].mean()) < 3
        for low, high in ((5, 10), (10, np.inf))
    )),
    (PLANNING, "The largest error is that of the perceptron on MNIST", lambda: (
        predicted()["study"][predicted()["log_error"].abs().idxmax()] == "predict_mnist_mlp"
    )),

    (README, "on most isoFLOP curves (models of equal compute) the smallest one tried is the best", lambda: (
        2 * sum(curve["side"] == "smallest" for curve in isoflop("quickstart", "curves"))
        > len(isoflop("quickstart", "curves"))
    )),
    (README, "a floor of 0 agrees with the data", lambda: headline("quickstart", "floor").low == 0),
]  # fmt: skip
"""Page, words, and what must be true of the tables."""


def named(claims: list[tuple[str, str, Callable[[], Any]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("name", "words", "computed"), claims, ids=[words[:60] for _, words, _ in claims])


@named(NUMBERS)
def test_a_number_is_what_the_tables_give(name: str, words: str, computed: Callable[[], Any]) -> None:
    found = computed()
    line = words.format(*([found] if np.isscalar(found) else found))
    assert line in page(name)


@named(CLAIMS)
def test_a_claim_is_true_of_the_tables(name: str, words: str, computed: Callable[[], Any]) -> None:
    assert words in page(name)
    assert computed()


def test_every_prediction_and_its_regret_stand_in_planning() -> None:
    rows = [row for key in predictions.STUDIES for row in predictions.kept(key)]
    text = (reference.ROOT / PLANNING).read_text(encoding="utf-8")
    assert predictions.table(rows) in text
    assert predictions.by_distance(rows) in text


def test_readme_prints_what_the_kept_quickstart_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Line by line up to "…", where README leaves the rest out; progress and times are of the run itself."""
    terminal.show([*fit_summary(read_fits(KEPT / "quickstart"), details=False)])
    printed = " ".join(capsys.readouterr().out.split())
    text = (reference.ROOT / README).read_text(encoding="utf-8")
    block = text.split("    Four times the data")[1].split("\n    Report:")[0]
    lines = [" ".join(line.split("…")[0].split()) for line in ("Four times the data" + block).splitlines()]
    assert len(lines) > 12
    assert [line for line in lines if line not in printed] == []
