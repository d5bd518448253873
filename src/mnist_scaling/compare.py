"""python -m mnist_scaling.compare: compare arms, cell by cell where they can be; write comparison.json and a page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.arms.pairs import Member, differing, flags_of, pairs_of, twin_of
from mnist_scaling.config import JSON, build
from mnist_scaling.config.compare_schema import CompareConfig
from mnist_scaling.fitting.comparing import compare
from mnist_scaling.fitting.comparing.settle import USUALLY_TUNED, settling
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.comparison_json import Pair, comparison_record
from mnist_scaling.reporting.documents.json_form import plain
from mnist_scaling.reporting.pages import comparison_page
from mnist_scaling.reporting.text import listing
from mnist_scaling.reporting.words.conclusion import answer, comparison_summary, sentence, what
from mnist_scaling.study.files import write_atomically
from mnist_scaling.study.layout import COMPARISON, COMPARISON_PAGE


@hydra.main(config_path=cli.conf_dir(), config_name="compare")
def main(cfg: DictConfig) -> None:
    """Read, compare, write, show."""
    with cli.user_errors("compare"):
        run(build(CompareConfig, cfg), HydraConfig.get().overrides.task)


def compared(config: CompareConfig, overrides: Sequence[str] = ()) -> Pair:
    """Every pair of arms as comparison.json has it; nothing is written."""
    members, folder = pairs_of(config), config.folder
    twin = twin_of(config, [member for pair in members for member in pair])
    records = []
    for a, b in members:
        measured = compare(a.arm, b.arm, config.options(), twin)
        record = comparison_record(measured, [a.record(folder), b.record(folder)], flags_of(a, b, config))
        known = settling(measured, *_effort(a, b))
        differ = f" Their studies differ in {listing(keys)}." if (keys := differing(a, b)) else ""
        record = replace(record, settling=known, what=f"{what(record)}{differ}", sentence=sentence(record))
        of = max(len(table) + n for table, n in zip(measured.cells.tables, measured.cells.left_out, strict=True))
        records.append(replace(record, answer=answer(record, of, [(one.arm.name, one.rows) for one in (a, b)])))
    command = shlex.join(["python", "-m", "mnist_scaling.compare", *overrides]) if overrides else ""
    pairs = records if len(records) > 1 else ()  # the first is also the file's own
    return replace(records[0], pairs=pairs, config=asdict(config), command=command)


def run(config: CompareConfig, overrides: Sequence[str] = ()) -> Pair:
    """Compare every pair of arms, write comparison.json and its page, print what they say; `overrides` were typed."""
    comparison, folder = compared(config, overrides), config.folder
    text = json.dumps(plain(comparison), indent=1, allow_nan=False) + "\n"
    write_atomically(folder / COMPARISON, text)
    title = str(config.name or folder.name)
    write_atomically(folder / COMPARISON_PAGE, comparison_page.page(comparison, title))
    if config.format == JSON:
        print(text, end="")
        return comparison
    terminal.show(comparison_summary(comparison))
    print(f"\nWritten: {folder / COMPARISON}\nPage:    {folder / COMPARISON_PAGE}")
    return comparison


def _effort(a: Member, b: Member) -> tuple[float, float, int]:
    """Trials and repeats of a cell, usually, and tuned keys."""
    trials, repeats = pd.DataFrame([a.effort, b.effort]).mean().fillna(1.0)
    return float(trials), float(repeats), len(a.source.tuned) or USUALLY_TUNED * a.arm.tuned


if __name__ == "__main__":
    cli.run(main, "compare")
