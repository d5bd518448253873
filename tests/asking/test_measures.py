"""Measures on tables with known answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from mnist_scaling.asking import measures
from mnist_scaling.asking.answered import fill, of_number, trust
from mnist_scaling.asking.measures import Findings, Number, mean_of_dependent
from mnist_scaling.asking.measures.difference import differs
from mnist_scaling.asking.study_arms import LOSS, LOSS_SE, StudyArm, flagged_rows, read_arms, rows_in_no_arm
from mnist_scaling.config.ask_schema import FULL, QUICK, SMOKE, ArmSpec, Question, StudySpec
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.comparing.multiplier import Multiplier
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.fits_json import Trust
from mnist_scaling.reporting.text import estimate
from mnist_scaling.study.flags import CELLS_LEFT_OUT, NOT_PAIRED, SEARCH_EDGE
from mnist_scaling.study.tables.csv_table import read_study_table

RNG = np.random.default_rng(20261126)


def grid(loss, widths=(3, 6, 12, 24), data=(1000, 3000, 9000, 27000), noise: float = 0.005) -> pd.DataFrame:
    """Cells of a width x data study whose loss is a known function of N and D."""
    rows = [(w, 100 * w, d, 300 * w * d) for w in widths for d in data]
    frame = pd.DataFrame(rows, columns=["width", "n_params", "n_train", "flops"]).assign(n_seen=lambda f: f["n_train"])
    true = loss(frame["n_params"].to_numpy(float), frame["n_seen"].to_numpy(float))
    return frame.assign(**{LOSS: true * np.exp(noise * RNG.standard_normal(len(frame))), LOSS_SE: np.nan})


def arm(name: str, rows: pd.DataFrame) -> StudyArm:
    return StudyArm(name, name, rows)


def test_difference_finds_a_known_difference() -> None:
    arms = {
        "a": arm("a", grid(lambda n, d: 9 * n**-0.3 * d**-0.4)),
        "b": arm("b", grid(lambda n, d: 9 * n**-0.3 * d**-0.5)),
    }
    found = measures.measure({"kind": "difference", "reference": "a"}, arms)
    assert found.numbers["b_beta_difference"].interval.value == pytest.approx(0.1, abs=0.01)
    assert found.numbers["a_alpha"].interval.value == pytest.approx(0.3, abs=0.02)
    assert found.words["b_beta_verdict"] == "differs"
    assert found.words["b_alpha_verdict"] == "equivalent"
    # Half the loss at D = e^m takes less compute, by far.
    assert found.numbers["b_multiplier_large"].interval.value < 0.5
    small, middle, large = (found.numbers[f"b_multiplier_{place}"].interval for place in ("small", "middle", "large"))
    assert isinstance(middle, Multiplier)
    assert pytest.approx(np.sqrt(small.C * large.C)) == middle.C
    assert large.value < middle.value < small.value
    assert middle.high / middle.low < min(one.high / one.low for one in (small, large))
    assert found.numbers["b_loss_ratio"].interval.value == pytest.approx(np.sqrt(1000 * 27000) ** -0.1, rel=0.05)


@pytest.mark.parametrize(
    ("times", "said"),
    [(1.1, "is 1.10 times as large"), (1.0, "is the same to within"), (np.nan, "may or may not be the same")],
)
def test_a_ratio_of_losses_is_told_with_its_verdict(times: float, said: str) -> None:
    """A ratio without an interval would pass for equality where it is near 1 and nothing is settled."""
    rng = np.random.default_rng(0)
    rows = [grid(lambda n, d: 9 * n**-0.3 * d**-0.4) for _ in "ab"]
    scatter = 0.1 if np.isnan(times) else 0.001
    rows[1][LOSS] *= np.nan_to_num(times, nan=1.0) * np.exp(scatter * rng.standard_normal(len(rows[1])))
    arms = {name: arm(name, one) for name, one in zip("ab", rows, strict=True)}
    found = measures.measure({"kind": "difference", "reference": "a"}, arms)
    assert found.words["b_loss_ratio_largest_found"].startswith(said)


def test_arms_differ_in_what_holds_beside_the_other_numbers() -> None:
    """Four intervals of 95 % miss by chance more often than one, so each must stand alone at 98.75 %."""

    def number(value: float, verdict: str, factor: bool = False) -> Number:
        ends = Interval(value, value - 0.1, value + 0.1)
        return Number(ends.exp() if factor else ends, "", factor, verdict=verdict)

    clear, narrow = 0.13, 0.12  # 0.1 widens by 2.498 / 1.960, to 0.1274
    others = {
        "x": (number(0, "equivalent"), "-"),
        "y": (number(0, "not settled"), "-"),
        "z": (Number(Interval(), ""), "-"),
    }
    for sign, factor in ((1, False), (-1, False), (1, True), (-1, True)):
        said = {
            value: differs(others | {"the loss": (number(sign * value, "differs", factor), "is off"),
                                     "w": (number(0, "not settled"), "-")})
            for value in (clear, narrow)
        }  # fmt: skip
        assert said == {clear: "yes, the loss is off", narrow: "not settled"}
    assert differs({key: (number(0.01, "equivalent"), "-") for key in "ab"}) == "no, nothing that matters"
    assert differs({"z": others["z"]}) == "not settled"


def test_what_an_arm_cost() -> None:
    """Two cells of 10 and 30 FLOPs, four trials each of which one stopped half-way, and two repeats."""
    rows = grid(lambda n, d: 9 * n**-0.3 * d**-0.4)
    cost = {"flops": 10.0, "tuning_flops": 35.0, "n_repeats": 2}
    arms = {
        "a": arm("a", rows),
        "b": arm("b", rows.assign(**cost)),
        "c": arm("c", rows.assign(**cost | {"n_repeats": 0})),
    }
    arms["b"].rows.loc[0, ["flops", "tuning_flops"]] = 30.0, 105.0
    arms["c"].rows.loc[0, "tuning_flops"] = np.nan  # of which the cost is not known, so it is no part of the ratio
    spent = {key: one for key, one in measures.measure({"kind": "difference", "reference": "a"}, arms).numbers.items()
             if key.endswith("_spent")}  # fmt: skip
    assert {key: one.interval.value for key, one in spent.items()} == pytest.approx({"b_spent": 5.5, "c_spent": 3.5})
    assert all(one.factor is None for one in spent.values())


def test_a_difference_that_no_cell_tells_was_not_measured() -> None:
    """Of one amount of data there is no exponent of D; words that weigh a difference would claim that there is."""
    one_share = grid(lambda n, d: 9 * n**-0.3 * d**-0.4, data=(9000,))
    arms = {"a": arm("a", one_share), "b": arm("b", one_share.assign(**{LOSS: 1.1 * one_share[LOSS]}))}
    found = measures.measure({"kind": "difference", "reference": "a"}, arms)
    assert not found.numbers["b_beta_difference"].interval.known
    assert (found.words["b_beta_found"], found.words["b_beta_verdict"]) == ("was not measured", "not measured")
    assert found.words["b_alpha_found"] != "was not measured"


def test_a_twin_makes_differences_as_wide_as_its_luck() -> None:
    """A twin of which every cell is 10 % off says that as much passes for a difference of two arms."""
    rows = grid(lambda n, d: 9 * n**-0.3 * d**-0.4)
    other = arm("b", grid(lambda n, d: 8.8 * n**-0.3 * d**-0.4))
    wide = []
    for twin in (None, rows.assign(**{LOSS: 1.1 * rows[LOSS]})):
        arms = {"a": StudyArm("a", "a", rows, twin), "b": other}
        ratio = measures.measure({"kind": "difference", "reference": "a"}, arms).numbers["b_loss_ratio"].interval
        wide.append(ratio.high - ratio.low)
    assert wide[1] > 3 * wide[0]


def test_cells_of_one_trial_were_not_tuned() -> None:
    """So nothing was left to luck in them, and intervals are narrower."""
    rows, other = (grid(lambda n, d: 9 * n**-0.3 * d**-0.4, noise=0.02) for _ in "ab")
    wide = []
    for trials in (6, 1):
        arms = {"a": arm("a", rows.assign(n_trials=trials)), "b": arm("b", other.assign(n_trials=trials))}
        ratio = measures.measure({"kind": "difference", "reference": "a"}, arms).numbers["b_loss_ratio"].interval
        wide.append(ratio.high - ratio.low)
    assert wide[1] < 0.8 * wide[0]


def test_relation_finds_a_known_power() -> None:
    rows = grid(lambda n, d: n**-0.3 * d**-0.4, noise=0.0).assign(test_error=lambda f: 0.2 * f[LOSS] ** 1.3)
    found = measures.measure({"kind": "relation", "x": [LOSS], "y": "test_error"}, {"a": arm("a", rows)})
    assert found.numbers["a_loss"].interval.value == pytest.approx(1.3)
    assert found.numbers["a_scatter"].interval.value == pytest.approx(0, abs=1e-9)


SHAPES = pd.DataFrame([(w, d) for w in (2, 3, 4, 6, 8, 11) for d in (1, 2, 3, 4)], columns=["width", "depth"])


def basin(rows: pd.DataFrame, **keys: object) -> Findings:
    return measures.measure({"kind": "basin", "over": "depth", **keys}, {"a": arm("a", rows)})


def test_basin_finds_the_best_value_and_its_width() -> None:
    z = np.log(SHAPES["depth"])
    loss = 0.1 * np.exp(0.2 * (z - np.log(2.2)) ** 2 + 0.002 * RNG.standard_normal(len(z)))
    found = basin(SHAPES.assign(**{LOSS: loss}), tolerance=0.05)
    assert found.numbers["a_best"].interval.value == pytest.approx(2.2, rel=0.03)
    assert found.numbers["a_basin"].interval.value == pytest.approx(np.exp(2 * np.sqrt(np.log(1.05) / 0.2)), rel=0.03)
    assert found.words["a_edge"].startswith("inside")


def test_each_depth_has_a_best_size_of_its_own_and_the_best_depth_is_that_in_the_middle_of_the_sizes() -> None:
    n = 50.0 * SHAPES["width"] ** 2 * SHAPES["depth"] + 700 * SHAPES["width"]
    g, d = np.log(n) - np.log(n).mean(), SHAPES["depth"]
    z = np.log(d) - np.log(1.8)
    log_loss = 0.3 * z**2 + (0.2 * d - 0.5) * g + 0.1 * d * g**2 + 0.002 * RNG.standard_normal(len(z))
    found = basin(SHAPES.assign(**{"n_params": n, LOSS: np.exp(log_loss)}), given="n_params")
    assert found.numbers["a_best"].interval.value == pytest.approx(1.8, rel=0.02)
    assert found.numbers["a_basin"].interval.value == pytest.approx(np.exp(2 * np.sqrt(np.log(1.05) / 0.3)), rel=0.03)
    assert float(found.words["a_given"].replace(",", "")) == pytest.approx(np.exp(np.log(n).mean()), rel=0.05)


@pytest.mark.parametrize(
    ("best", "word"), [(1.6, "inside"), (3.9, "its interval goes beyond"), (6.0, "outside those that were tried")]
)
def test_a_best_value_that_those_tried_do_not_hold_says_so(best: float, word: str) -> None:
    z, noise = np.log(SHAPES["depth"]), 0.02 * np.random.default_rng(0).standard_normal(len(SHAPES))
    assert (
        basin(SHAPES.assign(**{LOSS: np.exp(0.2 * (z - np.log(best)) ** 2 + noise)})).words["a_edge"].startswith(word)
    )


def test_a_basin_without_a_minimum_is_unknown() -> None:
    rows = SHAPES.assign(**{LOSS: np.exp(-((np.log(SHAPES["depth"]) - 0.7) ** 2))})
    found = basin(rows)
    assert not found.numbers["a_best"].interval.known
    assert basin(rows[rows["depth"] < 3]).notes == ("a: 12 cells are too few to tell a basin.",)


def test_worth_of_examples_that_count_a_third() -> None:
    fresh = grid(lambda n, d: 9 * n**-0.3 * d**-0.4, noise=0.0)
    noisy = grid(lambda n, d: 9 * n**-0.3 * (d / 3) ** -0.4, data=(3000, 9000, 27000), noise=0.0)
    found = measures.measure(
        {"kind": "worth", "baseline": "fresh"}, {"fresh": arm("fresh", fresh), "noisy": arm("noisy", noisy)}
    )
    assert found.numbers["noisy_worth"].interval.value == pytest.approx(1 / 3)


def test_worth_of_further_passes() -> None:
    """Four passes over U images, each further one worth a half: D_eff = U + 0.5 (4 U - U)."""
    fresh = grid(lambda n, d: 9 * n**-0.3 * d**-0.4, noise=0.0)
    again = grid(lambda n, d: 9 * n**-0.3 * (2.5 * d) ** -0.4, data=(1000, 3000), noise=0.0)
    again = again.assign(n_seen=4 * again["n_train"])
    arms = {"fresh": arm("fresh", fresh), "again": arm("again", again)}
    found = measures.measure({"kind": "worth", "baseline": "fresh", "of": "further"}, arms)
    assert found.numbers["again_worth"].interval.value == pytest.approx(0.5)


def test_worth_leaves_out_and_counts_what_the_baseline_does_not_reach() -> None:
    fresh = grid(lambda n, d: 9 * n**-0.3 * d**-0.4, noise=0.0)
    better = grid(lambda n, d: 9 * n**-0.3 * (100 * d) ** -0.4, noise=0.0)
    arms = {"fresh": arm("fresh", fresh), "better": arm("better", better)}
    found = measures.measure({"kind": "worth", "baseline": "fresh"}, arms)
    assert "better: 16 of 16 cells have losses that" in found.notes[0]
    assert not found.numbers["better_worth"].interval.known


def test_worth_says_how_it_varies_and_how_much_is_extrapolated() -> None:
    """The images of one arm are worth a half and a fifth; the fewest of them less than the least of the baseline's."""
    fresh = grid(lambda n, d: 9 * n**-0.3 * d**-0.4, data=(1000, 3000, 9000), noise=0.0)
    other = grid(lambda n, d: 9 * n**-0.3 * np.where(d < 5000, d / 2, d / 5) ** -0.4, data=(1800, 9000), noise=0.0)
    arms = {"fresh": arm("fresh", fresh), "other": arm("other", other)}
    (note,) = measures.measure({"kind": "worth", "baseline": "fresh"}, arms).notes
    n = len(other)
    told = f"single cells give 0.2 to 0.5; {n // 2} of these {n} rest on the curve of fresh beyond its own cells."
    assert note == f"other: {told}"


def test_critical_batch_of_a_known_law() -> None:
    """Examples to a loss are E (1 + B / 64), with E = loss^-2.5."""
    rows = batches_and_data(lambda enough: 64.0)
    measured = measures.measure({"kind": "critical_batch"}, {"a": arm("a", rows)})
    found = measured.numbers
    for end, seen in (("first", rows["n_seen"].min()), ("last", rows["n_seen"].max())):
        assert found[f"a_{end}"].interval.value == pytest.approx(64, rel=1e-3)
        loss = seen**-0.4
        assert measured.words[f"a_{end}_loss"] == f"a loss of {loss:.3g}"
    assert found["a_growth"].interval.value == pytest.approx(0, abs=1e-6)


def test_critical_batch_that_grows_with_the_data() -> None:
    rows = batches_and_data(lambda enough: 64 * (enough / 500) ** 0.5)
    found = measures.measure({"kind": "critical_batch"}, {"a": arm("a", rows)})
    for slot, seen in (("first", rows["n_seen"].min()), ("last", rows["n_seen"].max())):
        assert found.numbers[f"a_{slot}"].interval.value == pytest.approx(64 * (seen / 500) ** 0.5, rel=1e-3)
    assert found.numbers["a_growth"].interval.value == pytest.approx(0.5, abs=1e-3)
    assert found.notes == ()


def test_two_batch_sizes_leave_every_slot_unknown() -> None:
    rows = batches_and_data(lambda enough: 64.0, batches=(8, 128))
    found = measures.measure({"kind": "critical_batch"}, {"a": arm("a", rows)})
    assert len(found.numbers) == 3
    assert not any(number.interval.known for number in found.numbers.values())
    assert found.words["a_last_loss"] == "no loss"
    assert found.notes == ("a: critical batch sizes need three batch sizes, and more cells.",)


def batches_and_data(critical, batches=(8, 32, 128, 512)) -> pd.DataFrame:
    """E examples would do at small batches, D = E (1 + B / B_crit(E)) are seen, and L = E^-0.4."""
    rows = pd.DataFrame([(b, e) for b in batches for e in np.geomspace(500, 64000, 9)], columns=["batch_size", "e"])
    seen = rows["e"] * (1 + rows["batch_size"] / critical(rows["e"]))
    return rows.assign(n_seen=seen, **{LOSS: rows["e"] ** -0.4})


def test_compute_optimal_gives_every_method() -> None:
    arms = {"a": arm("a", grid(lambda n, d: 30 * n**-0.7 + 40 * d**-0.6, noise=0.01))}
    found = measures.measure({"kind": "compute_optimal", "draws": 50}, arms)
    assert {"a_pareto_N", "a_hull_D", "a_isoflop_loss", "a_parametric_N"} <= set(found.numbers)
    # N* grows as C^(beta / (alpha + beta)).
    assert found.numbers["a_parametric_N"].interval.value == pytest.approx(0.6 / 1.3, abs=0.1)


def test_a_mean_of_dependent_values() -> None:
    for values, sources in (([1.0, 2.0, 3.0], np.eye(3)), ([1.0, 1.0, 3.0, 3.0], np.repeat(np.eye(2), 2, axis=0))):
        # Two pairs, each with one noise for both, are as wide as the mean of two values, one per pair.
        found, apart = mean_of_dependent(values, sources), np.unique(values)
        ends = student.interval(0.95, len(apart) - 1, apart.mean(), apart.std(ddof=1) / np.sqrt(len(apart)))
        assert (found.value, found.low, found.high) == pytest.approx((2.0, *ends))
    assert not mean_of_dependent([1.0], [[1.0]]).bounded
    assert not mean_of_dependent([], np.empty((0, 2))).known


def test_worth_knows_how_much_of_its_noise_is_the_baselines() -> None:
    """Two cells of one width at the same piece of the baseline's curve err together: the interval is wider than that of
    two cells of two widths that scatter by as much.
    """
    fresh = grid(lambda n, d: 9 * n**-0.3 * d**-0.4, widths=(3, 6), noise=0.0)
    far = grid(lambda n, d: 9 * n**-0.3 * (d / 3) ** -0.4, widths=(3, 6), data=(9000,), noise=0.0)
    near = grid(lambda n, d: 9 * n**-0.3 * (d / 3) ** -0.4, widths=(3,), data=(8000, 9000), noise=0.0)
    spec, found = {"kind": "worth", "baseline": "fresh"}, []
    for rows in (far, near):
        rows = rows.assign(**{LOSS: rows[LOSS] * np.array([0.99, 1.01])})
        arms = {"fresh": arm("fresh", fresh), "noisy": arm("noisy", rows)}
        found.append(measures.measure(spec, arms).numbers["noisy_worth"].interval)
    assert found[1].high / found[1].low > 1.2 * found[0].high / found[0].low


def test_a_basin_whose_curvature_is_not_told_has_no_upper_end() -> None:
    z, noise = np.log(SHAPES["depth"]), 0.05 * np.random.default_rng(3).standard_normal(len(SHAPES))
    found = basin(SHAPES.assign(**{LOSS: np.exp(0.05 * (z - np.log(2.2)) ** 2 + noise)}))
    known, best = (found.numbers[f"a_{slot}"].interval for slot in ("basin", "best"))
    assert known.low > 1
    assert known.high == np.inf
    assert best.known
    assert not best.bounded
    assert found.notes == ("a: these cells do not tell that the loss rises to both sides of the best depth.",)
    assert estimate(known).endswith("∞)")


def test_the_interval_of_a_quotient_is_fiellers() -> None:
    """Its ends are where the slope of the curve is at the edge of Student's interval around zero."""
    z = np.log(SHAPES["depth"]).to_numpy()
    y = 0.2 * (z - np.log(2.2)) ** 2 + 0.02 * np.random.default_rng(4).standard_normal(len(z))
    best = basin(SHAPES.assign(**{LOSS: np.exp(y)})).numbers["a_best"].interval
    for end in (best.low, best.high):
        shifted = z - np.log(end)
        design = np.stack([np.ones_like(z), shifted, shifted**2], axis=1)
        beta, rest = np.linalg.lstsq(design, y, rcond=None)[:2]
        se = np.sqrt(np.linalg.inv(design.T @ design)[1, 1] * rest[0] / 21)
        assert abs(beta[1] / se) == pytest.approx(2.079614, abs=1e-4)  # Student's 97.5 % with 21 degrees of freedom


def test_a_slot_without_a_number_says_so_and_an_unknown_one_is_refused() -> None:
    found = Findings(
        {"a_alpha": Number(Interval(0.3, 0.2, 0.4), ""), "b_alpha": Number(Interval(), "")}, {"w": "differs"}
    )
    text = fill("{a_alpha}, {b_alpha}, {w}", found)
    assert text == "0.300\xa0[0.200,\xa00.400], (unknown from these cells), differs"
    with pytest.raises(InputError, match=r"none of them gives \{a_alfa\}: did you mean `a_alpha`\?"):
        fill("{a_alfa}", found)


def test_an_answer_is_trusted_as_far_as_its_cells_and_its_scale_and_names_numbers_that_are_less_sure() -> None:
    """Of a slope 4^0.1 = 1.15; of a factor the factor itself; one of ten flagged cells weighs nothing, two do."""
    rows = pd.DataFrame({"flags": [None] * 9 + [SEARCH_EDGE], "tuned": ["yes"] * 9 + ["no"]})
    known = {"a": Number(Interval(0.3, 0.29, 0.31), "slope"), "b": Number(Interval(1.0, 0.95, 1.05), "ratio", True)}
    found, question = Findings(known | {"c": Number(Interval(0.1), "scatter", None)}), Question(sentence="{a} {b} {c}")

    def trusted(numbers: dict[str, Number], arm_rows: pd.DataFrame = rows, scale: str = FULL, *raised: Flag) -> object:
        one = trust(question, scale, {"a": arm("a", arm_rows)}, found | Findings(numbers, flags=raised))
        return one.trust, *one.reasons

    assert trusted({}) == ("high",)
    wide = {"a": Number(Interval(0.3, 0.2, 0.4), "slope"), "b": Number(Interval(1.0, 0.9, 1.1), "ratio", True)}
    shown = [f"{one.meaning}, {estimate(one.interval)}" for one in wide.values()]
    assert trusted(wide) == ("fair", f"fair by itself: {shown[0]}; {shown[1]}")
    ratio = {"b": Number(Interval(1.0, 0.7, 1.2), "ratio", True)}
    low = f"low by itself: ratio, {estimate(ratio['b'].interval)}"
    assert trusted(wide | ratio) == ("low", low, f"fair by itself: {shown[0]}")
    assert trusted({"a": Number(Interval(), "slope")}, rows, QUICK)[2] == "these cells do not tell all numbers"
    many = {f"x{i}": replace(wide["a"], interval=Interval(0.3, 0.2, 0.4 + i / 100)) for i in range(4)}
    question = Question(sentence="{a} {x0} {x1} {x2} {x3}")
    assert trusted(many) == (
        "fair",
        "4 of its 5 numbers are fair by themselves, as their table says",
    )
    assert of_number(wide["a"]).reasons == ["± 15 % at 4 times as much"]
    assert of_number(replace(known["a"], doubtful="may be 0")) == Trust("fair", ["may be 0"])
    near = Number(Interval(-0.02, -0.05, 0.002), "power")  # whose effect is known to 4 %, and whose sign is not
    assert of_number(near) == Trust("fair", ["may be 0"])
    assert of_number(replace(near, verdict="equivalent")).trust == "high"
    assert of_number(replace(near, interval=Interval(0.0, -0.002, 0.002))).trust == "high"
    assert trusted({}, rows.assign(tuned=["yes"] * 8 + ["no"] * 2))[1] == "80 % of the cells of a are certified tuned"
    assert trusted({}, rows.assign(flags=[SEARCH_EDGE] * 2 + [None] * 8)) == ("fair", "flagged search_edge")
    assert trusted({}, rows, FULL, Flag(NOT_PAIRED, "…"), Flag(CELLS_LEFT_OUT, "…")) == ("fair", "flagged not_paired")
    assert [trusted({}, rows, scale)[0] for scale in (QUICK, SMOKE)] == ["fair", "low"]


def test_flags_that_warn_of_cells_are_told_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    flags = ["search_edge;undertrained", None, "undertrained", "repeated_data"]
    pd.DataFrame({"test_loss": [0.1, 0.2, 0.3, 0.4], "flags": flags}).to_csv(path, index=False)
    assert flagged_rows({"s": read_study_table(path)}) == [
        "1 of the 4 cells of s is flagged search_edge: a selected value lies on the edge of its search range.",
        "2 of the 4 cells of s are flagged undertrained: a run ended at its cap before it had converged.",
    ]
    pd.DataFrame({"test_loss": [0.1], "flags": [None]}).to_csv(path, index=False)
    assert flagged_rows({"s": read_study_table(path)}) == []


def test_an_arm_is_the_rows_and_the_loss_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    frame = pd.DataFrame(
        {"optimizer": ["adam", "sgd", "sgd"], "test_loss": [1, 2, None], "test_error": [0.1, 0.2, 0.3]}
    )
    frame.to_csv(path, index=False)
    specs = {"sgd": ArmSpec("s", "optimizer == 'sgd'"), "all": ArmSpec("s", loss="test_error", label="errors")}
    asked = Question("t", "q?", {"s": StudySpec("smoke")}, specs)
    arms = read_arms(asked, {"s": path})
    assert arms["sgd"].rows[LOSS].tolist() == [2.0]
    assert arms["all"].rows[LOSS].tolist() == [0.1, 0.2, 0.3]
    assert arms["all"].label == "errors"
    assert arms["all"].twin is None
    again = read_arms(replace(asked, twin="all"), {"s": path, "s_twin": path})
    assert again["all"].twin is not None
    assert again["all"].twin[LOSS].tolist() == [0.1, 0.2, 0.3]
    assert again["sgd"].twin is None
    assert rows_in_no_arm(asked, {"s": read_study_table(path)}) == []
    some = Question("t", "q?", {"s": StudySpec("smoke")}, {"sgd": specs["sgd"]})
    assert rows_in_no_arm(some, {"s": read_study_table(path)}) == [
        "1 of the 3 cells of s is left out: the question takes those where optimizer == 'sgd'."
    ]
    none = Question("t", "q?", {"s": StudySpec("smoke")}, {"rms": ArmSpec("s", "optimizer == 'rms'")})
    with pytest.raises(InputError, match="'rms' must have measured cells"):
        read_arms(none, {"s": path})


@pytest.mark.parametrize(
    ("spec", "slots"),
    [
        ({"kind": "basin", "over": "width", "given": "n_train"}, {"a_best", "a_basin", "a_edge", "a_given"}),
        ({"kind": "relation", "x": ["n_params"]}, {"a_n_params", "a_scatter"}),
        (
            {"kind": "compute_optimal"},
            {f"a_{m}_{e}" for m in ("pareto", "hull", "isoflop", "parametric") for e in ("N", "D", "loss")}
            | {f"a_{m}_{e}_of_model" for m in ("pareto", "hull", "isoflop") for e in ("N", "D", "loss")}
            | {"a_law"},
        ),
    ],
)
def test_an_arm_of_two_cells_leaves_every_slot_unknown(spec: dict[str, object], slots: set[str]) -> None:
    """A sentence is said all the same, also after twelve studies at scale=smoke."""
    found = measures.measure(spec, {"a": arm("a", grid(lambda n, d: n**-0.3 * d**-0.4)[:2])})
    assert {*found.numbers, *found.words} == slots
    assert not any(number.interval.known for number in found.numbers.values())
