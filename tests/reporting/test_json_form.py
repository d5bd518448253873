"""Dataclasses as JSON and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from mnist_scaling.fitting.uncertainty.interval import INLINE, OMITTED
from mnist_scaling.reporting.documents.fits_json import read_fits
from mnist_scaling.reporting.documents.json_form import plain, read


@dataclass(frozen=True)
class Inner:
    value: float = math.nan
    why: str = field(default="", metadata=OMITTED)


@dataclass(frozen=True)
class Outer:
    name: str
    parts: Sequence[Inner] = ()
    by_name: Mapping[str, Inner] = field(default_factory=dict)
    maybe: Inner | None = None
    rest: Mapping[str, float] = field(default_factory=dict, metadata=INLINE)


def test_there_and_back() -> None:
    outer = Outer("x", [Inner(1.5), Inner(2.0, "because")], {"a": Inner(3.0)}, None, {"N": 4.0})
    form = {"name": "x", "parts": [{"value": 1.5}, {"value": 2.0, "why": "because"}], "by_name": {"a": {"value": 3.0}},
            "maybe": None, "N": 4.0}  # fmt: skip
    assert plain(outer) == form
    assert list(plain(outer)) == list(form)
    assert read(Outer, form) == outer


def test_what_json_lacks_is_null_and_null_is_nan() -> None:
    found = plain({"a": np.array([1.0, np.nan]), "b": np.int64(3), "c": (Inner(math.inf),)})
    assert json.dumps(found, allow_nan=False) == '{"a": [1.0, null], "b": 3, "c": [{"value": null}]}'
    assert math.isnan(read(Inner, {"value": None}).value)


@pytest.mark.parametrize("form", [{"name": "x", "parts": {}}, {"name": "x", "by_name": [1]}, [], {"parts": []}])
def test_damage_is_an_error(form: object) -> None:
    with pytest.raises(TypeError):
        read(Outer, form)


def test_a_fit_is_read_as_it_was_written(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (grid / "fits.json").read_text()
    assert json.dumps(plain(read_fits(grid)), indent=1) + "\n" == text
    assert capsys.readouterr().out == ""
    older = json.loads(text)
    del older["answer"]["numbers"]
    (tmp_path / "fits.json").write_text(json.dumps(older))
    read_fits(tmp_path)
    assert "fits.json was written by another version" in capsys.readouterr().out
