"""Names of studies become folders: one plain folder each, inside multirun/."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from mnist_scaling.errors import InputError
from mnist_scaling.study import layout


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/tmp/x", "a\\b", "x[/]", "it's", "single", "*", "a\tb", "x" * 300]
)
def test_a_name_that_is_no_folder_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="`name` must be the name of one folder in multirun/"):
        layout.study_folder(name)


def test_a_study_elsewhere_is_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `name_argument` says is what `found_folder` understands."""
    monkeypatch.chdir(tmp_path)
    for folder in ("multirun/first", "elsewhere/a study", "2026-11-29/01-41-02"):
        path = tmp_path / folder
        path.mkdir(parents=True)
        override = OverridesParser.create().parse_override(*shlex.split(layout.name_argument(path)))
        assert layout.found_folder(str(override.value())).absolute() == path
    assert layout.name_argument(tmp_path / "multirun/first") == "name=first"
    kept = Path("multirun/reference/second")
    kept.mkdir(parents=True)
    assert layout.name_argument(kept) == "name=second"
    Path("multirun/second").mkdir()
    assert layout.name_argument(kept) == "name=multirun/reference/second", "the name is that of the study of one's own"
    with pytest.raises(InputError, match="or the path of its folder, but there is no folder none/there: check it"):
        layout.found_folder("none/there")


@pytest.mark.parametrize("name", ["quickstart", "a.b", "width x data", "2026-11-23"])
def test_a_plain_name_is_a_folder(name: str) -> None:
    assert layout.study_folder(name).parts == ("multirun", name)
