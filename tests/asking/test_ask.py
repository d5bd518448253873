"""The command: real questions on real MNIST at scale=smoke."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ask(command, data_dir: str, tmp_path: Path) -> Ask:
    """Run ask in a folder of its own that has the data."""
    (tmp_path / "data").symlink_to(data_dir)
    return lambda *arguments: command("mnist_scaling.ask", *arguments)


def test_questions_share_studies_resume_and_are_listed(ask: Ask, tmp_path: Path) -> None:
    first = ask("question=model_size", "scale=smoke")
    assert first.returncode == 0, first.stderr
    assert "1 study, 0 of them finished" in first.stdout
    assert "In short: Ten times the compute is best spent on" in first.stdout
    answers = tmp_path / "multirun/answers/model_size"
    record = json.loads((answers / "smoke.json").read_text())
    assert record["cells"] == 4
    assert record["studies"]["frontier"]["study"] == "frontier_smoke"
    assert {path.name for path in answers.iterdir()} == {"smoke.json", "smoke.html", "smoke.png", "smoke.svg"}
    assert record["sentence"].replace("`fit`", "<code>fit</code>") in html.unescape(
        (answers / "smoke.html").read_text()
    )
    assert not (tmp_path / "multirun/frontier").exists()

    # A study that was stopped half-way goes on, for another question that shares it, and gives the same table.
    study = tmp_path / "multirun/frontier_smoke"
    before = (study / "cells.csv").read_text().splitlines()
    shutil.rmtree(next(study.glob("*/*/repeat-001")))
    shared = ask("question=compute_frontier", "scale=smoke", "format=json")
    assert shared.returncode == 0, shared.stderr
    assert "Study 1 of 1: frontier_smoke, 3 of 4 cells finished." in shared.stderr
    assert shared.stdout == (tmp_path / "multirun/answers/compute_frontier/smoke.json").read_text()
    after = (study / "cells.csv").read_text().splitlines()
    seconds = before[0].split(",").index("seconds")
    for old, new in zip(before, after, strict=True):
        assert [x for i, x in enumerate(old.split(",")) if i != seconds] == [
            x for i, x in enumerate(new.split(",")) if i != seconds
        ]

    # A study of that name that is another one is refused before anything is trained, and the difference is named.
    text = (ROOT / "conf/question/model_size.yaml").read_text().replace("overrides: [", "overrides: [seed=7, ")
    (tmp_path / "mine.yaml").write_text(text)
    refused = ask("question=mine.yaml", "scale=smoke")
    assert refused.returncode == 1
    assert "seed was 0 and is now 7" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1

    # A mistake in the sentence costs no training, and a finished study is not run again.
    text = (ROOT / "conf/question/model_size.yaml").read_text().replace("{grid_hull_N} and", "{grid_hul_N} and")
    (tmp_path / "mine.yaml").write_text(text)
    mistaken = ask("question=mine.yaml", "scale=smoke")
    assert "none of them gives {grid_hul_N}: did you mean `grid_hull_N`?" in mistaken.stderr
    assert "1 study, 1 of them finished; nothing to run." in mistaken.stdout

    listed = ask("scale=smoke")
    assert listed.returncode == 0, listed.stderr
    rows = {line.split()[0]: line for line in listed.stdout.splitlines() if line.strip()}
    assert len(rows) <= 25
    assert rows["compute_frontier"].rstrip().endswith(" answered")
    assert "4 cells measured" in rows["model_size"]  # it was answered by a table of before
    assert "not begun" in rows["repetition"]


def test_a_question_of_several_arms(ask: Ask, tmp_path: Path) -> None:
    text = (ROOT / "conf/question/learning_rate.yaml").read_text().replace("width_x_data", "smoke")
    asked = yaml.safe_load(text)  # without its last arms
    for study, arm in (("lr_one", "one"), ("lr_fan_in", "fan_in")):
        del asked["studies"][study], asked["arms"][arm]
    asked["figure"]["intervals"] = ["fixed_alpha_difference", "fixed_beta_difference"]
    asked["sentence"] = asked["sentence"].partition(" A rate that suits")[0]
    asked["short"] = asked["short"].partition(" Against 0.016")[0]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(asked))
    done = ask("question=mine.yaml", "scale=smoke")
    assert done.returncode == 0, done.stderr
    assert "2 studies, 0 of them finished" in done.stdout
    assert re.search(r"\] +(differs|not settled|equivalent) +(high|fair|low) *\n", done.stdout)
    assert "Trust: low; numbers of scale=smoke mean nothing" in done.stdout
    assert re.search(r"\nIn short: Does it matter .* for all: (yes, the|no, nothing|not settled)", done.stdout)
    page = html.unescape((tmp_path / "multirun/answers/mine/smoke.html").read_text())
    assert "Trust: low; numbers of scale=smoke" in page
    answered = json.loads((tmp_path / "multirun/answers/mine/smoke.json").read_text())
    assert "—" not in answered["sentence"]
    assert answered["trust"] == "low"
    doubted = [one for one in answered["numbers"].values() if one["trust"] in ("fair", "low")]
    assert doubted
    assert answered["numbers"]["fixed_alpha_difference"]["verdict"] in ("differs", "equivalent", "not settled")
    assert ">verdict<" in page
    for one in doubted:  # each says why, on the page too
        assert f"<td>{one['trust']}: {'; '.join(one['reasons'])}</td>" in page


def test_parts_without_tables_are_named_with_the_command_that_measures_them(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "multirun/reference").mkdir(parents=True)
    for kept in (ROOT / "multirun/reference").iterdir():
        if not kept.name.endswith("shapes"):
            (tmp_path / "multirun/reference" / kept.name).symlink_to(kept)
    asked = {"title": "Two", "question": "Which?", "parts": ["accuracy", "depth_vs_width"]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(asked))
    done = ask("question=mine.yaml", "run=false")
    assert done.returncode == 0, done.stderr
    command = "python -m mnist_scaling.ask question=mine.yaml scale=full"
    said = f"Not measured: depth_vs_width. This command runs what is missing: {command}"
    assert said in done.stdout
    assert said in (tmp_path / "multirun/answers/mine/full.html").read_text()
    answered = json.loads((tmp_path / "multirun/answers/mine/full.json").read_text())
    assert [part["name"] for part in answered["parts"]] == ["accuracy"]
    assert answered["missing"] == ["depth_vs_width"]
    listed = json.loads(ask("format=json").stdout)
    (state,) = (one["state"] for one in listed if one["question"] == "exercise")
    assert state.endswith("cells measured; 2 of 9 parts are not: depth_vs_width and embed_dim_depth")


def test_a_study_that_can_not_run_is_one_sentence_and_how_to_go_on(ask: Ask, tmp_path: Path) -> None:
    text = (ROOT / "conf/question/model_size.yaml").read_text()
    text = text.replace("overrides: [", "overrides: [data=arrays, data.path=absent.npz, ")
    (tmp_path / "mine.yaml").write_text(text)
    done = ask("question=mine.yaml", "scale=smoke")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "absent.npz" in done.stderr.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["question=dropuot"], "did you mean `dropout`?"),
        (["question=absent.yaml"], "there is no absent.yaml"),
        (["question=dropout", "scale=small"], "`scale` must be one of full, quick, smoke, but got 'small'"),
        (["qestion=dropout"], "got `qestion`: did you mean `question`?"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], sentence: str, ask: Ask) -> None:
    done = ask(*arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
