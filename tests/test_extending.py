"""docs/extending.md: its files are written and its commands run exactly as they stand, in a copy of the checkout."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from .preforked import Preforked

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"


def files(text: str) -> dict[str, str]:
    """Each fenced block, by the last path that stands in backticks before it."""
    parts = re.split(r"^```(?:python|yaml)\n(.*?)^```\n", text, flags=re.DOTALL | re.MULTILINE)
    return {
        re.findall(r"`([\w/]+\.\w+)`", before)[-1]: block
        for before, block in zip(parts[:-1:2], parts[1::2], strict=True)
    }


def commands(text: str) -> list[list[str]]:
    outside = re.sub(r"^```.*?^```\n", "", text, flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for line in re.findall(r"^    (python .+)$", outside, flags=re.MULTILINE)]


def test_a_family_a_data_set_and_a_question_of_ones_own(data_dir: str, preforked: Preforked, tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for folder in ("src", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").symlink_to(data_dir)
    written = files(text)
    assert len(written) == 5
    for name, content in written.items():
        assert not (ROOT / name).exists(), f"{name} is in the checkout already, so it is no file of one's own"
        (tmp_path / name).write_text(content, encoding="utf-8")
    ran = commands(text)
    assert len(ran) == 4
    source = str(tmp_path / "src")
    for words in ran:
        module = words[2:] if words[1] == "-m" else [words[1].removesuffix(".py"), *words[2:]]
        done = preforked.run(module, tmp_path, PYTHONPATH=source)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    answer = json.loads((tmp_path / "multirun/answers/mine/smoke.json").read_text())
    assert answer["sentence"].startswith("With more data the perceptron's loss falls")
    assert answer["cells"] == 8


def test_the_table_of_kinds_is_what_there_is() -> None:
    from mnist_scaling.asking import measures

    table = PAGE.read_text(encoding="utf-8").split("| kind |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(measures.kinds())
