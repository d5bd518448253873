"""Files are replaced as a whole, keep the umask, and are named when they are damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_scaling.study import files
from mnist_scaling.study.files import DamagedFileError


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_written_file_has_the_mode_that_the_umask_says(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    for _ in range(2):  # also when it replaces one
        files.write_atomically(path, "width\n")
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_writer_that_is_stopped_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    files.write_atomically(path, "old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["cells.csv"]
    assert path.read_text() == "old"


def test_a_reader_of_the_old_file_sees_nothing_of_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    files.write_atomically(path, "old")
    with path.open() as reader:
        files.write_atomically(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_what_a_killed_writer_left_goes_and_nothing_else(tmp_path: Path) -> None:
    for name in (".result.json.0a1b2c3d", "result.json", "result.json.damaged", ".other.json.0a1b2c3d"):
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path / "result.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".other.json.0a1b2c3d", "result.json", "result.json.damaged"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b'{"loss": 0.1', "not JSON"),
        (b'{"loss": NaN}', "NaN is no JSON number"),
        (b"\xff\xfe\x00\x80", "not JSON"),
        (b"\x00" * 100, "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "it must hold a JSON object, but holds list"),
    ],
)
def test_a_damaged_file_is_named_and_can_be_set_aside(
    content: bytes, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.json"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=reason) as caught:
        files.read_json(path)
    assert str(caught.value).startswith(f"{path} must be JSON with all its keys, but is damaged (")
    files.set_aside(caught.value, "and is written anew")
    assert (tmp_path / "study.json.damaged").read_bytes() == content
    assert not path.exists()
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"Warning: {path} is damaged (")
    assert said.endswith("It is kept as study.json.damaged, and is written anew.")


def test_a_changed_byte_of_a_sealed_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    content = {"loss": 0.1 + 0.2, "name": 'a "quoted" ,"crc32":7} word', "curve": [[1, None]], "deep": {"é": True}}
    files.write_sealed(path, content)
    whole = path.read_bytes()
    read = files.read_json(path, is_sealed=True) or {}
    assert {k: v for k, v in read.items() if k != files.CHECKSUM} == content
    mark = whole.rindex(b',"crc32"')
    for place in (*range(mark), *range(mark + len(',"crc32":'), len(whole) - 1)):  # all but the mark and the line's end
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(files.DamagedFileError):
            files.read_json(path, is_sealed=True)
    path.write_text(json.dumps(content))  # written by hand
    with pytest.raises(files.DamagedFileError, match="its checksum is not that of its content"):
        files.read_json(path, is_sealed=True)
