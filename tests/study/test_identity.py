"""Which sweeps may join a study, and that a difference always has a name."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, identity, layout
from mnist_scaling.study.identity import Identity, differences, of, settings

DEFAULTS = {
    "optim.name": "adam",
    "optim.schedule": "cosine",
    "model.width": 8,
    "seed": 0,
    "threads": 1,
    "trial.stage": "single",
}


def test_settings_are_what_differs_from_the_defaults() -> None:
    values = DEFAULTS | {"optim.name": "sgd", "model.width": 16, "name": "another", "trial.stage": "trial", "seed": 3}
    assert settings(values, DEFAULTS, ["seed", "name", "trial.stage"]) == {"optim.name": "sgd", "model.width": 16}


def test_a_new_field_at_its_default_is_no_difference() -> None:
    new = DEFAULTS | {"optim.clip": None}
    assert differences({"seed": 1}, settings(new | {"seed": 1}, new), new) == []
    assert differences({"seed": 1}, {"seed": 1, "optim.clip": 2.0}, new) == ["optim.clip was not set and is now 2.0"]


def test_a_key_that_only_the_study_knows_has_a_name_too() -> None:
    assert differences({"optim.gone": 3}, {}, DEFAULTS) == ["optim.gone was 3 and is now not set"]


def test_what_an_axis_brings_with_it_varies() -> None:
    early = {"regime.name": "early_stopping", "optim.schedule": "wsd", "seed": 1}
    once = {"regime": "single_epoch"}
    found = of([(early, {"optim.lr": "a"}, {"regime": "early_stopping"}), ({"seed": 1}, {"optim.lr": "a"}, once)])
    assert found.settings == {"seed": 1}
    assert found.ranges == {"optim.lr": "a"}
    assert found.varying == ("optim.schedule", "regime", "regime.name")


def test_an_axis_takes_no_key_along_whose_name_its_own_begins() -> None:
    cells = [({"optim.lr": lr, "optim.lr_scaling": "fan_in"}, {}, {"optim.lr": str(lr)}) for lr in (0.1, 0.2)]
    assert of(cells).settings == {"optim.lr_scaling": "fan_in"}


def join(folder: Path, first: Identity, second: Identity) -> Identity:
    record = {"version": identity.VERSION, identity.IDENTITY: asdict(identity.check(folder, first, DEFAULTS))}
    files.write_json(folder / layout.STUDY, record)
    return identity.check(folder, second, DEFAULTS)


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (Identity({"optim.name": "sgd"}, {"optim.lr": "a"}), "optim.name was adam and is now sgd; set it back"),
        (Identity({"seed": 2}), "seed was 0 and is now 2"),
        (Identity({}, {"optim.lr": "b"}), "optim.lr was a and is now b"),
        (Identity({"optim.lr": 0.1}), ": optim.lr was a and is now 0.1; set it back"),
    ],
)
def test_another_optimiser_seed_or_range_is_refused(tmp_path: Path, second: Identity, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        join(tmp_path, Identity({}, {"optim.lr": "a"}, ("model.width",)), second)


def test_another_way_of_tuning_is_refused_by_its_key(tmp_path: Path) -> None:
    before, now = ({"hydra.sweeper.transfer": rule} for rule in ("neighbours", "independent"))
    with pytest.raises(InputError, match="hydra.sweeper.transfer was neighbours and is now independent; set it back"):
        join(tmp_path, Identity({}, method=before), Identity({}, method=now))


def test_a_range_is_named_in_words() -> None:
    log = '{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 8, "high": 64}, "limits": ["low"]}'
    linear = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.3, "log": false}}'
    choice = '{"name": "CategoricalDistribution", "attributes": {"choices": [16, "x"]}}'
    (said,) = identity.differences({"optim.batch_size": log}, {"optim.batch_size": choice}, {})
    assert said == "optim.batch_size was 8 to 64, logarithmic, 8 is a limit and is now one of 16, x"
    assert identity.range_in_words(linear) == "0 to 0.3"
    assert [identity.range_in_words(v) for v in (0.5, "cosine", None, [1], "12")] == [
        "0.5",
        "cosine",
        "not set",
        "[1]",
        "12",
    ]


def spelled(
    low: float, high: float, step: float | None = None, log: bool = True, limits: list[str] | None = None
) -> str:
    attributes = {"low": low, "high": high, "step": step, "log": log}
    limit = {"limits": limits} if limits else {}
    return json.dumps({"name": "FloatDistribution", "attributes": attributes, **limit})


@pytest.mark.parametrize(
    ("now", "grown"),
    [
        (spelled(1, 8), True),
        (spelled(2, 16), True),
        (spelled(3, 16), False),
        (spelled(1, 16, log=False), False),
        (spelled(1, 16, limits=["high"]), True),
        (spelled(1, 8, limits=["high"]), False),
    ],
)
def test_a_range_may_grow_and_do_nothing_else(tmp_path: Path, now: str, grown: bool) -> None:
    before = spelled(2, 8)
    assert identity.has_grown(before, now) == grown
    assert (differences({"x": before}, {"x": now}, {}) == []) == grown
    if grown:
        assert join(tmp_path, Identity({}, {"x": before}), Identity({}, {"x": now})).ranges == {"x": now}


def test_a_grid_grows_by_whole_steps_and_a_choice_by_choices() -> None:
    grid = spelled(0.2, 0.4, 0.1, log=False)
    found = [identity.has_grown(grid, spelled(low, 0.4, 0.1, log=False)) for low in (0.1, 0.15)]
    assert found == [True, False]
    few, more, other = (
        json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": c}}) for c in ("ab", "bac", "bc")
    )
    assert [identity.has_grown(few, now) for now in (more, other, grid, "a", None)] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_what_a_swept_group_brings_may_not_change_behind_it(tmp_path: Path) -> None:
    """optim=adam,sgd with another warm-up: the group's keys vary with the axis, but not within one option of it."""
    first = of(
        [({}, {"optim.lr": "a"}, {"optim": "adam"}), ({"optim.name": "sgd"}, {"optim.lr": "b"}, {"optim": "sgd"})]
    )
    warm = {"optim.warmup": 0.5}
    second = of([(warm, {"optim.lr": "a"}, {"optim": "adam"}), (warm, {"optim.lr": "b"}, {"optim": "momentum"})])
    assert join(tmp_path, first, first).groups == first.groups
    with pytest.raises(InputError, match="optim.warmup was 0.05 and is now 0.5"):
        identity.check(tmp_path, second, DEFAULTS | {"optim.warmup": 0.05})


def test_a_study_of_before_there_was_an_identity_takes_no_new_cells(tmp_path: Path) -> None:
    files.write_json(tmp_path / layout.STUDY, {"name": "old", "grid": ["width"]})
    with pytest.raises(InputError, match="of version 2, but .*study.json has version 1: go on with the version"):
        identity.check(tmp_path, Identity({}), DEFAULTS)


def test_axes_may_differ(tmp_path: Path) -> None:
    first = Identity({"seed": 1}, {}, ("model.width",))
    assert join(tmp_path, first, Identity({"seed": 1, "model.width": 16}, {}, ())) == first


def test_another_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trained by ours and this sweep trains by theirs: give the new study"):
        join(tmp_path, Identity({}, program="ours"), Identity({}, program="theirs"))


def test_checksums_that_a_sweep_does_not_know_yet_are_not_compared(tmp_path: Path) -> None:
    """A preview opens no files; the sweep itself compares them."""
    first = Identity({"data.sha256": "a", "init_sha256": "b", "seed": 1})
    join(tmp_path, first, first)
    identity.check(tmp_path, Identity({"seed": 1}), DEFAULTS, identity.CHECKSUMS)
    with pytest.raises(InputError, match="seed was 1 and is now 2"):
        identity.check(tmp_path, Identity({"seed": 2}), DEFAULTS, identity.CHECKSUMS)
    with pytest.raises(InputError, match="data.sha256 was a and is now c"):
        identity.check(tmp_path, Identity({"data.sha256": "c", "init_sha256": "b", "seed": 1}), DEFAULTS)


def test_cells_that_start_from_weights_of_their_own_may_come_in_another_order(tmp_path: Path) -> None:
    cells = [({"init_sha256": s}, {"optim.lr": "a"}, {"model.width": w}) for s, w in (("a", 4), ("b", 8))]
    assert join(tmp_path, of(cells), of(cells[::-1])).varying == ("init_sha256", "model.width")


@pytest.mark.parametrize(("key", "value"), [("threads", 2), ("device", "cuda")])
def test_what_changes_the_last_bits_of_a_loss_counts(key: str, value: object) -> None:
    assert identity.settings({key: value}, {key: "the default"}) == {key: value}
