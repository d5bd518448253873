"""The import arrows: libraries don't know each other, and light commands stay light."""

from __future__ import annotations

import ast
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mnist_scaling

PACKAGE = Path(mnist_scaling.__file__).parent
COMMANDS = ("train", "fit", "compare", "plan", "report", "ask")
BESIDE_COMMANDS = ("image_task", "new_study")
"""What stands beside commands for them alone: training as sweeps see it, and a study that fits a time."""

ALLOWED = {
    "errors": set(),
    "config": {"errors", "study", "fitting", "settings"},
    "study": {"errors"},
    "cli": {"errors", "config"},
    "training": {"errors", "config", "study"},
    "tuning": {"errors", "config", "study"},
    "fitting": {"errors", "study"},
    "settings": {"errors", "study", "fitting"},
    "arms": {"errors", "config", "study", "fitting", "settings"},
    "app": {"errors", "config", "study", "cli", "tuning"},
    "asking": {"errors", "config", "study", "fitting", "settings", "reporting"},
    "planning": {"errors", "config", "study", "arms", "fitting", "settings"},
    "reporting": {"errors", "study", "fitting", "settings", "planning"},
}
"""Which parts of the package a part may import besides itself. Commands may import anything but each other."""

FITTING_MAY_USE = {"mnist_scaling.study.flags"}
"""All that fitting may import of study: the list of flags, which is data. It takes plain arrays of anyone's table."""


def imported_names(path: Path) -> set[str]:
    """Dotted names of the package that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name for name in names if name.startswith("mnist_scaling.")}
    return found


def imported_parts(path: Path) -> set[str]:
    """Parts of the package that a file imports."""
    return {name.split(".")[1] for name in imported_names(path)}


def test_arrows_between_parts() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part in ("__init__", "__main__"):
            continue
        beside = part in COMMANDS or part in BESIDE_COMMANDS
        used = imported_parts(path) - {part}
        if refused := used & set(COMMANDS) if beside else used - ALLOWED[part]:
            wrong.append(f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(refused))}")
    assert wrong == []


def test_fitting_knows_nothing_of_a_study_but_its_flags() -> None:
    for path in (PACKAGE / "fitting").rglob("*.py"):
        used = {".".join(name.split(".")[:3]) for name in imported_names(path)}
        assert {module for module in used if module.startswith("mnist_scaling.study")} <= FITTING_MAY_USE, path


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        # Every Hydra app in the environment imports the plugin.
        ("from hydra.core.plugins import Plugins; Plugins.instance()", {"torch", "optuna", "scipy"}),
        ("import mnist_scaling.fit", {"torch", "optuna", "seaborn"}),
        ("from mnist_scaling import compare, plan, report, train", {"torch", "optuna"}),
        ("import mnist_scaling.asking.answered", {"torch", "optuna", "seaborn"}),
        ("import mnist_scaling.fitting", {"torch", "optuna", "pandas", "hydra", "omegaconf"}),
        ("import mnist_scaling.training.loop", {"optuna", "seaborn"}),
    ],
)
def test_what_is_not_loaded(code: str, heavy: set[str]) -> None:
    assert not loaded_by(code) & heavy


def test_the_plugin_is_found() -> None:
    from hydra.core.plugins import Plugins
    from hydra.plugins.sweeper import Sweeper

    assert "CellSweeper" in [cls.__name__ for cls in Plugins.instance().discover(Sweeper)]


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: Iterable[str]) -> set[str]:
    """Modules of the package that a file imports, also inside functions, but not for the type checker alone."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.orelse:
                yield from visit(child)
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from package import name`: the module of that name, if there is one, else the package itself.
            names = {f"{node.module}.{alias.name}": str(node.module) for alias in node.names}
            yield from (name if name in known else package for name, package in names.items())
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return {name for name in visit(ast.parse(path.read_text())) if name in known}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one node, or of one that points to itself (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component = [stack.pop()]
            while component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1 or node in graph[node]:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"f"}}
    assert sorted(circles(graph)) == [["a", "b", "c"], ["f"]]


def test_no_module_imports_itself_through_others() -> None:
    known = modules()
    assert circles({name: imports(path, known) - {name} for name, path in known.items()}) == []


MOST_MODULES = 12
"""Modules that a folder may have of its own."""


def test_rooms_do_not_import_each_other_in_circles() -> None:
    """Folders as nodes; a module that lies beside folders is a node of its own."""
    known = modules()
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    halls = {name for name in packages if any(other.startswith(f"{name}.") for other in packages)}

    def room(name: str) -> str:
        parent = name.rpartition(".")[0]
        return name if name in packages or parent in halls else parent

    graph: dict[str, set[str]] = {room(name): set() for name in known}
    for name, path in known.items():
        graph[room(name)] |= {room(target) for target in imports(path, known)} - {room(name)}
    assert circles(graph) == []


def test_a_folder_is_short() -> None:
    folders = [path for path in [PACKAGE, *PACKAGE.rglob("*")] if path.is_dir()]
    counts = {folder: len([p for p in folder.glob("*.py") if p.name != "__init__.py"]) for folder in folders}
    assert not {str(folder): n for folder, n in counts.items() if n > MOST_MODULES}


TOPICS = {"base", "laws", "parametrization", "run", "tuning"}
"""Names that several packages have for one thing: what the files beside it share, or a figure about the package."""


def test_no_two_modules_are_told_apart_by_a_plural_or_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        here = path.parent if path.name == "__init__.py" else path
        if here != PACKAGE:
            places.setdefault(here.stem, []).append(here.relative_to(PACKAGE).as_posix())
    assert not {(name, f"{name}s") for name in places if f"{name}s" in places}
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert set(shared) <= TOPICS, shared


def test_no_class_name_stands_twice() -> None:
    homes: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(path.relative_to(PACKAGE).as_posix())
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


# Walks through the code that docs/architecture.md writes out, followed in real runs.

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"


@dataclass(frozen=True)
class Step:
    """One line of a walk."""

    file: str
    function: str


def walk(heading: str) -> list[Step]:
    """The numbered list under a heading: "1. `file`: `function` - what happens"."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if re.match(r"\d+\. ", line)]
    found = [re.fullmatch(r"\d+\. `([\w/]+\.py)`: `(\w+)` - \S.+", line) for line in lines]
    assert all(found), lines
    return [Step(*match.groups()) for match in found if match is not None]


def holds(thing: Any, number: float, depth: int = 4) -> bool:
    """Whether a number is in an argument: itself, or inside mappings, lists, arrays, tables and dataclasses."""
    if isinstance(thing, float | np.floating):
        return bool(thing == number)
    if isinstance(thing, np.ndarray):
        return thing.dtype.kind == "f" and bool((thing == number).any())
    if depth == 0:
        return False
    if isinstance(thing, pd.DataFrame):
        return any(holds(thing[column].to_numpy(), number) for column in thing)
    if isinstance(thing, Mapping):
        return any(holds(value, number, depth - 1) for value in thing.values())
    if isinstance(thing, list | tuple):
        return any(holds(value, number, depth - 1) for value in thing)
    if is_dataclass(thing):
        return any(holds(getattr(thing, f.name), number, depth - 1) for f in fields(thing) if hasattr(thing, f.name))
    return False


class Trace:
    """What the frames of the package do between `with` and its end.

    Parameters
    ----------
    steps : sequence of Step
        Their calls are kept.
    numbers : sequence of float
        The value on its way, in every form that it takes.
    until : Step, optional
        Every line is looked at until its first call.
    """

    def __init__(self, steps: Sequence[Step], numbers: Sequence[float], until: Step | None = None) -> None:
        self.steps, self.numbers, self.until = set(steps), numbers, until
        self.calls: dict[Step, list[tuple[list[str], bool]]] = {step: [] for step in steps}
        """Of each call of a step the files of the package on the stack, and whether an argument held the value."""
        self.passed: set[str] = set()
        """Files in which an argument, a variable or what is returned to them is the value."""

    def __enter__(self) -> Trace:
        sys.settrace(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _look(self, frame: FrameType, event: str, returned: Any) -> Any:
        file = self._file(frame)
        if file is None:
            return None
        step, known = Step(file, frame.f_code.co_name), list(frame.f_locals.values())
        if any(type(value) is float and value in self.numbers for value in known):
            self.passed.add(file)
        if event == "return" and type(returned) is float and returned in self.numbers:
            self.passed |= {file, *self._stack(frame.f_back)[:1]}
        if event == "call" and step in self.steps:
            held = any(holds(value, number) for value in known for number in self.numbers)
            self.calls[step].append((self._stack(frame), held))
            if step == self.until:
                sys.settrace(None)
        return None if self.until is None else self._look

    def _stack(self, frame: FrameType | None) -> list[str]:
        found = []
        while frame is not None:
            file, frame = self._file(frame), frame.f_back
            found += [file] if file is not None else []
        return found

    @staticmethod
    def _file(frame: FrameType | None) -> str | None:
        path = Path(frame.f_code.co_filename) if frame is not None else Path()
        return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else None


LOOKED_AT = {"errors.py"}
"""Where a learning rate is only looked at: it does not go on from there."""


def test_a_learning_rates_way(tmp_path: Path, data_dir: str) -> None:
    from mnist_scaling import config, image_task
    from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RunConfig
    from mnist_scaling.tuning.workers import perform
    from mnist_scaling.tuning.workers.job import Job, Parcel

    way = walk("A learning rate's way")
    assert len({step.file for step in way}) <= 6
    rate = 0.0123456789
    run = RunConfig(
        device="cpu",
        model=ModelConfig(width=4, dropout=0.0),
        data=DataConfig(dir=data_dir, max_train=64, max_eval=64),
        optim=OptimConfig(lr=rate, schedule="constant", warmup=0.0, batch_size=32),
    )
    job = Job("all", "all/repeat-0", (), {}, "repeat", 0, 0, "sampler")
    parcel = Parcel(job, config.flatten(asdict(run)), str(tmp_path), {"data.dir": data_dir})
    with Trace(way, [rate], until=way[-1]) as trace:
        assert perform.perform(parcel, image_task.TASK).error is None
    assert all(trace.calls.values())
    # The job holds it among its values; from there on it is a number of its own.
    assert trace.calls[way[0]][0][1]
    assert trace.passed - LOOKED_AT == {step.file for step in way[1:]}


def test_nothing_else_in_training_reads_a_learning_rate() -> None:
    readers = set()
    for path in (PACKAGE / "training").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("lr", "peak_lr"):
                owner = ast.unparse(node.value).rpartition(".")[2]
                readers |= {path.relative_to(PACKAGE).as_posix()} if owner in ("config", "optim", "run") else set()
    assert readers <= {step.file for step in walk("A learning rate's way")}


def recorded(folder: Path, losses: Mapping[tuple[int, float], float]) -> None:
    """A study's records: per width and share of the data one trial and two repeats of the same loss."""
    from mnist_scaling.config import DataConfig, ModelConfig, RunConfig, TrialConfig, flatten
    from mnist_scaling.study import files, layout
    from mnist_scaling.study.columns import TrainResult

    for (width, share), loss in losses.items():
        axes = {"width": width, "data_fraction": share}
        cell = folder.joinpath(*layout.cell_parts(axes))
        keys = {"model.width": width, "data.fraction": share}
        cell.mkdir(parents=True)
        files.write_sealed(cell / layout.CELL, {"keys": keys, "axes": axes, "space": {}})
        n, d = 100 * width, int(50_000 * share)
        for stage, number in (("trial", 0), ("repeat", 0), ("repeat", 1)):
            run = RunConfig(model=ModelConfig(width=width), data=DataConfig(fraction=share), trial=TrialConfig(stage))
            result = TrainResult(
                state="COMPLETE", n_params=n, n_params_input=1, n_params_hidden=n - 2, n_params_output=1, n_train=d,
                n_seen=d, epochs=1.0, steps=d // 32, flops=6 * n * d, flops_forward=2 * n * d, flops_output=d,
                val_loss=loss, val_error=0.1, test_loss=None if stage == "trial" else loss,
            )  # fmt: skip
            record = {"stage": stage, "number": number, "seed": number, "origin": None, "state": result.state}
            record |= {"seconds": 1.0, "error": None, "config": flatten(asdict(run))}
            measured = {key: value for key, value in asdict(result).items() if key != "state"}
            path = cell / f"{stage}-{number:03}"
            path.mkdir()
            files.write_sealed(path / layout.RESULT, record | {"result": measured})


@pytest.mark.slow
def test_a_losss_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mnist_scaling import fit
    from mnist_scaling.config.fit_schema import BootstrapConfig, FitConfig
    from mnist_scaling.study.records import read_study
    from mnist_scaling.tuning.sweep import study_tables

    way, further = walk("A loss's way"), walk("An interval's way")
    assert len({step.file for step in way}) <= 15
    monkeypatch.chdir(tmp_path)
    grid = itertools.product((4, 8, 16, 32), (0.125, 0.25, 0.5, 1.0))
    losses = {(n, d): 3 * (100 * n) ** -0.3 + 40 * (50_000 * d) ** -0.5 for n, d in grid}
    one = losses[8, 0.5]
    study = tmp_path / "multirun" / "small"
    recorded(study, losses)
    with Trace([*way, *further], [one, float(np.log(one))]) as trace:
        study_tables.write(study, read_study(study).rows, {})
        fit.run(FitConfig(name="small", laws="additive", bootstrap=BootstrapConfig(draws=20)))
    without = []
    for step, calls in trace.calls.items():
        files = {other.file for other in (way if step in way else [*way, *further])}
        direct = [held for stack, held in calls if set(stack) <= files]
        assert direct, f"{step} is reached by way of other files only: {calls[:1]}"
        without += [] if any(direct) or step not in way else [step.function]
    # What goes in there is the study's name; what comes out are numbers that the losses have become.
    assert without == ["run", "read"]
    quoted = json.loads((study / "fits.json").read_text())["headline"]
    assert quoted["slope_N"]["value"] == pytest.approx(0.2, abs=0.1)
    assert quoted["N_exponent"]["value"] == pytest.approx(0.5 / 0.8, abs=0.01)


@pytest.mark.slow
def test_a_differences_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mnist_scaling import compare
    from mnist_scaling.config.compare_schema import CompareConfig

    monkeypatch.chdir(PAGE.parents[1])  # where the kept studies are
    way = walk("A difference's way")
    with Trace(way, []) as trace:
        compare.run(CompareConfig(studies=("lr_tuned", "lr_fixed"), out=str(tmp_path), exponents=False))
    for step, calls in trace.calls.items():
        direct = any(set(stack) <= {one.file for one in way} for stack, _ in calls)
        assert direct, f"{step} is reached by way of other files only: {calls[:1]}"
