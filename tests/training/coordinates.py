"""The coordinate check of benchmarks/, for the tests of families and of parametrizations."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    _module = importlib.import_module("coordinate_check")

COLUMNS, coordinate_check, slopes = _module.COLUMNS, _module.coordinate_check, _module.slopes
