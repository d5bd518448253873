"""docs/own_problem.md: its files are written and its commands run exactly as they stand, in a copy of the checkout.

Of its first part only the two sweeps of one study run: other tests fit, report and compare such studies.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from .preforked import Preforked

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own_problem.md").read_text(encoding="utf-8")
SCRIPT, _ = PAGE.split("\n## Without Hydra\n")
_, INSIDE = PAGE.split("\n## Inside this project\n")
ELSEWHERE = re.compile(r"(fit|report) name=mine$|name=momenta")


def files(text: str) -> dict[str, str]:
    """Each fenced block, by the last path that stands in backticks before it."""
    parts = re.split(r"^```(?:python|yaml)\n(.*?)^```\n", text, flags=re.DOTALL | re.MULTILINE)
    return {
        re.findall(r"`([\w/]+\.\w+)`", before)[-1]: block
        for before, block in zip(parts[:-1:2], parts[1::2], strict=True)
    }


def commands(text: str) -> list[list[str]]:
    outside = re.sub(r"^```.*?^```\n", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^    (python .+)$", outside, flags=re.MULTILINE)
    return [shlex.split(line) for line in lines if not ELSEWHERE.search(line)]


@pytest.fixture(scope="module")
def preforked() -> Iterator[Preforked]:
    """One that has none of our package, so that the copy's is imported."""
    process = Preforked(has_package=False)
    yield process
    process.close()


@pytest.fixture(scope="module")
def folder(data_dir: str, preforked: Preforked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in which everything that the page says was done."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "data").symlink_to(data_dir)
    written = files(SCRIPT) | files(INSIDE)
    assert len(written) == 7
    for name, content in written.items():
        assert not (ROOT / name).exists(), f"{name} is in the checkout already, so it is no file of one's own"
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(content, encoding="utf-8")
    ran = [*commands(SCRIPT), *commands(INSIDE)]
    assert len(ran) == 9
    for words in ran:
        done = run(words, copy, preforked)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return copy


def run(words: list[str], folder: Path, preforked: Preforked) -> subprocess.CompletedProcess[str]:
    """A command of the page, `python …`."""
    return preforked.run(words[2:] if words[1] == "-m" else words[1:], folder, PYTHONPATH=str(folder / "src"))


def test_a_script_of_ones_own_is_tuned_and_fitted(folder: Path) -> None:
    cells = pd.read_csv(folder / "multirun/mine/cells.csv")
    assert len(cells) == 20
    assert (cells["n_trials"] == 8).all()
    by_size = cells.groupby("n_params")["test_loss"].min()
    assert by_size.is_monotonic_decreasing
    assert (pd.read_csv(folder / "multirun/mine/trials.csv")["state"] == "PRUNED").any()
    assert [*json.loads((folder / "multirun/mine/fits.json").read_text())["laws"]] == ["square_root"]


def test_images_of_ones_own_become_a_study(folder: Path) -> None:
    study = folder / "multirun/digits"
    cells = pd.read_csv(study / "cells.csv")
    assert cells["n_train"].tolist() == [628, 1257] * 2
    assert (cells["test_loss"] < 2.2).any()
    known = json.loads((study / "study.json").read_text())["data"]
    assert [(d["image_shape"], d["classes"]) for d in known] == [([1, 8, 8], 10)]
    assert (study / "report.html").stat().st_size > 10_000


def test_the_file_of_images_may_move_but_not_change(folder: Path, preforked: Preforked) -> None:
    (train,) = (words for words in commands(INSIDE) if "name=digits" in words and "mnist_scaling.train" in words)
    before = {path: path.stat().st_mtime_ns for path in (folder / "multirun/digits").rglob("result.json")}
    assert before
    content = dict(np.load(folder / "digits.npz"))
    shutil.copy(folder / "digits.npz", folder / "moved.npz")
    moved = ["data.path=moved.npz" if word.startswith("data.path=") else word for word in train]
    assert run(moved, folder, preforked).returncode == 0
    np.savez(folder / "moved.npz", **content | {"labels": content["labels"][::-1]})
    done = run(moved, folder, preforked)
    assert done.returncode == 1
    assert "data.sha256 was " in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_family_and_a_question_of_ones_own_are_answered(folder: Path) -> None:
    answer = json.loads((folder / "multirun/answers/mine/smoke.json").read_text())
    assert answer["sentence"].startswith("With more data the perceptron's loss falls")
    assert answer["cells"] == 8


def test_the_table_of_kinds_is_what_there_is() -> None:
    from mnist_scaling.asking import measures

    table = PAGE.split("| kind |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(measures.kinds())
