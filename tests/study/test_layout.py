"""Names of studies become folders: one plain folder each, inside multirun/."""

from __future__ import annotations

import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.study import layout


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/tmp/x", "a\\b", "x[/]", "it's", "single", "*", "a\tb", "x" * 300]
)
def test_a_name_that_is_no_folder_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="`name` must be the name of one folder in multirun/"):
        layout.study_folder(name)


@pytest.mark.parametrize("name", ["quickstart", "a.b", "width x data", "2026-11-23"])
def test_a_plain_name_is_a_folder(name: str) -> None:
    assert layout.study_folder(name).parts == ("multirun", name)
