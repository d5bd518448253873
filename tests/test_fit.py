"""python -m mnist_scaling.fit as a user runs it: studies, foreign tables, and everything that can be wrong with one."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from mnist_scaling.config.fit_schema import FitConfig, PredictConfig
from mnist_scaling.fitting import get_law
from mnist_scaling.planning.studied import studied

pytestmark = pytest.mark.slow

FIT = "mnist_scaling.fit"
COLUMNS = ("columns.N=N", "columns.D=D", "columns.C=C", "columns.loss=loss")
TRUTH = {"E": 0.03, "A": 3.0, "B": 60.0, "alpha": 0.35, "beta": 0.6}


def write(path: Path, columns: dict[str, list]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows(zip(*columns.values(), strict=True))
    return path


def rows(widths: int = 4, fractions: int = 5, noise: float = 0.03) -> dict[str, list]:
    """A study's cells: widths in sqrt2 steps, halved data, three repeats."""
    w, u = np.meshgrid(8 * 2 ** (np.arange(widths) / 2), 50_000 / 2.0 ** np.arange(fractions))
    n, d = (10 * w**2 + 100 * w).ravel().round(), u.ravel().round()
    loss = get_law("additive").predict(TRUTH, N=n, D=d)
    runs = loss[:, None] * np.exp(noise * np.random.default_rng(0).standard_normal((len(n), 3)))
    return {
        "width": w.ravel().tolist(),
        "n_params": n.tolist(),
        "n_params_hidden": (n / 2).tolist(),
        "n_train": d.tolist(),
        "n_seen": d.tolist(),
        "flops": (6 * (n + 500 * np.sqrt(n)) * d).tolist(),
        "flops_6nd": (6 * n * d).tolist(),
        "test_loss": runs.mean(axis=1).tolist(),
        "test_loss_se": (runs.std(axis=1, ddof=1) / np.sqrt(3)).tolist(),
        "n_repeats": [3] * len(n),
        "flags": [""] * len(n),
    }


def foreign(**change: list) -> dict[str, list]:
    cells = rows()
    return {"N": cells["n_params"], "D": cells["n_seen"], "C": cells["flops"], "loss": cells["test_loss"]} | change


def test_a_study(command, tmp_path):
    cells = rows()
    cells["flags"][4] = "search_edge;undertrained"
    cells["test_loss"][7] = ""
    cells["tuned"] = ["yes"] * 15 + ["no"] + ["yes"] * 4
    write(tmp_path / "multirun/mine/cells.csv", cells)
    done = command(FIT, "name=mine", "bootstrap.draws=50", "details=true")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["cells.csv", "fits.json"]
    found = json.loads((tmp_path / "multirun/mine/fits.json").read_text(), parse_constant=pytest.fail)
    check_schema(found)
    assert found["laws"]["additive"]["n"] == 19
    assert found["data"]["left_out"] == [{"row": 7, "why": "no loss"}]
    assert {"search_edge", "undertrained"} <= {f["code"] for f in found["flags"]}
    assert [cell["row"] for f in found["flags"] if f["code"] == "uncertified" for cell in f["cells"]] == [15]
    additive = found["laws"]["additive"]
    assert additive["holdout"]["n"] > 1
    assert found["laws"]["power_N"]["slice"]["fixed"] == "D"
    assert found["laws"]["power_N"]["slice"]["value"] == 50_000
    assert found["tuning_change"]["status"] == "multirun/mine has no study.json: there are only cells."
    for text in ("additive", "AICc", "Left out: 1 row with no loss", "search_edge", "multirun/mine/fits.json"):
        assert text in done.stdout, text
    assert not re.search(r"[^ ]…", done.stdout)  # a pipe has no width, and nothing is cut


def check_schema(found: dict) -> None:
    """The keys that DESIGN 4 fixes."""
    assert found["schema"] == 1
    for law in found["laws"].values():
        assert {"formula", "status", "n", "objective", "rmse_log", "aicc", "holdout", "params", "flags"} <= law.keys()
        assert {"rmse_log", "n"} <= law["holdout"].keys()
        assert all(p.keys() == {"value", "low", "high"} for p in law["params"].values())
        assert all(isinstance(code, str) for code in law["flags"])
    assert found["selected"] is None or found["selected"] in found["laws"]
    headline = found["headline"]
    numbers = ("slope_N", "slope_D", "N_exponent", "D_exponent", "loss_exponent", "floor", "misfit")
    for key in numbers:
        assert headline[key].keys() >= {"value", "low", "high"}
        assert headline[key]["value"] is not None or headline[key]["why"].endswith(".")
    assert {"N", "D"} <= headline["at"].keys()
    assert set(headline["laws"]) <= {"coupled", "multiplicative_floor"}
    assert isinstance(headline["settled"], bool)
    assert [one["reach"] for one in headline["loss"]] == [2, 4, 8, 30]
    assert all(one.keys() >= {"reach", "C", "N", "D", "value", "low", "high"} for one in headline["loss"])
    assert found["frontier"].keys() == {"pareto", "hull", "isoflop", "parametric"}
    for method in found["frontier"].values():
        for key in ("N_exponent", "D_exponent", "loss_exponent"):
            assert method[key].keys() == {"value", "low", "high"}
        assert isinstance(method["flags"], list)
    for flag in found["flags"]:
        assert flag.keys() >= {"code", "severity", "message", "remedy", "cells"}
        assert flag["message"].endswith(".")
        assert flag["remedy"].endswith(".")
        assert flag["severity"] in ("info", "warning", "error")


def test_a_foreign_table(command, tmp_path):
    path = write(tmp_path / "runs.csv", foreign())
    done = command(FIT, f"table={path.name}", *COLUMNS, "delta=1e-3", "out=fits/mine", "bootstrap.draws=50")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "fits/mine/fits.json").read_text())
    check_schema(found)
    assert found["settings"]["delta"] == 1e-3
    assert "tuning_change" not in found
    assert found["laws"]["additive"]["fit"]["delta_reason"] == "given"


def test_rows_that_are_the_best_of_several_settings_have_luck_in_their_intervals(in_process, tmp_path):
    """A table can't show it, so its owner says so."""
    cells = rows(5, 6)
    columns = ("columns.N=n_params", "columns.D=n_seen", "columns.loss=test_loss", "columns.se=test_loss_se")
    path, widths = write(tmp_path / "runs.csv", cells), {}
    for tuned in ("null", "false", "true"):
        code, _, said = in_process(f"table={path.name}", f"tuned={tuned}", *columns, f"out=fits/{tuned}")
        assert code == 0, said
        found = json.loads((tmp_path / "fits" / tuned / "fits.json").read_text())
        assert found["data"].get("tuned") == json.loads(tuned)
        widths[tuned] = found["headline"]["slope_D"]["high"] - found["headline"]["slope_D"]["low"]
    assert widths["null"] == widths["false"] < 0.95 * widths["true"]


def test_a_ladder_has_its_exponent_and_refuses_what_is_off_it(in_process, tmp_path):
    n = np.geomspace(1e4, 1e6, 7)
    path = write(tmp_path / "runs.csv", {"N": n.tolist(), "D": (20 * n).tolist(), "loss": (30 * n**-0.3).tolist()})
    columns = ("columns.N=N", "columns.D=D", "columns.loss=loss", "bootstrap.draws=50")
    code, out, err = in_process(f"table={path.name}", *columns)
    assert code == 0, err
    assert "of what it is along D = 20 N (with C = 6 N D assumed)" in out
    assert re.search(r"^-d ln L/d ln C +0\.15\d .*high *$", out, re.MULTILINE)
    found = json.loads((tmp_path / "fits.json").read_text())["headline"]
    assert found["ray"]["N"]["value"] == pytest.approx(0.3, abs=1e-3)
    assert found["slope_N"]["value"] is None
    code, _, err = in_process(f"table={path.name}", *columns, "predict.N=1e7", "predict.D=1e7")
    assert code == 1
    assert "The rows are all near D = 20 N, and say nothing of a loss off that line." in err


def test_one_variable_is_enough(command, tmp_path):
    c = np.geomspace(1e13, 1e17, 7)
    path = write(tmp_path / "runs.csv", {"flops": c.tolist(), "loss": (200 / c**0.1).tolist()})
    done = command(FIT, f"table={path.name}", "columns.C=flops", "columns.loss=loss", "loss=squared")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "fits.json").read_text())["laws"]["power_C"]
    assert found["params"]["gamma"]["value"] == pytest.approx(0.1)
    assert found["params"]["A"]["value"] == pytest.approx(200)


def test_everything_on_at_once(command, tmp_path):
    write(tmp_path / "multirun/mine/cells.csv", rows())
    more = (
        "leave_future_out=true",
        "predict.N=1e5",
        "predict.D=1e5",
    )
    done = command(FIT, "name=mine", "bootstrap.draws=50", *more)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "multirun/mine/fits.json").read_text(), parse_constant=pytest.fail)
    assert found["headline"]["asked"]["low"] < found["headline"]["asked"]["value"] < found["headline"]["asked"]["high"]
    assert found["headline"]["asked"]["at"] == {"N": 1e5, "D": 1e5}
    assert found["headline"]["asked"]["reach"] > 1
    for text in ("Predicted loss", "Leave-future-out", "lie inside"):
        assert text in done.stdout, text
    assert not re.search(r"[^ ]…", done.stdout)  # a pipe has no width, and nothing is cut


def test_the_answer_is_the_first_thing_said_and_fits_a_screen(command, tmp_path):
    """L(4 D) / L(D) of the model; the same sentence in the terminal and in the file, and json prints the file."""
    write(tmp_path / "multirun/mine/cells.csv", rows())
    done = command(FIT, "name=mine", "bootstrap.draws=50")
    found = json.loads((tmp_path / "multirun/mine/fits.json").read_text())
    answer = found["answer"]
    ratio, low, high = (found["headline"]["factors"]["D"][key] for key in ("value", "low", "high"))
    assert answer["sentence"].startswith(
        f"Four times the data should cut the loss to {ratio:.2f} [{low:.2f}, {high:.2f}] of what it is at the largest"
    )
    assert done.stdout.startswith(answer["sentence"])
    assert answer["trust"] in ("high", "fair", "low")
    assert bool(answer["reasons"]) == (answer["trust"] != "high")
    assert {"slope_N", "slope_D", "floor", "loss_30"} <= set(answer["numbers"])
    assert sum(len(textwrap.wrap(line, 80)) or 1 for line in done.stdout.splitlines()) <= 24
    printed = command(FIT, "name=mine", "bootstrap.draws=50", "format=json").stdout
    assert printed == (tmp_path / "multirun/mine/fits.json").read_text()


@pytest.mark.parametrize("study", ["quickstart", "width_x_data", "dropout_0", "noise_50"])
def test_a_study_of_ones_own_fits_a_screen_with_flags_and_advice(command, tmp_path, study):
    """Kept tables as one's own: their advice has a command, which tables that came with the repository don't have."""
    shutil.copytree(Path(__file__).parents[1] / "multirun/reference" / study, tmp_path / "multirun/mine")
    said = command(FIT, "name=mine", "bootstrap.draws=50").stdout
    assert sum(len(textwrap.wrap(line, 80)) or 1 for line in said.splitlines()) <= 24, said
    assert said.count("mnist_scaling.plan name=mine") == 1


def test_a_flag_that_is_an_error_leaves_no_trust(in_process, tmp_path):
    write(tmp_path / "runs.csv", foreign(loss=[0.5] * 20))
    code, out, _ = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=10")
    assert code == 0
    assert json.loads((tmp_path / "fits.json").read_text())["answer"]["trust"] == "low"
    assert "Trust in this: low; flagged constant_loss" in out


def test_where_keeps_some_rows(command, tmp_path):
    path = write(tmp_path / "runs.csv", foreign(kept=[0] * 5 + [1] * 15))
    done = command(FIT, f"table={path.name}", *COLUMNS, "bootstrap.draws=20", 'where="kept == 1"')
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "fits.json").read_text())["data"]["rows"] == list(range(5, 20))


def test_the_smallest_study_says_what_it_lacks(command, tmp_path):
    write(tmp_path / "multirun/tiny/cells.csv", rows(2, 2))
    done = command(FIT, "name=tiny", "bootstrap.draws=50")
    assert done.returncode == 0, done.stderr
    assert "too_few_cells" in done.stdout
    found = json.loads((tmp_path / "multirun/tiny/fits.json").read_text(), parse_constant=pytest.fail)
    assert found["laws"]["additive"]["params"]["alpha"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("change", "arguments", "text"),
    [
        ({"loss": ["high"] + [1.0] * 19}, (), "Column loss of runs.csv must hold numbers, but line 2 has 'high'"),
        ({"loss": [1.0] * 19 + [0.0]}, (), "`loss > 0` must hold in every row of runs.csv, but line 21 has 0"),
        ({"loss": [1.0] * 19 + [-1.0]}, (), "but line 21 has -1"),
        ({"loss": [""] * 20}, (), "at least one row with every number"),
        ({}, ("columns.C=compute",), "must have the column compute, but has only N, D, C, loss"),
        ({}, ("columns.C=compute",), "loss: `columns.C` must be one of these; mend it."),
        ({}, ("columns.loss=los",), "loss: `columns.loss` must be one of these; did you mean `loss`?"),
        (
            {},
            ("laws=additive,kaplan",),
            "write `laws=[additive,kaplan]` where a list is meant, or give",
        ),
        ({}, ("where=N>4",), "but got `where=N>4`: mend it, or quote text twice: `where='\"N>4\"'`."),
        ({}, ("where='N >> 4'",), "(RShift is not among them): write one such as `width >= 4`."),
        ({}, ("columns.C=N",), "must name a column of its own, but columns.N and columns.C are both N: mend one"),
        ({}, ("columns.loss=null",), "columns.loss is empty"),
        ({}, ("delta=-1",), "`delta > 0` or `delta=auto` must hold, but got -1"),
        ({}, ("delta=big",), "must be a positive number or auto, but got 'big'"),
        ({}, ("loss=cauchy",), "must be one of huber, squared, absolute"),
        ({}, ("laws=[addtive]",), "must name laws among"),
        ({}, ("laws=[repeated]",), "needs N, D, U, but U is not given"),
        ({}, ("weights=inverse_variance",), "needs a positive standard error in every row"),
        ({}, ("bootstrap.level=2",), "`0 < bootstrap.level < 1` must hold, but got 2"),
        ({}, ("where='nope == 1'",), "`where` must be a condition on columns"),
        ({}, ("where='N < 0'",), "keeps none"),
        ({}, ("isoflop=circle",), "must be one of parabola, argmin"),
        ({}, ("table=absent.csv",), "existing CSV file, but absent.csv is none"),
        ({}, ("name=mine",), "Exactly one of `name` and `table` must be given, but got both"),
        ({}, ("deltaa=1",), "did you mean `delta`?"),
        ({}, ("mask_chance=true",), "`mask_chance=true` must go with a number of classes"),
        (
            {},
            ("columns.C=null", "isoflop=argmin"),
            "`isoflop` needs N and C, but the table names no C",
        ),
        ({}, ("predict.C=3e10FLOPs",), "`predict.C` must be a number, but got '3e10FLOPs': write a plain number such"),
        ({}, ("columns.D=null", "predict.D=1e6"), "`predict.D` needs D, but the table names no D"),
        (
            {},
            ("laws=[additive]", "predict.N=1e6"),
            "a point that the model has. The model is of N and D: give predict.D=…, too.",
        ),
        ({}, ("loss=squared", "delta=1e-3"), "`delta` acts on loss=huber alone"),
        (
            {"loss": ["1,234.5"] + [1.0] * 19},
            (),
            "line 2 has '1,234.5': write a plain number such as",
        ),
        ({"N": ["12 %"] + [1.0] * 19}, (), "line 2 has '12 %': write a plain number"),
        ({"N": ["7M"] + [1.0] * 19}, (), "line 2 has '7M': write a plain number"),
        ({"loss": [1.0] * 19 + ["inf"]}, (), "line 21 has inf. Leave the field empty where a run diverged"),
        ({}, ("by=family",), "`by` must name columns of the table, but it has no family"),
        ({"loss": [1e-300 * (k + 1) for k in range(20)]}, (), "`1e-30 <= loss <= 1e+30` must hold in every row"),
        ({}, ("where='__import__(\\'os\\').system(\\'touch touched\\') == 0'",), "`where` must be a condition"),
    ],
)
def test_bad_input_is_one_sentence(in_process, tmp_path, change, arguments, text):
    write(tmp_path / "runs.csv", foreign(**change))
    code, out, err = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=20", *arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("Error: ")
    assert text in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not (tmp_path / "fits.json").exists()


@pytest.fixture
def in_process(tmp_path, monkeypatch, capsys):
    """The command in this process: a third of a second instead of two."""
    from mnist_scaling import cli
    from mnist_scaling.fit import main

    def run(*arguments: str) -> tuple[int, str, str]:
        # Later arguments win, as they would if the user had typed only them.
        last = {a.split("=")[0]: a for a in arguments}
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["fit", *last.values()])
        code = 0
        try:
            cli.run(main, "fit")
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_table_with_spaces_after_commas_and_blank_lines_is_the_same_table(in_process, tmp_path):
    path = write(tmp_path / "runs.csv", foreign())
    lines = path.read_text().splitlines()
    found = []
    for text in ("\n".join(lines), "\n\n".join(line.replace(",", ", ") for line in lines)):
        path.write_text(text + "\n")
        code, _, err = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=10", "laws=[power_N]")
        assert code == 0, err
        found.append(json.loads((tmp_path / "fits.json").read_text()))
    assert found[0]["laws"]["power_N"]["params"] == found[1]["laws"]["power_N"]["params"]
    assert found[1]["data"]["rows"] == [2 * row + 1 for row in found[0]["data"]["rows"]]  # as a spreadsheet counts


@pytest.mark.parametrize("column", ["n_params", "test_loss", "seconds"])
def test_thousands_separators_in_a_studys_table_are_refused(in_process, tmp_path, column):
    cells = rows() | {"seconds": [1.0] * 20}
    cells[column] = ["1,234", *cells[column][1:]]
    write(tmp_path / "multirun/mine/cells.csv", cells)
    code, out, err = in_process("name=mine", "bootstrap.draws=10")
    assert (code, out) == (1, "")
    assert f"Column {column} of" in err
    assert "line 2 has '1,234': write a plain number" in err
    assert err.count("\n") == 1


def test_columns_that_nobody_named_are_said(in_process, tmp_path):
    table = foreign()
    both = {key: values * 2 for key, values in table.items()} | {"family": ["mlp"] * 20 + ["cnn\x1b[31m"] * 20}
    write(tmp_path / "runs.csv", both | {"seed": [0] * 20 + [1] * 20, "lr": [0.1] * 30 + [0.2] * 10})
    asked = ("table=runs.csv", *COLUMNS, "bootstrap.draws=10", "laws=[power_N]", "details=true")
    code, out, err = in_process(*asked)
    assert code == 0, err
    found = [f for f in json.loads((tmp_path / "fits.json").read_text())["flags"] if f["code"] == "mixed_column"]
    assert [f["message"].split(" has ")[0] for f in found] == ["Column family", "Column lr"]
    assert "by=family" in found[0]["remedy"]
    assert "\x1b" not in out
    assert "cnn\\x1b[31m" in out
    code, out, err = in_process(*asked, "by=[family,lr]")
    assert code == 0, err
    assert "mixed_column" not in out


def test_trials_of_many_rates_are_no_repeats(in_process, tmp_path):
    """A random search that was exported as it is: each cell has five runs, each of a rate of its own."""
    table = {key: values * 5 for key, values in foreign().items()}
    rates = np.random.default_rng(0).uniform(1e-4, 1e-1, 100).round(6)
    write(tmp_path / "runs.csv", table | {"learning_rate": rates.tolist(), "runtime": (100 * rates).tolist()})
    code, _, err = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=10", "laws=[power_N]")
    assert code == 0, err
    found = [f for f in json.loads((tmp_path / "fits.json").read_text())["flags"] if f["code"] == "mixed_column"]
    assert [f["message"].split(" has ")[0] for f in found] == ["Column learning_rate"]
    assert found[0]["remedy"].startswith("Give the best run of each cell alone")


def test_a_key_that_is_given_twice_is_said_and_the_last_counts(in_process, tmp_path):
    write(tmp_path / "runs.csv", foreign())
    code, _, err = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=10", "laws=[power_N]", "seed=1", "++seed=2")
    assert (code, err) == (0, "Note: `seed` is given 2 times: the last one counts.\n")
    assert json.loads((tmp_path / "fits.json").read_text())["config"]["seed"] == 2


def test_a_family_of_other_sizes_is_said_and_a_name_of_sizes_is_not(in_process, tmp_path):
    table = foreign()
    both = {key: values * 2 for key, values in table.items()} | {"family": ["mlp"] * 20 + ["cnn"] * 20}
    both["N"] = table["N"] + [1.1 * n for n in table["N"]]
    both["size"] = [f"size {n:.0f}" for n in both["N"]]
    write(tmp_path / "runs.csv", both)
    code, _, err = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=10", "laws=[power_N]")
    assert code == 0, err
    found = [f for f in json.loads((tmp_path / "fits.json").read_text())["flags"] if f["code"] == "mixed_column"]
    assert [(f["message"].split(" has ")[0], f["severity"]) for f in found] == [("Column family", "info")]


def test_rows_left_out_are_counted_as_rows_and_no_law_has_its_reason(in_process, tmp_path):
    table = foreign()
    repeats = {key: values * 3 for key, values in table.items()}
    repeats["loss"] = [x * (1 + 0.01 * i / 60) for i, x in enumerate(repeats["loss"])]
    repeats["loss"][::30] = [""] * 2
    write(tmp_path / "runs.csv", repeats)
    code, out, err = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=10", "laws=[]", "details=true")
    assert code == 0, err
    assert "Left out: 2 rows with no loss" in out
    assert "No law is fitted: no law was asked for." in out
    assert "parametric: no joint law was asked for" in out
    few = {key: values[:5] for key, values in table.items()}
    write(tmp_path / "runs.csv", few)
    code, out, err = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=10", "laws=[additive]")
    assert code == 0, err
    assert "No law is fitted: every law that was asked for is refused, for the reason that is given with it" in out


def test_n_and_c_say_the_d_that_they_imply(in_process):
    """50,000 examples are in that study's data, and none of its cells has seen one twice."""
    kept = Path(__file__).parents[1] / "multirun/reference/quickstart"
    for c, said in (("1e9", "D = 7,"), ("3e10", "D = 238,.* largest D, more than the 50,000 examples that there are")):
        code, out, _ = in_process(f"name={kept}", "out=fits", "bootstrap.draws=50", "predict.N=4000", f"predict.C={c}")
        assert code == 0
        assert re.search(f"Predicted loss at N = .*, C = .*, {said}", out)
    assert "that there are" not in in_process(f"name={kept}", "out=fits", "predict.N=4000", "predict.C=1e9")[1]


def test_bad_input_end_to_end(command, tmp_path):
    write(tmp_path / "runs.csv", foreign(loss=["high"] + [1.0] * 19))
    done = command(FIT, "table=runs.csv", *COLUMNS)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: Column loss of runs.csv must hold numbers, but line 2 has 'high': "
        "write a plain number such as 1234.5, without thousands separators, decimal comma, % or unit, leave it empty, "
        "or leave the row out.\n"
    )


def test_the_help_says_what_each_key_means_and_has_no_groups_of_others(command):
    fit, train = (command(module, "--help").stdout for module in (FIT, "mnist_scaling.train"))
    assert "  mask_chance=false\n      Leave out rows with a loss above 95 % of ln(classes).\n" in fit
    assert "model=cnn" not in fit
    assert "  model=cnn|mlp|resnet|transformer\n" in train
    assert "n_trials: 16                 # per cell" in train
    listed = command("mnist_scaling").stdout
    assert "python -m mnist_scaling.compare  compare arms" in listed
    assert "__main__" not in listed


def test_neither_name_nor_table(in_process):
    code, _, err = in_process("seed=1")
    assert code == 1
    assert "but got neither: name=STUDY or table=FILE.csv" in err


def test_an_absent_study(in_process):
    code, _, err = in_process("name=nope")
    assert code == 1
    assert "multirun/nope/cells.csv" in err


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"loss": [0.5] * 20}, "constant_loss"),
        ({"loss": [50.0 + k for k in range(20)]}, "unit_suspect"),
        ({"N": [1000.0] * 20}, "too_few_cells"),
    ],
)
def test_suspicious_tables_are_flagged_and_finish(in_process, tmp_path, change, code):
    write(tmp_path / "runs.csv", foreign(**change))
    status, out, err = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=50")
    assert status == 0, err
    found = json.loads((tmp_path / "fits.json").read_text(), parse_constant=pytest.fail)
    assert code in {f["code"] for f in found["flags"]}
    assert code in out


def test_a_studys_columns_can_be_replaced(in_process, tmp_path):
    """Runs that were trained until they had converged have as many D as cells, but one U."""
    cells = rows(widths=6, fractions=1)
    cells["n_seen"] = [d * (1 + i) for i, d in enumerate(cells["n_seen"])]
    write(tmp_path / "multirun/mine/cells.csv", cells)
    for columns, n in (((), 1), (("columns.D=n_train",), 6)):
        code, _, err = in_process("name=mine", "bootstrap.draws=20", *columns)
        assert code == 0, err
        law = json.loads((tmp_path / "multirun/mine/fits.json").read_text())["laws"]["power_N"]
        assert law["n"] == n
        assert (law["status"] == "ok") == (n == 6)


def test_a_fit_loads_neither_torch_nor_optuna(tmp_path):
    """In a process of its own, because the tests' commands are forks of one that has both."""
    write(tmp_path / "runs.csv", foreign())
    script = (
        "import sys; sys.argv = ['fit', 'table=runs.csv', 'columns.N=N', 'columns.loss=loss', 'bootstrap.draws=5'];"
        "from mnist_scaling import cli; from mnist_scaling.fit import main; cli.run(main, 'fit');"
        "print([m for m in ('torch', 'optuna', 'seaborn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "but runs.csv is empty"),
        ("N,D,C,loss\n", "must have at least one row, but has none beneath its header"),
        ("N,loss,D,C,loss\n1,2,3,4,5\n", "but loss is there twice: rename or remove one"),
        ("N;D;C;loss\n1;2;3;4\n", "must be separated by commas, but its header is separated by ';'"),
        ("N,D,C,loss\n1,2,3,4\n\n1,2,3,4,5\n", "line 4 has 5 and the header 4: name every column"),
        ("N,D,C,loss\n1,2,3,4,\n", "line 2 has 5 and the header 4"),
        ("N,D,C,loss\n1,2,3\n", "line 2 has 3 and the header 4"),
        ("N,D,loss,\n1,2,1,75\n", "line 2 has a value in one that has none: name it, or quote numbers"),
        ("N,D,C,loss\nrun 1,1,2,3,4\n", "line 2 has 5 and the header 4"),
        ("N,D,C,loss\n1,000,2,3,4\n", "line 2 has 5 and the header 4"),
        ("N, D, C, loss\n1, 2, 3, 4\n\n\n1, 2, 3, -4\n", "line 5 has -4"),
        ("\n\nN,D,C,loss\n1,2,3,-4\n", "line 4 has -4"),
        ("sep=;\nN;D;C;loss\n1;2;3;4\n", "but runs.csv begins with 'sep=;': remove that line"),
        ("N,D,C,loss\n1,2,3,\ud83d\n", "save it as CSV in UTF-8"),
    ],
)
def test_a_file_that_pandas_reads_in_silence_is_refused(in_process, tmp_path, text, message):
    (tmp_path / "runs.csv").write_text(text, encoding="utf-8", errors="surrogatepass")
    code, out, err = in_process("table=runs.csv", *COLUMNS)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


def test_another_loss_brings_its_own_standard_error_or_none(in_process, tmp_path):
    cells = rows()
    cells["test_error"] = [loss / 5 for loss in cells["test_loss"]]
    write(tmp_path / "multirun/mine/cells.csv", cells)

    def columns(*more):
        code, _, err = in_process("name=mine", "bootstrap.draws=10", "laws=[power_N]", *more)
        assert code == 0, err
        return json.loads((tmp_path / "multirun/mine/fits.json").read_text())["settings"]["columns"]

    assert columns()["se"] == "test_loss_se"
    alone = columns("columns.loss=test_error")
    assert (alone["se"], alone["repeats"]) == (None, None)
    assert columns("columns.loss=test_error", "columns.se=test_loss_se")["se"] == "test_loss_se"  # it was asked for
    cells["test_error_se"] = cells["test_loss_se"]
    write(tmp_path / "multirun/mine/cells.csv", cells)
    own = columns("columns.loss=test_error")
    assert (own["se"], own["repeats"]) == ("test_error_se", "n_repeats")


def test_a_study_of_data_with_other_classes_knows_its_chance(in_process, tmp_path):
    write(tmp_path / "multirun/mine/cells.csv", rows())
    for facts, classes in (
        ({}, None),
        ({"data": [{"classes": 4}]}, 4),
        ({"data": [{"classes": 4}, {"classes": 9}]}, None),
    ):
        (tmp_path / "multirun/mine/study.json").write_text(json.dumps({"axes": ["width"], "tuned": [], **facts}))
        code, _, err = in_process("name=mine", "bootstrap.draws=10", "laws=[power_N]")
        assert code == 0, err
        assert json.loads((tmp_path / "multirun/mine/fits.json").read_text())["settings"]["classes"] == classes


def test_by_makes_arms_of_anyones_table(in_process, tmp_path):
    table = foreign()
    both = {key: values * 2 for key, values in table.items()} | {"family": ["mlp"] * 20 + ["cnn"] * 20}
    both["loss"] = table["loss"] + [loss * n**0.1 for loss, n in zip(table["loss"], table["N"], strict=True)]
    write(tmp_path / "runs.csv", both)
    code, out, err = in_process("table=runs.csv", *COLUMNS, "by=family", "bootstrap.draws=20", "laws=[power_N]")
    assert code == 0, err
    assert out.count("Arm family=") == 2
    found = json.loads((tmp_path / "fits.json").read_text())
    cnn, mlp = (arm["laws"]["power_N"]["params"]["alpha"]["value"] for arm in found["arms"])
    assert [arm["name"] for arm in found["arms"]] == ["family=cnn", "family=mlp"]
    assert mlp - cnn == pytest.approx(0.1, abs=1e-3)
    assert found["settings"]["by"] == ["family"]


def test_fits_json_holds_what_decides_it(in_process, tmp_path):
    path = write(tmp_path / "runs.csv", foreign())
    code, _, err = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=10", "where='N > 2000'", "out=fits")
    assert code == 0, err
    found = json.loads((tmp_path / "fits/fits.json").read_text())
    assert found["config"]["where"] == found["settings"]["where"] == "N > 2000"
    assert found["config"]["columns"]["loss"] == "loss"
    assert found["data"]["table"] == "../runs.csv"
    assert found["data"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "out=fits" in found["command"]


def test_two_tables_of_one_folder_keep_their_fits(in_process, tmp_path):
    for name in ("a", "b", "b"):
        table = write(tmp_path / f"{name}.csv", foreign())
        code, _, err = in_process(f"table={table}", *COLUMNS, "laws=[power_N]", "bootstrap.draws=10")
        assert code == 0, err
    kept = {path.name: json.loads(path.read_text())["data"]["table"] for path in tmp_path.glob("*.json")}
    assert kept == {"fits.json": "b.csv", "fits-a.json": "a.csv"}
    code, out, err = in_process(f"table={tmp_path / 'a.csv'}", *COLUMNS, "bootstrap.draws=10", "format=json")
    assert code == 0, err
    assert json.loads(out)["data"]["table"] == "a.csv"
    assert "was the fit of b.csv, and is kept as fits-b.json" in err


def test_identical_losses_select_no_law(in_process, tmp_path):
    write(tmp_path / "runs.csv", foreign(loss=[0.5] * 20))
    code, out, err = in_process("table=runs.csv", *COLUMNS, "bootstrap.draws=10")
    assert code == 0, err
    assert json.loads((tmp_path / "fits.json").read_text())["selected"] is None
    assert "Quote no single exponent. No law is fitted: every loss is the same" in " ".join(out.split())


def test_compute_alone_takes_the_best_run_of_each_budget(in_process, tmp_path):
    """Three runs per budget, of which two are 1.5 and 2 times worse: the line belongs to the best."""
    c = np.repeat(np.geomspace(1e13, 1e17, 6), 3)
    loss = 200 / c**0.1 * np.tile([1.5, 1.0, 2.0], 6)
    loss[-3:] *= [0.9, 1.0, 1.0]
    write(tmp_path / "runs.csv", {"C": c.tolist(), "loss": loss.tolist()})
    code, _, err = in_process(
        "table=runs.csv", "columns.C=C", "columns.loss=loss", "loss=squared", "bootstrap.draws=10"
    )
    assert code == 0, err
    found = json.loads((tmp_path / "fits.json").read_text())
    law = found["laws"]["power_C"]
    assert law["slice"]["fixed"] == "budget"
    assert law["slice"]["rows"] == [1, 4, 7, 10, 13, 16]
    (twice,) = (f for f in found["flags"] if f["code"] == "duplicate_rows")
    assert "of those of one budget the best is taken" in twice["message"]
    assert law["params"]["gamma"]["value"] == pytest.approx(0.1)


def test_an_unfinished_study_says_so(in_process, tmp_path):
    cells = rows()
    cells |= {"n_trials": [4] * 20, "n_diverged": [0] * 20, "n_failed": [0] * 20}
    cells["test_loss"][12:] = [""] * 8
    folder = tmp_path / "multirun/mine"
    write(folder / "cells.csv", cells)
    (folder / "study.json").write_text(json.dumps({"axes": ["width", "n_train"], "tuned": []}))
    code, out, err = in_process("name=mine", "bootstrap.draws=10")
    assert code == 0, err
    sentence = "The study is unfinished: 12 of 20 cells are tuned and repeated"
    assert sentence in " ".join(out.split())
    found = json.loads((folder / "fits.json").read_text())
    assert found["data"]["unfinished"].startswith(sentence)
    cells["test_loss"] = rows()["test_loss"]
    write(folder / "cells.csv", cells)
    code, out, err = in_process("name=mine", "bootstrap.draws=10")
    assert code == 0, err
    assert "unfinished" not in out


def test_a_loss_at_a_known_place_is_not_that_of_a_surface_that_is_lower_where_no_cell_is() -> None:
    """Cells of one fixed rate follow no law, so some surfaces dip beside the grid at lesser budgets."""
    kept = Path(__file__).parents[1] / "multirun/reference/lr_fixed"
    of = studied(FitConfig(name=str(kept), predict=PredictConfig(C=3e10)))
    asked = of.result.headline.asked
    there = of.model.loss(N=np.log(asked.at["N"]), D=np.log(asked.at["D"]))
    assert (asked.low, asked.high) == pytest.approx((there.low, there.high), rel=0.01)
    assert asked.low > 0.9 * asked.value


@pytest.mark.parametrize("name", ["converged", "lr_fixed", "width_x_data"])
def test_the_least_loss_never_rises_with_the_budget(name: str) -> None:
    headline = json.loads((Path(__file__).parents[1] / f"multirun/reference/{name}/fits.json").read_text())["headline"]
    for end in ("value", "low", "high"):
        losses = [one[end] for one in sorted(headline["sizes"], key=lambda one: one["C"])]
        assert losses == sorted(losses, reverse=True)
