"""The import arrows: libraries don't know each other, and light commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import mnist_scaling

PACKAGE = Path(mnist_scaling.__file__).parent
COMMANDS = ("train", "fit", "compare", "report", "ask")
BESIDE_COMMANDS = ("image_task",)
"""What stands beside commands for them alone: training as sweeps see it."""

ALLOWED = {
    "errors": set(),
    "config": {"errors", "study", "cli", "fitting", "settings"},
    "study": {"errors"},
    "cli": {"errors"},
    "training": {"errors", "config", "study"},
    "tuning": {"errors", "config", "study"},
    "fitting": {"errors", "study"},
    "settings": {"errors", "study", "fitting"},
    "arms": {"errors", "config", "study", "fitting", "settings"},
    "asking": {"errors", "config", "study", "fitting", "settings", "reporting"},
    "reporting": {"errors", "study", "fitting", "settings"},
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
        if part == "__init__":
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


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        # Every Hydra app in the environment imports the plugin.
        ("from hydra.core.plugins import Plugins; Plugins.instance()", {"torch", "optuna", "scipy"}),
        ("import mnist_scaling.fit", {"torch", "optuna", "seaborn"}),
        ("import mnist_scaling.compare", {"torch", "optuna"}),
        ("import mnist_scaling.report", {"torch", "optuna"}),
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


UNSORTED = ("mnist_scaling.tuning",)
"""Packages whose rooms still import each other in circles."""

MOST_MODULES = 14
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
    assert [circle for circle in circles(graph) if not circle[0].startswith(UNSORTED)] == []


def test_a_folder_is_short() -> None:
    folders = [path for path in [PACKAGE, *PACKAGE.rglob("*")] if path.is_dir()]
    counts = {folder: len([p for p in folder.glob("*.py") if p.name != "__init__.py"]) for folder in folders}
    assert not {str(folder): n for folder, n in counts.items() if n > MOST_MODULES}


MIRRORED = ("config/models", "training/models")
"""Folders with one file of a name each on purpose: what one configures the other builds."""

TOPICS = {"base", "laws", "parametrization", "run", "tuning", "workers"}
"""Names that several packages have for one thing: what the files beside it share, or a figure about the package."""


def test_no_two_modules_are_told_apart_by_a_plural_or_share_a_name() -> None:
    places: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        here = path.parent if path.name == "__init__.py" else path
        if here != PACKAGE:
            places.setdefault(here.stem, []).append(here.relative_to(PACKAGE).as_posix())
    assert not {(name, f"{name}s") for name in places if f"{name}s" in places}
    shared = {
        name: found
        for name, found in places.items()
        if len([p for p in found if not p.startswith(MIRRORED)]) + any(p.startswith(MIRRORED) for p in found) > 1
    }
    assert set(shared) <= TOPICS, shared
