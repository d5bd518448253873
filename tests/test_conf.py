"""conf/ against the classes: every file composes, and says nothing that the schema does not know."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mnist_scaling import cli, config
from mnist_scaling.config import RunConfig
from mnist_scaling.tuning.cell import partitioning

pytestmark = pytest.mark.slow

CONF = Path(cli.conf_dir())
NEEDED = {"data=arrays": ["data.path=mine.npz"]}
"""What an option leaves to its user."""

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def composed(*overrides: str) -> tuple[RunConfig, OmegaConf]:
    with initialize_config_dir(str(CONF)):
        cfg = compose("train", list(overrides), return_hydra_config=True)
    return config.build(RunConfig, cfg), cfg  # type: ignore[return-value]


def test_the_default_run_is_the_classes_defaults() -> None:
    run, _ = composed()
    assert run == RunConfig()


@pytest.mark.parametrize("group", ["model", "data", "optim", "regime"])
def test_no_group_states_a_default_again(group: str) -> None:
    defaults = config.flatten(asdict(RunConfig()))
    for path in (CONF / group).glob("*.yaml"):
        content = OmegaConf.to_container(OmegaConf.load(path))
        nodes = content if "@package _global_" in path.read_text() else {group: content}
        stated = {k: v for k, v in config.flatten(nodes).items() if not k.startswith(("search_space.", "defaults"))}
        again = [key for key, value in stated.items() if not key.endswith(".name") and defaults.get(key, key) == value]
        assert again == [], path


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("sed: 7", "but conf/experiment/mine.yaml has `sed`: did you mean `seed`?"),
        ("serach_space: {optim: {lr: null}}", "has `serach_space`: did you mean `search_space`?"),
        ("optim: {momntum: 0.5}", "has `momntum`: did you mean `optim.momentum`?"),
        ("model: {widht: 4}", "but got `model.widht`: did you mean `model.width`?"),
    ],
)
def test_a_misspelt_key_of_a_users_own_file_is_refused(content: str, sentence: str, tmp_path: Path, command) -> None:
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text(f"# @package _global_\nname: mine\n{content}\n")
    done = command("mnist_scaling.train", "--config-dir", "conf", "-m", "experiment=mine", "model.width=4,8")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "multirun").exists()


@pytest.mark.parametrize(
    "override",
    [
        f"{folder.name}={path.stem}"
        for folder in sorted(CONF.iterdir())
        if folder.is_dir() and folder.name not in ("hydra", "experiment", "question")
        for path in sorted(folder.glob("*.yaml"))
    ],
)
def test_every_group_option_composes(override: str) -> None:
    composed(override, *NEEDED.get(override, ()))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("scale", ["full", "smoke"])
def test_every_experiment_composes_into_cells(experiment: str, scale: str) -> None:
    _, cfg = composed(f"experiment={experiment}", f"scale={scale}")
    sweeper = cfg.hydra.sweeper  # type: ignore[attr-defined]
    space = config.flatten(cfg["search_space"])  # type: ignore[index]
    arguments = [f"{key}={value}" for key, value in sweeper.params.items()]
    parts = partitioning.partition([*arguments, f"experiment={experiment}", f"scale={scale}"], space)
    assert parts.axes, "an experiment is a grid"
    ends = {key: (values[0], values[-1]) for key, values in parts.axes.items()}
    corner = [f"{key}={end[0]}" for key, end in ends.items()]
    run, _ = composed(f"experiment={experiment}", f"scale={scale}", *corner)
    assert run.trial.stage == "single"
    if scale == "smoke":
        assert (sweeper.n_trials, sweeper.max_values_per_axis) == (2, 2)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_is_named_by_its_file_and_headed_by_its_command(experiment: str) -> None:
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    assert composed(f"experiment={experiment}")[1]["name"] == experiment  # type: ignore[index]
    assert f"python -m mnist_scaling.train -m experiment={experiment}\n" in text.split("name:")[0]


@pytest.mark.parametrize("choice", ["hydra/launcher=basic", "hydra/launcher=joblib", "hydra/sweeper=basic"])
def test_hydras_own_launchers_and_sweeper_stay_usable(choice: str) -> None:
    composed(choice)


def test_the_default_launcher_is_this_machines_cores() -> None:
    launcher = composed()[1].hydra.launcher  # type: ignore[attr-defined]
    assert launcher._target_.endswith("LocalLauncher")
    assert launcher.n_workers is None


def test_every_key_of_a_sweep_can_be_resolved_before_there_is_a_job() -> None:
    """``--cfg all --resolve`` prints them."""
    _, cfg = composed()
    assert OmegaConf.to_container(cfg.hydra.sweep, resolve=True) == {"dir": "multirun/default", "subdir": "."}


def test_the_published_exercise() -> None:
    _, cfg = composed("experiment=width_x_data")
    parts = partitioning.partition([f"{k}={v}" for k, v in cfg.hydra.sweeper.params.items()], [])  # type: ignore[attr-defined]
    widths = [int(w) for w in parts.axes["model.width"]]
    fractions = [float(f) for f in parts.axes["data.fraction"]]
    assert widths[-1] / widths[0] >= 8
    assert all(1.3 < b / a < 1.55 for a, b in itertools.pairwise(widths))  # sqrt(2), in whole channels
    assert fractions == [2.0**-i for i in range(7)]
