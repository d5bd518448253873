"""The import arrows: libraries don't know each other, and light commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mnist_scaling

PACKAGE = Path(mnist_scaling.__file__).parent
LIBRARIES = ("training", "tuning", "fitting", "reporting")
COMMANDS = ("train", "fit", "report")

ALLOWED = {
    "errors": set(),
    "config": {"errors"},
    "study": {"errors"},
    "cli": {"errors"},
    "training": {"errors", "config", "study"},
    "tuning": {"errors", "config", "study"},
    "fitting": {"errors", "study"},
    "reporting": {"errors", "study", "fitting"},
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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    found = imported_parts(path) - {part}
    if part in COMMANDS:
        assert not found & set(COMMANDS)
    elif part != "__init__":
        assert found <= ALLOWED[part], f"{part} may import {ALLOWED[part]}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "fitting").rglob("*.py")), ids=lambda path: path.name)
def test_fitting_knows_nothing_of_a_study_but_its_flags(path: Path) -> None:
    used = {".".join(name.split(".")[:3]) for name in imported_names(path)}
    assert {module for module in used if module.startswith("mnist_scaling.study")} <= FITTING_MAY_USE


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
        ("import mnist_scaling.report", {"torch", "optuna"}),
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
