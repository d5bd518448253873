"""One list of flags: whole, documented, and the only place that spells a code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mnist_scaling
from mnist_scaling.study import flags

PACKAGE = Path(mnist_scaling.__file__).parent
PARTS = ("fit.py", "compare.py", "report.py", "fitting", "reporting", "study")
FREE = (PACKAGE / "study" / "flags.py", PACKAGE / "fitting" / "diagnostics" / "__init__.py")
"""The list itself; and exports of functions that are named after their flag."""

FILES = [path for part in PARTS for path in sorted((PACKAGE / part).rglob("*.py")) or [PACKAGE / part]]


def test_every_constant_has_its_kind_and_every_kind_its_constant() -> None:
    others = {*flags.SEVERITIES, *flags.SORTS}
    constants = {v for k, v in vars(flags).items() if k.isupper() and isinstance(v, str)} - others
    codes = [kind.code for kind in flags.KINDS]
    assert sorted(codes) == sorted(constants)
    for kind in flags.KINDS:
        assert kind.severity in others
        assert kind.seen_when[0].islower() or kind.seen_when.startswith(("AICc", "`"))
        assert kind.remedy.endswith((".", "…."))
        assert not kind.not_shown or kind.not_shown.endswith(".")


def test_an_unknown_code_is_a_warning() -> None:
    assert flags.kind("mine").severity == flags.WARNING
    assert "leave them out" in flags.kind("mine").remedy


def test_no_code_is_spelled_a_second_time() -> None:
    codes = {kind.code for kind in flags.KINDS} - {flags.MISFIT}  # it is also the name of a number of the headline
    again = {}
    for path in {*FILES} - {*FREE}:
        nodes = [
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)
        ]
        if found := codes & {node.value for node in nodes if isinstance(node.value, str)}:
            again[str(path.relative_to(PACKAGE))] = found
    assert again == {}


@pytest.mark.parametrize("kind", [kind for kind in flags.KINDS if "STUDY" in kind.remedy], ids=lambda kind: kind.code)
def test_a_remedy_names_its_study_or_has_no_command(kind: flags.Kind) -> None:
    assert "`python -m mnist_scaling.plan name=mine resolve=true` writes " in flags.for_study(kind.remedy, "name=mine")
    alone = flags.for_study(kind.remedy, "")
    assert not {"`", "writes"} & {*alone, *alone.split()}
    assert alone.endswith((".", '".'))
