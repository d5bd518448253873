"""A function of a Hydra application as a task: its values, where workers find it, and what Hydra says there."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from enum import Enum
from math import isnan
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hydra import compose, initialize_config_dir
from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

import mnist_scaling
from mnist_scaling.app import travel
from mnist_scaling.app.application import AppTask, offer_configs
from mnist_scaling.app.travel import config_of, in_hydra, values_of
from mnist_scaling.errors import InputError
from mnist_scaling.tuning import task
from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.job import Outcome, loaded, packed

from . import my_train

CONF = str(Path(__file__).parent / "conf")
TASK: Any = task.of(my_train.main)


def composed(*overrides: str) -> DictConfig:
    offer_configs()
    with initialize_config_dir(CONF):
        return compose("train", ["hydra/sweeper=cells", *overrides], return_hydra_config=True)


def test_our_sweeper_is_on_the_search_path_of_any_application() -> None:
    cfg = composed("name=mine", "hydra/sweeper/pruner=median", "hydra/launcher=local")
    assert cfg.hydra.sweep.dir == "multirun/mine"
    assert cfg.hydra.sweeper.sampler.multivariate is True
    assert cfg.hydra.sweeper.pruner["_target_"].endswith("MedianPruner")
    assert "model" in cfg
    assert "optim" in cfg
    assert "regime" not in cfg  # nothing of our own configuration comes with it


def test_values_are_plain_and_what_only_a_run_resolves_stays_as_written() -> None:
    cfg = OmegaConf.create({"seed": 1, "a": {"b": [1, 2], "c": "${seed}"}, "at": "${hydra:runtime.output_dir}/x"})
    values = values_of(cfg)
    assert values == {"seed": 1, "a.b": [1, 2], "a.c": 1, "at": "${hydra:runtime.output_dir}/x"}
    hydra = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf)})
    with in_hydra(hydra, config_of(values), Path("/study/run")) as back:
        assert (back.a.b, back.a.c, back.at) == ([1, 2], 1, "/study/run/x")
        with pytest.raises(AttributeError):
            _ = back.missing


def test_infinity_and_nan_are_values_that_json_has_and_compare_equal() -> None:
    cfg = OmegaConf.create({"clip": float("inf"), "ends": [float("-inf"), 1.5], "gap": float("nan"), "by": "${clip}"})
    values = values_of(cfg)
    assert json.loads(json.dumps(values, allow_nan=False)) == values == values_of(cfg)
    back = config_of(values)
    assert (back.clip, list(back.ends), back.by) == (float("inf"), [float("-inf"), 1.5], float("inf"))
    assert isnan(back.gap)


class Act(Enum):
    """An enum of an application."""

    RELU = 1
    TANH = 2


def test_an_enum_is_its_name_in_tables_and_its_member_in_a_run() -> None:
    made = AppTask(print, cost=lambda cfg: float(cfg.act.value))
    values = made.values(OmegaConf.create({"seed": 0, "act": Act.TANH, "word": "RELU"}))
    assert values == {"seed": 0, "act": "TANH", "word": "RELU"}
    sent = json.loads(json.dumps(made.pack(values)))
    assert AppTask(print).unpack(values, sent) == {"seed": 0, "act": Act.TANH, "word": "RELU"}
    assert AppTask(print).unpack({**values, "act": 2}, sent)["act"] == 2
    assert config_of(made.unpack(values, sent)).act is Act.TANH
    assert made.cost(values) == 2


def test_a_seed_that_is_missing_is_refused() -> None:
    with pytest.raises(InputError, match=r"`sed` must be a whole number .* but there is none: add `sed: 0`.*`seed`"):
        AppTask(print, seed="sed").values(composed())
    with pytest.raises(InputError, match="but it is 0.5"):
        TASK.values(composed("seed=0.5"))


def test_a_key_that_is_given_twice_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    context: Any = None  # only its defaults come from there
    AppTask(print).begin(composed("model.width=4", "model.width=8", "name=mine"), context)
    assert capsys.readouterr().err == "Note: `model.width` is given 2 times: the last one counts.\n"


def test_a_task_travels_as_the_place_of_its_function() -> None:
    sent = packed(TASK)
    assert loaded(sent) is TASK
    assert b"bowl" not in sent  # nothing of its code
    assert TASK.program == "my_train:main"


def test_a_function_without_a_file_travels_whole() -> None:
    def local(cfg: object, report: object) -> float:
        return 0.25

    found: Any = pickle.loads(cloudpickle.dumps(AppTask(local)))
    assert found.function(None, None) == 0.25
    held = AppTask(lambda cfg, report: lock)
    import threading

    lock = threading.Lock()
    with pytest.raises(InputError, match=r"can't be pickled .*: put its function into a file, at the top"):
        packed(held)


def test_an_application_that_a_worker_lacks_is_named() -> None:
    known = travel.place_of(my_train.main, TASK)
    assert known is not None
    gone = replace(known, module="no_such.module", file="/no/such/module.py")
    with pytest.raises(faults.MachineError, match=r"can't import the application no_such.module, /no/such/module.py"):
        from mnist_scaling.app.application import _task_at

        _task_at(gone, None)
    found = loaded(b"cno.such.module\nTask\n.")
    assert isinstance(found, Outcome)
    assert faults.is_text(found.error)


def test_a_script_is_imported_once_by_its_file(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from mnist_scaling import cell_task\n@cell_task\ndef main(cfg, report):\n    return 0.5\n", encoding="utf-8"
    )
    there = travel.Place("__main__", str(script), str(tmp_path), "main")
    try:
        first = travel.task_at(there)
        assert isinstance(first, AppTask)
        assert travel.task_at(there) is first
        assert travel.place_of(first.function, first) == there
    finally:
        sys.modules.pop("__cell_task_main__", None)
        sys.path.remove(str(tmp_path))


def test_a_run_prints_into_its_folder_and_its_exit_is_its_error(tmp_path: Path) -> None:
    def says(cfg: DictConfig, report: object) -> float:
        print("hello", cfg.seed)
        return 0.5

    assert AppTask(says).train({"seed": 3}, None, tmp_path).val_loss == 0.5
    assert (tmp_path / "output.txt").read_text() == "hello 3\n"
    with pytest.raises(RuntimeError, match=r"called sys.exit\(4\)"):
        AppTask(lambda cfg, report: sys.exit(4)).train({"seed": 3}, None, tmp_path)
    assert not (tmp_path / "output.txt").exists()


def test_the_door_costs_nothing_until_it_is_used() -> None:
    code = "import sys, mnist_scaling; print(sorted({'torch', 'optuna', 'hydra', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    assert mnist_scaling.cell_task is not None
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = mnist_scaling.nope
