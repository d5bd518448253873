"""The compare command: arms of one study, two studies, two tables; its files; what it refuses."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mnist_scaling import compare, report
from mnist_scaling.asking import measures
from mnist_scaling.asking.study_arms import read_arms
from mnist_scaling.config.ask_schema import ArmSpec, Question, StudySpec
from mnist_scaling.config.compare_schema import CompareConfig
from mnist_scaling.config.fit_schema import BootstrapConfig, ColumnsConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.comparing.comparison import ExponentDifference
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.comparison_json import read_comparison
from mnist_scaling.reporting.documents.json_form import plain
from mnist_scaling.reporting.documents.loading import load_arms, load_comparison
from mnist_scaling.reporting.pages import report_page
from mnist_scaling.reporting.terminal import words
from mnist_scaling.reporting.words.conclusion import answer, pairs_table, slope_table
from tests.reporting.builder import Builder, power_law

pytestmark = pytest.mark.slow

GRID = {"data_fraction": (0.125, 0.25, 0.5, 1.0), "width": (4, 8, 16, 32)}
DRAWS = BootstrapConfig(draws=100)
COLUMNS = ColumnsConfig(N="params", D="tokens", C="flops", loss="loss")


def slower(n: float, d: float) -> float:
    """Another exponent of N."""
    return power_law(n, d, 0.2)


def slower_untuned(n: float, d: float) -> float:
    """The same without tuning."""
    return 1.5 * slower(n, d)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the studies fast, slow, both (an axis of optimisers) and with two tables."""
    folder = tmp_path_factory.mktemp("compare")
    fast, slow = (
        Builder(axes=GRID, noise=0.01),
        Builder(axes=GRID, noise=0.01, seed=1, tuned_loss=slower, untuned_loss=slower_untuned),
    )
    both = Builder(axes={"optimizer": ("adam", "sgd"), **GRID})
    for name, builder in {"fast": fast, "slow": slow, "both": both}.items():
        builder.write(folder / "multirun" / name)
    rng = np.random.default_rng(0)
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e6, 1e8, 4), np.geomspace(1e8, 1e10, 4)))
    for name, factor in (("a", 1.0), ("b", 0.9)):
        loss = factor * 50 * n**-0.1 * d**-0.15 * np.exp(0.01 * rng.standard_normal(16))
        table = pd.DataFrame({"params": n, "tokens": d, "flops": 6 * n * d, "loss": loss})
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


def run(home: Path, **config: Any) -> dict[str, Any]:
    config = {"bootstrap": DRAWS, "exponents": False} | config
    with chdir(home):
        return dict(plain(compare.run(CompareConfig(**config))))


def test_what_two_studies_differ_in_is_named() -> None:
    """Whichever of them comes first, and not that their seeds differ."""
    kept = Path(__file__).parents[1] / "multirun/reference"
    for names, differ in (
        (("dropout_0", "dropout_02"), "Their studies differ in model.dropout."),
        (("sgd", "width_x_data"), "Their studies differ in optim.lr and optim.name."),
        (("dropout_0", "dropout_0_twin"), "paired by cell."),
    ):
        for order in (names, names[::-1]):
            studies = [str(kept / name) for name in order]
            pair = compare.compared(CompareConfig(studies=studies, out="c", bootstrap=DRAWS, exponents=False))
            assert pair.what.endswith(differ)


def test_two_studies(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(home, studies=["fast", "slow"], name="c", exponents=True)
    assert json.loads((home / "multirun" / "c" / "comparison.json").read_text()) == json.loads(json.dumps(record))
    assert [arm["name"] for arm in record["arms"]] == ["fast", "slow"]
    assert [arm["study"] for arm in record["arms"]] == ["fast", "slow"]
    assert (record["schema"], record["paired"], record["by_seed"], record["cells"]) == (1, True, True, 16)
    assert record["slopes"]["alpha"]["difference"]["value"] == pytest.approx(-0.1, abs=0.02)
    assert record["verdict"]["alpha"] == "differs"
    assert record["margin"] == 0.03
    assert {key for e in record["exponents"] for key in e} >= {"law", "parameter", "a", "b", "difference"}
    assert all(m["low"] <= m["value"] <= m["high"] for m in record["multiplier"])
    printed = " ".join(capsys.readouterr().out.split())
    assert words(record["sentence"]).plain in printed
    assert "paired by cell and by seed" in printed
    page = (home / "multirun" / "c" / "comparison.html").read_text()
    assert page.split("<script")[0].count("<svg") == 3
    assert "src=" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_question_of_two_studies_finds_the_same(home: Path) -> None:
    """Both pair repeats by seed, so that a question's intervals are those of the comparison, to the last digit."""
    record = run(home, studies=["fast", "slow"], name="c", bootstrap=BootstrapConfig())
    question = Question("t", "q?", {k: StudySpec("smoke") for k in "ab"}, {k: ArmSpec(k) for k in "ab"})
    tables = {k: home / "multirun" / name / "cells.csv" for k, name in (("a", "fast"), ("b", "slow"))}
    arms = read_arms(question, tables)
    found = measures.measure({"kind": "difference", "reference": "a"}, arms).numbers
    for exponent in ("alpha", "beta"):
        asked = found[f"b_{exponent}_difference"].interval
        assert plain(asked) == record["slopes"][exponent]["difference"]
    assert len(arms["a"].rows["runs"][0]) > 1


def again(home: Path, name: str, axes: dict[str, tuple[float, ...]] = GRID, **settings: Any) -> str:
    """The study fast, tuned again: with these settings, and luck of its own."""
    folder = Builder(axes=axes, noise=0.03, seed=9).write(home / "multirun" / name)
    study = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(study | {"identity": {"settings": settings}}))
    return name


def test_a_twin_is_named_and_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = run(home, studies=["fast", "slow"], name="c")
    assert plain["tuning_luck"]["twin"] is None
    assert 0 <= plain["tuning_luck"]["correlation"] < 1
    assert "a twin study (twin=…) would show more" in " ".join(capsys.readouterr().out.split())
    found = run(home, studies=["fast", "slow"], name="c", twin=again(home, "fast_again", seed=1000))
    assert found["tuning_luck"]["twin"] == "fast_again"
    assert found["tuning_luck"]["sd"] != plain["tuning_luck"]["sd"]
    assert found["slopes"]["alpha"]["difference"]["value"] == plain["slopes"]["alpha"]["difference"]["value"]
    printed = " ".join(capsys.readouterr().out.split())
    assert f"about {100 * found['tuning_luck']['sd']:.2g} % of an arm's loss in a cell" in printed
    assert "as fast_again, an arm tuned again" in (home / "multirun" / "c" / "comparison.html").read_text()


def test_differences_have_a_verdict_their_trust_and_a_next_step(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(home, studies=["fast", "slow"], name="c", exponents=True)
    said, printed = record["answer"], " ".join(capsys.readouterr().out.split())
    assert {"alpha", "beta", "offset", "multiplier_0"} <= {*said["numbers"]}
    assert {one["verdict"] for one in record["exponents"]} <= {"differs", "equivalent", "not settled"}
    assert said["trust"] != "high"  # nobody knows what tuning left to luck
    assert said["reasons"][0] == "16 of 16 cells are paired"
    assert "no twin shows what tuning left to luck" in said["reasons"]
    page = html.unescape((home / "multirun" / "c" / "comparison.html").read_text())
    trust = f"Trust: {'; '.join([said['trust'], *said['reasons']])}. "
    assert trust.strip() in page
    assert f"<b>Next:</b> {said['next']}" in page
    assert words(f"{record['sentence']} {trust.strip()}").plain in printed
    assert f" Next: {said['next']}" in printed
    twin = run(home, studies=["fast", "slow"], name="c", exponents=True, twin=again(home, "fast_again", seed=1000))
    assert not any("no twin" in reason for reason in twin["answer"]["reasons"])
    pair = read_comparison(home / "multirun" / "c")
    assert pair is not None
    size = ExponentDifference(difference=Interval(0.0, -0.2, 0.2), method="parametric", parameter="N_exponent")
    pair = replace(pair, exponents=[replace(size, verdict="not settled")])
    pair = replace(pair, answer=answer(pair, 16, []))
    assert slope_table(pair).rows[-1][-2:] == ["not settled", "low: N* ± 32 % at 4 times C"]
    assert any("noise alone may make the difference" in one and "N* in C" in one for one in pair.answer.reasons)
    cells = pd.read_csv(home / "multirun/slow/cells.csv").assign(flags="search_edge")
    shutil.copytree(home / "multirun/slow", home / "multirun/flagged")
    cells.to_csv(home / "multirun/flagged/cells.csv", index=False)
    flagged = run(home, studies=["fast", "flagged"], name="c")["answer"]
    assert "flagged search_edge" in flagged["reasons"]
    assert flagged["next"].startswith("Widen the range")


def test_a_bad_twin_is_one_sentence(home: Path) -> None:
    wrong = {
        "the seed is that of the arm": again(home, "same_seed"),
        "optim.name was not set and is now sgd": again(home, "other", seed=1, **{"optim.name": "sgd"}),
        "of wide's 20 cells 4 of other sizes": again(home, "wide", GRID | {"width": (4, 8, 16, 32, 64)}, seed=1),
    }
    for sentence, twin in wrong.items():
        with pytest.raises(InputError, match=sentence):
            run(home, studies=["fast", "slow"], name="c", twin=twin)
    with pytest.raises(InputError, match="`twin` must be of arms that are studies, but got fast with tables"):
        run(home, tables=["a.csv", "b.csv"], columns=COLUMNS, out="found", twin="fast")


def test_the_ratio_of_cells_csv_is_what_is_compared(home: Path) -> None:
    """The difference of alpha by an independent regression of the log ratio."""
    record = run(home, studies=["fast", "slow"], name="c")
    one, two = (pd.read_csv(home / "multirun" / s / "cells.csv") for s in ("fast", "slow"))
    design = np.column_stack([np.ones(16), np.log(one["n_params"]), np.log(one["n_seen"])])
    slope = np.linalg.lstsq(design, np.log(two["test_loss"] / one["test_loss"]), rcond=None)[0]
    assert record["slopes"]["alpha"]["difference"]["value"] == pytest.approx(-slope[1])
    assert record["slopes"]["beta"]["difference"]["value"] == pytest.approx(-slope[2])


def test_by_compares_arms_of_one_study_and_all_pairs_of_three(home: Path) -> None:
    record = run(home, by="optimizer", name="both")
    assert [arm["axes"] for arm in record["arms"]] == [{"optimizer": "adam"}, {"optimizer": "sgd"}]
    assert record["verdict"]["offset"] == "equivalent"
    assert "pairs" not in record
    axes = {"optimizer": ("adam", "adamw", "sgd"), **GRID}
    Builder(axes=axes, noise=0.01).write(home / "multirun" / "three")
    three = run(home, by="optimizer", name="three")
    pairs = [[arm["axes"]["optimizer"] for arm in pair["arms"]] for pair in three["pairs"]]
    assert pairs == [["adam", "adamw"], ["adam", "sgd"], ["adamw", "sgd"]]
    assert three["arms"] == three["pairs"][0]["arms"]
    kept = read_comparison(home / "multirun" / "three")
    assert kept is not None
    rows = pairs_table(kept.pairs).rows
    assert [row[0] for row in rows] == [f"{pair.names[1]} − {pair.names[0]}" for pair in kept.pairs]
    for row, pair in zip(rows, three["pairs"], strict=True):
        assert row[-1].endswith(f", {pair['verdict']['offset']}")
        assert f"{pair['offset']['value']:.3f}".replace("-", "−") in row[-1]
    page = (home / "multirun" / "three" / "comparison.html").read_text()
    assert (
        page.index("ln of the loss")
        < page.index("<section>")
        < html.unescape(page).index(three["pairs"][0]["sentence"])
    )


def test_the_report_of_arms_repeats_what_was_compared(home: Path) -> None:
    folder = home / "multirun" / "told"
    Builder(axes={"optimizer": ("adam", "sgd"), **GRID}, noise=0.01).fitted(folder)
    with chdir(home):
        report.write(report.ReportConfig(name="told", formats=("png",), dpi=30))
    assert "mnist_scaling.compare by=optimizer name=told" in (folder / "report.html").read_text()
    record = run(home, by="optimizer", name="told")
    arms = load_arms(folder)
    assert load_comparison(arms[0]) == [f"{record['what']} {record['sentence']}"]
    assert "The whole comparison" in report_page.overview(arms, ["a", "b"], load_comparison(arms[0]))
    other = json.loads((folder / "comparison.json").read_text())
    other["arms"][0]["sha256"] = "another table"
    (folder / "comparison.json").write_text(json.dumps(other))
    assert load_comparison(arms[0]) == []


def test_arms_of_a_further_axis_are_compared_within_each_of_its_values(home: Path) -> None:
    Builder(axes={"optimizer": ("adam", "sgd"), "parametrization": ("x", "y"), **GRID}).write(
        home / "multirun" / "crossed"
    )
    record = run(home, by="optimizer", name="crossed")
    axes = [[arm["axes"] for arm in pair["arms"]] for pair in record["pairs"]]
    assert [(a["parametrization"], b["parametrization"]) for a, b in axes] == [("x", "x"), ("y", "y")]


def test_two_tables_as_a_user_types_them(home: Path, command: Callable[..., CompletedProcess[str]]) -> None:
    columns = [f"columns.{k}={v}" for k, v in vars(COLUMNS).items() if v]
    arguments = ["tables=[a.csv,b.csv]", *columns, "out=found", "bootstrap.draws=200"]
    done = command("mnist_scaling.compare", *arguments, cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith("Alpha, the exponent of N,")  # the verdict is the first thing that is said
    printed = command("mnist_scaling.compare", *arguments, "format=json", cwd=home).stdout
    assert printed == (home / "found" / "comparison.json").read_text()
    record = json.loads(printed)
    assert [arm["table"] for arm in record["arms"]] == ["../a.csv", "../b.csv"]
    assert math.exp(record["offset"]["value"]) == pytest.approx(0.9, abs=0.01)
    assert record["verdict"] == {"alpha": "equivalent", "beta": "equivalent", "offset": "differs"}
    assert "Only the offset differs" in done.stdout.replace("\n", " ")
    assert record["command"].startswith("python -m mnist_scaling.compare 'tables=[a.csv,b.csv]'")


def test_several_at_once_leave_what_hydra_keeps_where_hydra_keeps_it(
    home: Path, command: Callable[..., CompletedProcess[str]]
) -> None:
    several = ("studies=[fast,slow]", "name=m", "exponents=false", "bootstrap.draws=100,101")
    done = command("mnist_scaling.compare", "-m", *several, cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Written:") == 2
    (kept,) = home.rglob("multirun.yaml")
    assert re.fullmatch(r"multirun/[\d-]{10}/[\d-]{8}/multirun.yaml", kept.relative_to(home).as_posix())


def test_arms_inside_one_table(home: Path) -> None:
    tables = [pd.read_csv(home / f"{name}.csv").assign(model=name) for name in ("a", "b")]
    pd.concat(tables).to_csv(home / "long.csv", index=False)
    record = run(home, tables=["long.csv"], by="model", out="inside", columns=COLUMNS)
    apart = run(home, tables=["a.csv", "b.csv"], out="apart", columns=COLUMNS)
    assert [arm["axes"] for arm in record["arms"]] == [{"model": "a"}, {"model": "b"}]
    assert record["slopes"] == apart["slopes"]
    assert record["multiplier"] == apart["multiplier"]


def test_tables_say_whether_their_rows_are_tuned(home: Path) -> None:
    """Where they count no trials, luck is allowed for unless their owner denies it."""
    asked = {"tables": ["a.csv", "b.csv"], "columns": COLUMNS}
    lucky, none = (run(home, out=f"tuned_{said}", tuned=said, **asked) for said in (None, False))
    assert lucky["tuning_luck"]["sd"] > 0
    assert none["tuning_luck"]["sd"] is None
    assert none["slopes"]["beta"]["difference"]["value"] == lucky["slopes"]["beta"]["difference"]["value"]


def test_a_column_that_nobody_named_is_said_of_the_arm_that_mixes_it(home: Path) -> None:
    table = pd.read_csv(home / "a.csv")
    kinds = [table.assign(optimiser=name, loss=table["loss"] * k) for name, k in (("adam", 1.0), ("sgd", 1.3))]
    pd.concat(kinds).to_csv(home / "mixed.csv", index=False)
    asked = {"tables": ["mixed.csv", "b.csv"], "out": "mixed", "columns": COLUMNS}
    found = [f["message"] for f in run(home, **asked)["flags"] if f["code"] == "mixed_column"]
    assert [text.split(" has ")[0] for text in found] == ["mixed: Column optimiser"]
    one = run(home, **{**asked, "where": "loss > 0"} | {"tables": ["a.csv", "b.csv"]})
    assert "mixed_column" not in {f["code"] for f in one["flags"]}


def test_columns_in_another_unit_are_said_of_their_arm(home: Path) -> None:
    for name, unit in (("a", 1.0), ("b", 30.0)):
        table = pd.read_csv(home / f"{name}.csv")
        logs = table.assign(params=np.log(table["params"]), loss=table["loss"] * unit)
        logs.to_csv(home / f"{name}_logs.csv", index=False)
    flags = run(home, tables=["a_logs.csv", "b_logs.csv"], out="units", columns=COLUMNS)["flags"]
    found = [f["message"] for f in flags if f["code"] in ("input_suspect", "unit_suspect")]
    assert [text.split(" lies")[0].split(",")[0] for text in found] == [
        "a_logs: Every N", "b_logs: The largest loss", "b_logs: Every N",
    ]  # fmt: skip


def test_a_table_of_too_many_fields_is_no_arm(home: Path) -> None:
    text = (home / "a.csv").read_text().splitlines()
    (home / "long.csv").write_text("\n".join([text[0], *(f"{line}," for line in text[1:])]) + "\n")
    with pytest.raises(InputError, match="line 2 has 5 and the header 4"):
        run(home, tables=["long.csv", "b.csv"], out="long", columns=COLUMNS)


def test_two_seeds_give_two_answers_and_one_seed_one(home: Path) -> None:
    first, again, other = (run(home, studies=["fast", "slow"], name="c", seed=s)["offset"] for s in (0, 0, 1))
    assert first == again
    assert first["low"] != other["low"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"studies": ["fast"], "name": "c"}, "at least two arms, but got only fast"),
        ({"studies": ["fast", "fast"], "name": "c"}, "different arms, but fast is there twice"),
        ({"tables": ["a.csv", "./a.csv"], "out": "x"}, "but a.csv is there twice"),
        ({"studies": ["fast", "slow"]}, "`name` must be given with `studies`"),
        ({"tables": ["a.csv", "b.csv"]}, "`out` must be given with `tables`"),
        ({"studies": ["fast", "slow"], "by": "width", "name": "c"}, "but got studies and by"),
        ({"name": "fast"}, "must say what the arms are, but got none"),
        ({"studies": ["fast", "both"], "name": "c"}, "must be one arm, but both has 2"),
        ({"studies": ["fast", "nope"], "name": "c"}, "multirun/nope/cells.csv, but there is none"),
        ({"by": "nope", "name": "fast"}, "`by` must name columns of the table, but it has no nope"),
        ({"by": "n_repeats", "name": "fast"}, "a column with at least two values, but n_repeats of"),
        (
            {"tables": ["a.csv", "b.csv"], "out": "x", "columns": ColumnsConfig(N="n", loss="loss")},
            "must have the column",
        ),
        ({"studies": ["fast", "slow"], "name": "c", "allow": ("seeds",)}, "`allow` must be of data, but got seeds"),
        ({"studies": ["fast", "slow"], "name": "c", "margin": -1.0}, "`margin > 0` must hold, but got -1"),
        ({"by": "width", "name": "fast"}, "must cover a common range of N"),
    ],
)
def test_what_is_refused(home: Path, config: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        run(home, **config)
    assert said in str(error.value)


def test_other_data_are_refused_unless_they_are_wanted(home: Path) -> None:
    for name, data in (("fast", "mnist"), ("slow", "fashion_mnist")):
        path = home / "multirun" / name / "study.json"
        study = json.loads(path.read_text())
        path.write_text(json.dumps(study | {"data": [{"name": data, "classes": 10, "sha256": None}]}))
    with pytest.raises(InputError, match=r"on the same data, but fast was trained on mnist, slow on fashion_mnist"):
        run(home, studies=["fast", "slow"], name="c")
    flags = run(home, studies=["fast", "slow"], name="c", allow=("data",))["flags"]
    assert [flag["code"] for flag in flags] == ["other_data"]
    assert "fashion_mnist" in flags[0]["message"]


def test_arms_that_were_tuned_and_repeated_otherwise_are_said_to_be(home: Path) -> None:
    def said() -> list[str]:
        flags = run(home, studies=["fast", "more"], name="c")["flags"]
        return [flag["message"] for flag in flags if flag["code"] == "other_effort"]

    shutil.copytree(home / "multirun/fast", home / "multirun/more")
    path = home / "multirun/more/cells.csv"
    cells = pd.read_csv(path)
    trials, repeats = (int(cells[k].median()) for k in ("n_trials", "n_repeats"))
    assert said() == []
    cells.assign(n_trials=trials + 4).to_csv(path, index=False)
    assert said() == [f"A cell of fast has {trials} trials (more: {trials + 4})."]
    cells.assign(n_trials=trials + 4, n_repeats=repeats + 2).to_csv(path, index=False)
    [both] = said()
    assert (
        both == f"A cell of fast has {trials} trials (more: {trials + 4}) and {repeats} repeats (more: {repeats + 2})."
    )
    assert both in (home / "multirun/c/comparison.html").read_text()
    some = cells["n_trials"].where(cells.index % 4 > 0, 2 * trials)
    cells.assign(n_trials=some).to_csv(path, index=False)
    assert said() == [f"A cell of fast has {trials} trials (more: {some.mean():.3g})."]
    cells.assign(n_trials=1).to_csv(path, index=False)
    assert said() == [], "an arm that was not tuned has no trials to compare"


def test_an_unfinished_arm_is_compared_on_what_it_has_and_flagged(home: Path) -> None:
    folder = Builder(axes=GRID, noise=0.01).write(home / "multirun" / "short")
    cells, trials = (pd.read_csv(folder / f"{table}.csv") for table in ("cells", "trials"))
    cells.loc[:1, "test_loss"] = np.nan
    waiting = trials["width"].isin([4, 8]) & (trials["data_fraction"] == 0.125) & (trials["stage"] == "repeat")
    cells.to_csv(folder / "cells.csv", index=False)
    trials[~waiting].to_csv(folder / "trials.csv", index=False)
    Builder(axes=GRID, noise=0.01, seed=1).write(home / "multirun" / "whole")
    record = run(home, studies=["short", "whole"], name="c")
    assert record["cells"] == 14
    assert [flag["code"] for flag in record["flags"]] == ["arm_unfinished", "cells_left_out"]
    assert "14 of 16 cells" in record["flags"][0]["message"]
