"""docs/questions.md says what the kept tables give, and nothing else."""

from __future__ import annotations

import html
import importlib.util
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling import cli
from mnist_scaling.asking.answered import of_number
from mnist_scaling.asking.question import find_question, question_names
from mnist_scaling.fitting.uncertainty.least_squares import exponents
from mnist_scaling.reporting.documents.fits_json import Trust

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("reference", ROOT / "benchmarks/reference.py")
assert SPEC is not None
assert SPEC.loader is not None
REFERENCE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(REFERENCE)
CONF = Path(cli.conf_dir())
PAGE = (ROOT / "docs/questions.md").read_text(encoding="utf-8")


def numbers(text: str) -> list[float]:
    """Every number of a text; a true minus counts as one."""
    return [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", text.replace("−", "-"))]


@pytest.mark.parametrize("name", question_names(CONF))
def test_a_row_is_what_its_kept_tables_give(name: str) -> None:
    """Words as they stand, numbers to the last digits that another processor may round otherwise."""
    title = find_question(name, CONF)[1].title
    said = next(part for part in PAGE.split("\n## ") if part.startswith(f"{title}\n")).strip()
    computed = REFERENCE.entry(name, CONF).strip().removeprefix("## ")
    assert re.sub(r"[−-]?\d+(\.\d+)?", "#", said) == re.sub(r"[−-]?\d+(\.\d+)?", "#", computed)
    assert numbers(said) == pytest.approx(numbers(computed), rel=0.02, abs=0.011)


def test_the_page_begins_as_the_script_has_it() -> None:
    assert PAGE.startswith(REFERENCE.HEAD)


@pytest.mark.parametrize("page", [REFERENCE.TUTORIAL, REFERENCE.REPORT], ids=lambda page: page.stem)
def test_a_page_repeats_these_answers(page: Path) -> None:
    repeated = REFERENCE.TOLD.findall(page.read_text(encoding="utf-8"))
    assert repeated
    for _, name, said in repeated:
        assert f"\n{said}\n" in PAGE, f"{page.name} says of {name} what docs/questions.md does not: write both again."


def test_the_table_of_the_reference_study_is_what_the_kept_tables_give() -> None:
    said = REFERENCE.SUMMARY.search(REFERENCE.REPORT.read_text(encoding="utf-8"))
    assert said is not None
    assert numbers(said[0]) == pytest.approx(numbers(said[1] + REFERENCE.summary(CONF)), rel=0.02, abs=0.011)


def test_the_exponents_of_one_row_by_least_squares_alone() -> None:
    """An independent computation: the plane through the tuned cells' log losses."""
    cells = pd.read_csv(REFERENCE.kept_tables(REFERENCE.asked("learning_rate", CONF))["lr_tuned"])
    alpha, beta = exponents(cells["test_loss"], cells["n_params"], cells["n_seen"])
    found = REFERENCE.answered("learning_rate", CONF).findings.numbers
    assert found["tuned_alpha"].interval.value == pytest.approx(alpha.value, abs=1e-6)
    assert found["tuned_beta"].interval.value == pytest.approx(beta.value, abs=1e-6)


def test_an_answer_doubts_a_frontier_as_fit_does() -> None:
    """Where few of the best sizes lie inside the grid, every command says so of its exponents in C."""
    found = REFERENCE.answered("learning_rate", CONF).findings.numbers
    for arm, few in (("tuned", 0), ("one", 1)):
        fits = json.loads((REFERENCE.REFERENCE / f"lr_{arm}/fits.json").read_text())
        for key in ("N_exponent", "loss_exponent"):
            of_fit, own = Trust(**fits["answer"]["numbers"][key]), of_number(found[f"{arm}_{key}"])
            assert f"{few} of 9 best sizes inside the grid" in of_fit.reasons
            assert (own.trust, own.reasons[-1]) == (of_fit.trust, of_fit.reasons[-1])
    of_both = of_number(found["one_loss_exponent_difference"])
    assert (of_both.trust, of_both.reasons[-1]) == ("low", "0 of 9 best sizes inside the grid")
    assert not any("grid" in one for one in of_number(found["one_slope_D_difference"]).reasons)


def test_every_kept_figure_and_table_is_used() -> None:
    used = {f"images/questions/{name}.png" for name in question_names(CONF)}
    figures = {f"images/questions/{path.name}" for path in REFERENCE.FIGURES.glob("*")}
    assert figures <= used
    assert figures == set(re.findall(r"\((images/questions/\w+\.png)\)", PAGE))
    there = {path.parent.name for path in REFERENCE.REFERENCE.glob("*/cells.csv")}
    # The quickstart is README's, and makes no question's answer; predictions have a script of their own.
    others = {name for name in there if name.startswith(("predict_", "quickstart"))}
    assert there - others <= set(REFERENCE.studies(question_names(CONF), CONF))


KEPT_STUDIES = sorted(path.parent.name for path in REFERENCE.REFERENCE.glob("*/cells.csv"))


@pytest.mark.parametrize("name", KEPT_STUDIES)
def test_a_kept_study_has_its_report_which_says_what_its_fit_says(name: str) -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in (REFERENCE.REPORTS / name).glob("*.html")}
    assert max(len(page.encode()) for page in pages.values()) <= 1_000_000
    fits = json.loads((REFERENCE.REFERENCE / name / "fits.json").read_text())
    for one in fits.get("arms") or [fits]:
        assert any(one["answer"]["sentence"] in html.unescape(page) for page in pages.values()), one.get("name")


@pytest.mark.parametrize(
    "path", sorted((REFERENCE.REFERENCE / "answers").glob("*/comparison.json")), ids=lambda p: p.parent.name
)
def test_a_kept_comparison_says_what_the_answer_says(path: Path) -> None:
    pairs = json.loads(path.read_text())
    answer = json.loads(path.parent.with_suffix(".json").read_text())
    differences = [
        numbers["value"] for slot, numbers in answer["numbers"].items() if slot.endswith("_alpha_difference")
    ]
    compared = [pair["slopes"]["alpha"]["difference"]["value"] for pair in pairs.get("pairs") or [pairs]]
    assert differences == pytest.approx(compared[: len(differences)])
    assert (REFERENCE.REPORTS / path.parent.name / "comparison.html").is_file()
