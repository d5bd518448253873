"""Question files: what is refused, with which sentence; every committed question asks for studies that compose."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from mnist_scaling import cli
from mnist_scaling.asking import measures
from mnist_scaling.asking.answered import fill
from mnist_scaling.asking.measures import Findings, Number
from mnist_scaling.asking.measures.difference import found
from mnist_scaling.asking.question import SLOT, find_question, order_of, question_names, read, with_twin
from mnist_scaling.asking.study_arms import study_name, sweep, with_measured_twin
from mnist_scaling.config.ask_schema import Question
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.comparing.comparison import verdict
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.image_task import TASK
from mnist_scaling.tuning.sweep.forecast import preview

pytestmark = pytest.mark.slow

CONF = Path(cli.conf_dir())
NAMES = question_names(CONF)

GOOD = """
title: A title
question: A question?
studies: {mine: {experiment: smoke}}
measures: [{kind: compute_optimal}]
sentence: N goes as {mine_hull_N}.
"""


@functools.cache
def committed(name: str) -> Question:
    """A question of conf/, read once."""
    return find_question(name, CONF)[1]


def question(tmp_path: Path, text: str) -> Question:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return read(path)


def test_a_good_question_is_read(tmp_path: Path) -> None:
    assert question(tmp_path, GOOD).studies["mine"].experiment == "smoke"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("title:", "titel:", "has `titel`: did you mean `title`?"),
        ("{experiment: smoke}", "{experiment: smoke, override: [seed=1]}", "did you mean `overrides`?"),
        ("{experiment: smoke}", "{overrides: [seed=1]}", "lacks `studies.mine.experiment`"),
        ("sentence: N goes as {mine_hull_N}.", "", "must have `sentence`"),
        ("question: A question?", "", "must have `question`"),
        ("measures:", "arms: {a: {study: mien}}\nmeasures:", "did you mean `mine`?"),
        ("measures:", "arms: {some: {study: mine}}\ntwin: smoe\nmeasures:", "says 'smoe': did you mean `some`?"),
        ("measures:", "parts: [dropout]\nmeasures:", "has `parts` and `studies`: leave one out"),
        ("title: A title", "title: [", "must be a YAML file"),
    ],
)
def test_a_bad_file_is_one_sentence(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        question(tmp_path, GOOD.replace(old, new))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_first_says_nothing_that_was_not_measured(name: str) -> None:
    assert bool(committed(name).parts) != bool(SLOT.search(committed(name).short))


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.2, "mine is larger by 0.150."),
        (-0.2, -0.1, "mine is smaller by 0.150."),
        (-0.02, 0.01, "mine is the same to within 0.020."),
        (-0.02, 0.2, "mine may or may not be the same."),
    ],
)
def test_a_verdict_as_words(low: float, high: float, said: str) -> None:
    difference = Interval((low + high) / 2, low, high)
    words = {"mine_found": found(difference, verdict(difference, 0.03))}
    assert fill("mine {mine_found}.", Findings(words=words), brief=True) == said


def test_a_brief_sentence_has_no_intervals_and_knows_tenfold() -> None:
    numbers = {
        "n": Number(Interval(0.3, 0.2, 0.4), "exponent"),
        "w": Number(Interval(1.234, 1, 2), "worth", factor=True),
    }
    sentence = "{n}, {n_tenfold}, {w}"
    assert fill(sentence, Findings(numbers), brief=True) == "0.300, 2.0, 1.23"
    with pytest.raises(InputError, match="none of them gives {w_tenfold}"):
        fill("{w_tenfold}", Findings(numbers), brief=True)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"kind": "diference"}, "did you mean `difference`?"),
        ({"kind": "difference", "refrence": "a"}, "kind difference has `refrence`: did you mean `reference`?"),
        ({"kind": "basin", "over": "depth", "tolerance": "wide"}, "must have a value of its type"),
    ],
)
def test_a_bad_measure_is_one_sentence(spec: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence.replace("?", r"\?")):
        measures.keys_of(spec)


def test_the_nearest_name_is_said() -> None:
    with pytest.raises(InputError, match=r"got 'dropuot': did you mean `dropout`\?"):
        find_question("dropuot", CONF)


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_question_names_known_parts_and_measures(name: str) -> None:
    asked = committed(name)
    assert asked.question.endswith("?")
    assert (
        f"#   python -m mnist_scaling.ask question={name} scale=quick\n" in (CONF / f"question/{name}.yaml").read_text()
    )
    assert set(asked.parts) <= set(NAMES)
    for spec in asked.measures:
        measures.keys_of(spec)


def test_questions_that_share_a_study_agree_on_it() -> None:
    """Otherwise the second one would be refused, because the folder holds another study."""
    seen: dict[str, object] = {}
    for name in NAMES:
        for key, spec in committed(name).studies.items():
            assert seen.setdefault(key, spec) == spec, f"{name} has another study {key}"


@pytest.mark.parametrize("scale", ["smoke", "quick"])
def test_every_study_composes_into_cells(scale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run of each; a name holds its scale, so that sizes never mix."""
    monkeypatch.chdir(tmp_path)
    for key, spec in {key: spec for name in NAMES for key, spec in committed(name).studies.items()}.items():
        overrides = sweep(key, spec, scale)
        assert f"name={study_name(key, scale)}" in overrides
        # Two values per axis are enough to compose every corner, and quicker.
        found = preview([*overrides, "hydra.sweeper.max_values_per_axis=2"], str(CONF), TASK)
        assert found.cells >= 2, key
        assert found.left > 0, key
    assert study_name("dropout", "quick") == "dropout_quick"
    assert study_name("dropout", "full") == "dropout"


def test_a_study_runs_after_those_that_it_needs(tmp_path: Path) -> None:
    """Whatever the order of the file; transfer starts from the weights of another study."""
    needs = "{a: {experiment: smoke, needs: [b]}, b: {experiment: smoke, needs: [mine]}, mine: {experiment: smoke}}"
    text = GOOD.replace("{mine: {experiment: smoke}}", needs)
    assert order_of(question(tmp_path, text)) == ["mine", "b", "a"]
    order = order_of(committed("transfer"))
    assert order.index("source") < order.index("tuned_on")
    with pytest.raises(InputError, match="b needs mine needs b: drop one of these `needs`"):
        question(tmp_path, text.replace("mine: {experiment: smoke}}", "mine: {experiment: smoke, needs: [b]}}"))


def test_a_twin_is_one_more_study_with_a_seed_of_its_own() -> None:
    """Not at scale=smoke."""
    plain = committed("optimizer")
    asked = with_twin(plain, "quick")
    assert set(asked.studies) - set(plain.studies) == {"width_x_data_twin"}
    assert set(asked.arms) == {"adam", "sgd"}
    once, again = (sweep(k, asked.studies[k], "quick") for k in ("width_x_data", "width_x_data_twin"))
    assert [text for text in again if text not in once] == ["name=width_x_data_twin_quick", "seed=1000"]
    assert [text for text in once if text not in again] == ["name=width_x_data_quick"]
    assert with_twin(plain, "smoke") == plain


def test_a_twin_is_read_where_it_is_measured_and_run_beside_ones_own_study_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So an answer from tables that come with the repository costs no training."""
    monkeypatch.chdir(tmp_path)
    question = committed("learning_rate")
    whole = with_twin(question, "full")

    def chosen() -> list[bool]:
        return [with_measured_twin(question, "full", run=run) == whole for run in (True, False)]

    assert chosen() == [True, False], "nothing is there: it is run with the others, if anything is"
    (tmp_path / "multirun/reference/lr_tuned").mkdir(parents=True)
    assert chosen() == [False, False]
    twin = tmp_path / "multirun/reference/lr_tuned_twin"
    twin.mkdir()
    (twin / "cells.csv").touch()
    assert chosen() == [True, True]
    (twin / "cells.csv").unlink()
    twin.rmdir()
    (tmp_path / "multirun/lr_tuned").mkdir()  # one's own study comes first
    assert chosen() == [True, False]
