"""Record what the commands give, to the last digit, and compare two recordings: did a change of the code move a row?

    python benchmarks/golden.py OUT                        every case that takes seconds, each in a folder of OUT
    python benchmarks/golden.py OUT --cases smoke,wsd      some of them; --slow adds those of minutes, --list names all
    python benchmarks/golden.py OUT --against OTHER        records nothing: every difference of OUT from OTHER

A recording keeps the tables without their clock columns, fits.json and comparison.json without command, versions and
commit, what a run by hand and `--cfg job` print, and each command's exit code with the first line of its error. Only
the commands are driven, by the interpreter and in the environment of this one, so PYTHONPATH=OTHER/src records another
checkout. Exit code 1: a command ended as it should not, or something differs.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLES, DOCUMENTS = ("trials.csv", "cells.csv", "curves.csv"), ("fits.json", "comparison.json")
TIMED = ("seconds",)
"""Columns, and lines of a printed table, that measure time."""
MASKED = ("command", "commit", "versions", "started", "seconds", "sha256")
"""Keys of a JSON file that say when, where and by which version it was made; the checksum is of a table with times."""


@dataclass(frozen=True)
class Case:
    """Commands that run one after another in one empty folder."""

    commands: tuple[str, ...]
    same_as: str = ""  # another case whose tables this one must have too
    kill_at: tuple[int, ...] = ()  # kill -9 the first command's process group at so many recorded runs, and start again
    tables: tuple[str, ...] = ()  # other people's tables that the folder gets; the case is skipped without them
    refused: bool = False  # whether every command must fail
    slow: bool = False


def sweep(*more: str, scale: str = "smoke", workers: int = 1) -> str:
    return " ".join(("train -m", f"name=golden scale={scale} hydra.launcher.n_workers={workers}", *more))


FIT = "fit name=golden bootstrap.draws=100"
GRID = "model.width=4,8 data.fraction=1,0.25"
PRUNED = f"{GRID} hydra.sweeper.n_trials=6 reports.least=16 reports.cost=0.5"
WIDENED = f"{GRID} hydra.sweeper.n_trials=8 hydra.sweeper.n_repeats=1 optim.lr=tag(log,interval(1e-4,3e-4))"
CHANGED = f"{GRID} data.augment=elastic data.off_distribution=[rotated,noisy] data.label_noise="
OPTIMISERS = "optim=adam,sgd model.width=4,8,16 data.fraction=1,0.25 hydra.sweeper.max_values_per_axis=3"
SMOKE, WSD, COLUMNS = "experiment=smoke", "experiment=wsd", "columns.N=N columns.D=D columns.C=C columns.loss=loss"
TUNING = f"{GRID} hydra.sweeper.n_repeats=1 hydra.sweeper."
PUBLIC = ("chinchilla_epoch.csv", "cs336_isoflops_synthetic.csv")

CASES = {
    "quickstart": Case(("train -m experiment=quickstart", "fit name=quickstart", "report name=quickstart"), slow=True),
    "smoke": Case((sweep(SMOKE, scale="full"), FIT)),
    "smoke_4_workers": Case((sweep(SMOKE, scale="full", workers=4), FIT), "smoke"),
    "smoke_joblib": Case((f"train -m name=golden {SMOKE} hydra/launcher=joblib hydra.launcher.n_jobs=2",), "smoke"),
    "smoke_sqlite": Case((sweep(SMOKE, "hydra.sweeper.storage=sqlite:///s.db", scale="full"),), "smoke"),
    "smoke_killed": Case((sweep(SMOKE, scale="full"),), "smoke", (2, 9)),
    "pruned": Case((sweep(PRUNED),)),
    "pruned_4_workers": Case((sweep(PRUNED, workers=4),), "pruned"),
    "pruned_killed": Case((sweep(PRUNED, workers=2),), "pruned", (7, 20)),
    "widened": Case((sweep(WIDENED),)),
    "widened_4_workers": Case((sweep(WIDENED, workers=4),), "widened"),
    "widened_killed": Case((sweep(WIDENED, workers=2),), "widened", (12, 22)),
    "wsd": Case((sweep(WSD), FIT)),
    "wsd_killed": Case((sweep(WSD, workers=2),), "wsd", (2, 5)),
    "early_stopping": Case((sweep("experiment=early_stopping_widths hydra.sweeper.max_values_per_axis=3"), FIT)),
    "repeat": Case((sweep("experiment=repetition hydra.sweeper.n_trials=1 regime.epochs=1,4,8"), FIT)),
    "isoflop": Case((sweep("experiment=isoflop hydra.sweeper.n_trials=1 hydra.sweeper.max_values_per_axis=3"), FIT)),
    "changed_images": Case((sweep(f"{CHANGED}0,0.2 hydra.sweeper.n_trials=1"), FIT)),
    "optimisers": Case((sweep(OPTIMISERS), FIT, "compare name=golden by=optimizer bootstrap.draws=100")),
    "diverging": Case((sweep("optim=sgd", GRID, "optim.lr=tag(log,interval(1e-2,1e3)) hydra.sweeper.n_trials=8"),)),
    "mlp": Case((sweep("experiment=mlp"),)),
    "transformer": Case((sweep("experiment=transformer model.width=8,16 hydra.sweeper.n_repeats=1"),)),
    "stepped": Case((sweep(f"{TUNING}n_trials=5 optim.batch_size=range(16,65,step=16)"),)),
    "batch_of_4": Case((sweep(f"{TUNING}n_trials=9 hydra.sweeper.trials_per_batch=4"),)),
    "independent": Case((sweep(f"{TUNING}n_trials=5 hydra.sweeper.transfer=independent"),)),
    "longer": Case((sweep(f"{TUNING}n_trials=2"), sweep(f"{TUNING}n_trials=4"), "report name=golden")),
    "one_cell": Case((sweep("hydra.sweeper.n_trials=3"),)),
    "single": Case(("train model.width=4 data.fraction=0.02 seed=3", "train scale=smoke regime=wsd")),
    "own_tables": Case(tuple(f"fit table={table} {COLUMNS} out={table[:-4]}" for table in PUBLIC), tables=PUBLIC),
    "config": Case(
        tuple(f"train --cfg job experiment={one}" for one in ("quickstart", "wsd", "isoflop", "mlp", "repetition"))
        + tuple(f"{command} --cfg job" for command in ("train", "fit", "compare", "report", "ask"))
    ),
    "refused": Case((
        "train data.fraction=1.5", "train -m data.fraction=0.5,1.5", "train model.width=wide", "train model.width=(",
        "train -m model.widht=8,16", "train -m hydra.sweeper.n_trails=8", "train -m optim=adam,adagrad",
        "train -m model.width=interval(4,32)", "train model.width=8,16", "train -m hydra.sweeper.n_trials=0",
        "train -m hydra/sweeper/sampler=grid", "train -m optim.lr=tag(lgo,interval(1e-3,1e-1))", "fit name=nothing",
        "fit", "compare by=optimizer name=nothing", "report name=nothing", "ask question=nothing",
    ), refused=True),
}  # fmt: skip


@dataclass(frozen=True)
class Recorder:
    """Runs the commands of a case in `folder`; `data` is the folder of the images."""

    folder: Path
    data: Path

    def words(self, command: str) -> list[str]:
        module, *arguments = command.split()
        own = [f"data.dir={self.data}", "hydra.run.dir=run"] if module == "train" else []
        return [sys.executable, "-m", f"mnist_scaling.{module}", *arguments, *own]

    def run(self, command: str, refused: bool) -> tuple[str, str]:
        """What to keep of a command, and what is wrong with it, if anything."""
        by_hand = self.folder / "run/result.json"
        by_hand.unlink(missing_ok=True)
        done = subprocess.run(self.words(command), cwd=self.folder, capture_output=True, text=True)
        kept = [f"$ {command}", f"exit code {done.returncode}"]
        if done.returncode:
            kept += done.stderr.strip().splitlines()[:1]
        elif by_hand.exists() or "--cfg" in command:
            kept += [line for line in done.stdout.splitlines() if not any(f" {word} " in line for word in TIMED)]
        if by_hand.exists():
            kept += [f"{place} = {one}" for place, one in leaves(json.loads(by_hand.read_text())["result"], "result")]
        wrong = f"{command}: exit code {done.returncode}: {done.stderr[-500:]}"
        return self.masked("\n".join(kept)), wrong if (done.returncode != 0) != refused else ""

    def kill(self, command: str, n_runs: int) -> str:
        """Start a sweep and kill -9 it and its workers; what is wrong if it ended by itself."""
        log = subprocess.DEVNULL
        started = subprocess.Popen(self.words(command), cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        while sum(1 for _ in self.folder.rglob("result.json")) < n_runs:
            if started.poll() is not None:
                return f"{command}: it ended before it had {n_runs} runs, so it was not killed"
            time.sleep(0.02)
        os.killpg(started.pid, signal.SIGKILL)
        return "" if started.wait() == -signal.SIGKILL else f"{command}: it ended before it was killed"

    def masked(self, text: str) -> str:
        """Without the folders' names, which differ between recordings."""
        return text.replace(str(self.folder), "FOLDER").replace(str(self.data), "DATA")


def record(case: Case, out: Path, data: Path, public: Path) -> list[str]:
    """Run a case and keep what it gives in `out`; what went wrong."""
    shutil.rmtree(out, ignore_errors=True)
    if missing := [name for name in case.tables if not (public / name).is_file()]:
        print(f"Skipped, because {public} lacks {', '.join(missing)}:", end=" ")
        return []
    with tempfile.TemporaryDirectory() as name:
        recorder = Recorder(Path(name).resolve(), data)
        for table in case.tables:
            shutil.copy(public / table, recorder.folder)
        wrong = [recorder.kill(case.commands[0], n_runs) for n_runs in case.kill_at]
        ran = [recorder.run(command, case.refused) for command in case.commands]
        out.mkdir(parents=True)
        (out / "commands.txt").write_text("\n\n".join(kept for kept, _ in ran) + "\n")
        for path in sorted(recorder.folder.rglob("*")):
            keep = out / "-".join(path.relative_to(recorder.folder).parts)
            if path.name in TABLES:
                keep.write_text(without_times(path.read_text()))
            elif path.name in DOCUMENTS:
                keep.write_text(recorder.masked(json.dumps(without_origin(json.loads(path.read_text())), indent=1)))
    return [one for one in (*wrong, *(one for _, one in ran)) if one]


def without_times(table: str) -> str:
    header, *rows = csv.reader(io.StringIO(table))
    kept = [i for i, name in enumerate(header) if name not in TIMED]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([row[i] for i in kept] for row in (header, *rows))
    return written.getvalue()


def without_origin(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "masked" if key in MASKED else without_origin(inner) for key, inner in value.items()}
    return [without_origin(inner) for inner in value] if isinstance(value, list) else value


def places(path: Path) -> Iterator[tuple[str, str]]:
    """Every value of a recorded file as text, with its place."""
    text = path.read_text()
    if path.suffix == ".csv":
        header, *rows = csv.reader(io.StringIO(text))
        yield "columns", ",".join(header)
        yield from ((f"row {i}, {name}", v) for i, row in enumerate(rows) for name, v in zip(header, row, strict=True))
    elif path.suffix == ".json":
        yield from leaves(json.loads(text), "")
    else:
        command = ""
        for i, line in enumerate(text.splitlines()):
            command = line if line.startswith("$") else command
            yield f"{command}, line {i}", line


def leaves(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if not value or not isinstance(value, dict | list):
        yield place, repr(value)
    else:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{place}.{key}")


def differences(mine: Path, other: Path, same_tables: bool = False) -> Iterator[str]:
    """One sentence for every file of two recorded cases that differs: how often, and where first.

    With `same_tables` only the tables and documents that both have are compared: the commands differ.
    """
    if not (mine.is_dir() and other.is_dir()):
        yield f"{mine.name}: {other if mine.is_dir() else mine} was not recorded"
        return
    names, others = ({path.name for path in folder.iterdir()} for folder in (mine, other))
    for name in sorted((names & others) - {"commands.txt"} if same_tables else names | others):
        a, b = (dict(places(folder / name)) if (folder / name).exists() else {} for folder in (mine, other))
        if found := [place for place in {**b, **a} if a.get(place) != b.get(place)]:
            one = found[0]
            yield f"{mine.name}/{name}: {len(found)} of {len(b)} values; {one}: {a.get(one)}, was {b.get(one)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, help="folder of the recording")
    parser.add_argument("--against", type=Path, help="another recording: compare, and record nothing")
    parser.add_argument("--cases", help="names, separated by commas; default: all that are not slow")
    parser.add_argument("--slow", action="store_true", help="those of minutes too")
    parser.add_argument("--list", action="store_true", help="name the cases, and stop")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="folder of MNIST")
    parser.add_argument("--tables", type=Path, default=ROOT.parent / "shared/data", help="folder of public tables")
    given = parser.parse_args()
    if given.list:
        print("\n".join(CASES))
        return
    usual = [name for name, case in CASES.items() if given.slow or not case.slow]
    names = given.cases.split(",") if given.cases else usual
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"--cases must name cases, but got {', '.join(unknown)}: --list names them all.")
    if given.out is None:
        parser.error("OUT must be given: a folder for the recording.")
    if given.against:
        recorded = [name for name in CASES if any((folder / name).is_dir() for folder in (given.out, given.against))]
        names = names if given.cases else recorded
        found = [one for name in names for one in differences(given.out / name, given.against / name)]
        print("\n".join(found) or f"No difference in {len(names)} cases.")
        sys.exit(bool(found) or not names)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    failed = False
    for name in names:
        case, out = CASES[name], given.out / name
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wrong = record(case, out, given.data.resolve(), given.tables)
        if case.same_as and (given.out / case.same_as).is_dir():
            wrong += differences(out, given.out / case.same_as, same_tables=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print("\n  ".join([f"{name}: {cpu:.0f} s of CPU", *wrong]), flush=True)
        failed |= bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
