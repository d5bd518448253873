"""``python -m mnist_scaling.train``: one run; with ``-m`` a tuned study over a grid of cells."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mnist_scaling import cli
from mnist_scaling.config import from_values
from mnist_scaling.errors import InputError
from mnist_scaling.image_task import TASK
from mnist_scaling.study import files, flags, layout
from mnist_scaling.study.columns import BRANCH, DIVERGED, SINGLE
from mnist_scaling.study.console import make_console
from mnist_scaling.tuning.task import Values, tunes
from mnist_scaling.tuning.workers import perform, rounds

_OF_SWEEPS = ("hydra.sweeper.", "hydra/sweeper", "hydra.launcher.", "hydra/launcher", "hydra.sweep.", "search_space")
"""How overrides begin that act with -m only."""


@hydra.main(config_path=cli.conf_dir(), config_name="train")
@tunes(TASK)
def main(cfg: DictConfig) -> float | None:
    """Train once: for the sweep that launched this job, or for the person at the keyboard.

    It returns the validation loss of a run that no sweep of ours launched: what another sweeper can minimise.
    """
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    with contextlib.chdir(hydra_config.runtime.cwd):  # where paths of the configuration begin, also with job.chdir
        if rounds.ran_job(folder, TASK):
            return None
        try:
            with cli.user_errors("train"):
                if hydra_config.mode != RunMode.MULTIRUN:
                    _needs_no_sweep([*hydra_config.overrides.hydra, *hydra_config.overrides.task])
                return single(TASK.values(cfg), folder)
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()  # which Hydra made, and a run that was refused leaves empty


def _needs_no_sweep(overrides: Sequence[str]) -> None:
    """Refuse, for a run without -m, what only a sweep reads; of an experiment, say what -m would do."""
    for given in overrides:
        if given.lstrip("+~").startswith(_OF_SWEEPS):
            key = given.partition("=")[0]  # the value of a storage may hold a password
            raise InputError(
                f"`{key}` must go with -m, because only a sweep reads it, but this is a single run: add -m, or leave "
                "it out."
            )
        if given.startswith("experiment=") and given != "experiment=null":
            print(
                f"Note: `{given}` describes a sweep, and this is a single run at its defaults; with -m every cell of "
                "its grid is tuned and repeated (-m hydra.sweeper.dry_run=true shows the plan)."
            )


def single(values: Values, folder: Path) -> float | None:
    """One run by hand: show how far it is, record it and print what it measured; its validation loss."""
    from mnist_scaling.training.loop import train_model
    from mnist_scaling.training.run import DIVERGED_AT

    TASK.check(values)
    (known,) = TASK.prepare([values])
    values = TASK.checked({**values, **known.bound})
    run = from_values(values)
    if run.init_from is not None:
        print(f"Starting from the weights in {run.init_from}" + (f"; {known.note}" if known.note else "") + ".")
    console = make_console()
    about = f"{run.model.name} of width {run.model.width} on {100 * run.data.fraction:.3g} % of {run.data.name}"
    console.print(f"Training {about}, regime {run.regime.name}.", highlight=False, soft_wrap=True)
    # On a terminal: the time left, the share of the steps, the training loss of late.
    shown = TimeRemainingColumn(), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}")
    with Progress(*shown, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("", total=None)

        def watch(step: int, total: int, loss: float) -> None:
            progress.update(bar, completed=step, total=total, description=f"training loss {loss:.4f}")

        train = functools.partial(train_model, run, None, folder, watch)
        record = perform.measure(values, SINGLE, run.seed, train, keep_errors=False)
    files.write_sealed(folder / layout.RESULT, record)
    table = Table("measured", "value", title=f"{run.model.name}, width {run.model.width}: {record['state']}")
    result = record["result"]
    for name, value in {**result, **result["off_distribution"], "seconds": record["seconds"]}.items():
        if isinstance(value, int | float):
            table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
    console.print(table)
    if record["state"] == DIVERGED:
        why = f"the loss was not finite, or above {DIVERGED_AT:g} times that of a guess"
        said = f"Diverged after {result['steps']} steps: {why}. Lower `optim.lr`, which was {run.optim.lr:g}."
        console.print(said, soft_wrap=True, highlight=False)
    if result["branches"]:
        console.print(_branches(result["branches"]))
    for code in filter(None, result["flags"].split(";")):
        seen = flags.kind(code)
        said = f"{code}: {seen.seen_when}. {flags.for_study(seen.remedy, '')}"
        console.print(f"{seen.severity.capitalize()}: {said}", soft_wrap=True)
    console.print(f"Record: {folder / layout.RESULT}", soft_wrap=True)
    if (folder / layout.WEIGHTS).is_file():
        console.print(f"Weights: {folder / layout.WEIGHTS}", soft_wrap=True)
    return result["val_loss"]  # type: ignore[no-any-return]


def _branches(branches: Sequence[Mapping[str, float]]) -> Table:
    """A table with one line for each data size that a run measured."""
    columns = [name for name in ("n_seen", "flops", "val_loss", "test_loss") if name in branches[0]]
    table = Table("branch", *columns)
    for branch in branches:
        table.add_row(
            f"{branch[BRANCH]:g}", *(f"{branch[c]:,}" if c in columns[:2] else f"{branch[c]:.4f}" for c in columns)
        )
    return table


if __name__ == "__main__":
    cli.run(main, "train")
