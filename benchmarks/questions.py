"""Keep the tables of answered questions, and write docs/questions.md from them.

    python -m mnist_scaling.ask question=dropout scale=quick    # and so on, for every question
    python benchmarks/questions.py

The first part copies cells.csv of every finished study of a question into tests/asking/kept/, and each figure into
docs/images/questions/; a question without a finished study keeps what was kept before. The second part computes every
row of docs/questions.md from what is kept: `tests/asking/test_kept_answers.py` does the same and compares.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd

from mnist_scaling.asking.answered import Answer, answer
from mnist_scaling.asking.drawn import draw, figure_of
from mnist_scaling.asking.question import find_question, leave_out, question_names, with_twin
from mnist_scaling.asking.study_arms import study_name, tables_of
from mnist_scaling.config.ask_schema import Question
from mnist_scaling.study import layout
from mnist_scaling.study.files import read_json, write_atomically
from mnist_scaling.study.missing import unfinished
from mnist_scaling.study.tables.csv_table import read_table

ROOT = Path(__file__).parents[1]
KEPT, FIGURES, PAGE = ROOT / "tests/asking/kept", ROOT / "docs/images/questions", ROOT / "docs/questions.md"
SCALE, DPI = "quick", 80
WITHOUT = {"datasets": ("kmnist",)}
"""Studies that are left out of a question: KMNIST could not be fetched where the kept tables were made."""

HEAD = """# Questions and their answers

`python -m mnist_scaling.ask` lists the questions, with what each costs on your machine and how far it is. A question
runs its studies, compares them and writes `multirun/answers/<question>/`: a page, a JSON file and the figure. What is
stopped resumes, and studies that questions share run once. [docs/extending.md](extending.md) brings one of your own.

| scale | what it is for |
|---|---|
| `full` (the default) | an answer: the whole grids, an hour or less each on two cores |
| `quick` | a first look in minutes: four values per axis, six trials, two repeats, 12,500 images, or as its file says |
| `smoke` | does everything run? Its numbers mean nothing |

Below is what `scale=quick` answered. These are small grids: 16 cells in most, of 781 to 12,500 images and widths 3 to
32; the questions about compute go to 50,000 images, and critical batch size goes to 25,000. Minutes are those of all
runs of the question's studies, added up, on one core that other work shared. Every answer is computed from the tables
in tests/asking/kept/ by `python benchmarks/questions.py`, and a test computes it again.

Brackets hold 95 % intervals. Of a difference, *differs* means that its interval misses zero, *equivalent* that all of
it lies within ± 0.03 (of an exponent, within a tenth of it, too), and *not settled* that neither is so, which is not
"no difference". The intervals hold the noise of the repeats and what six trials leave to chance, which neighbouring
cells have in common because each starts from what its cheaper neighbours selected
([comparing.md](comparing.md#luck-in-tuning)). Since 2026-11-29 `ask` also tunes
one arm of such a question twice, to see that chance; the tables below are older and have no such twin. Where many cells
of a study are flagged, as the notes below an answer say, its numbers speak of these runs, not of the best ones.
"""


def asked(name: str, conf: Path) -> Question:
    """A question, with the twin of one of its arms where that study is kept."""
    question = find_question(name, conf)[1]
    whole = with_twin(question, SCALE)
    kept = set(whole.studies) - set(WITHOUT.get(name, ()))
    return whole if all(path.is_file() for k, path in kept_tables(whole).items() if k in kept) else question


def find(name: str, conf: Path) -> Question:
    """A question, without the studies that are left out."""
    return leave_out(asked(name, conf), WITHOUT.get(name, ()))


def kept_tables(question: Question) -> dict[str, Path]:
    """The kept cells.csv of each study of a question."""
    return {key: KEPT / study_name(key, SCALE) / layout.CELLS for key in question.studies}


def is_kept(question: Question) -> bool:
    """Whether all tables of a question are kept."""
    return bool(question.studies) and all(path.is_file() for path in kept_tables(question).values())


def answered(name: str, conf: Path) -> Answer:
    """The answer that the kept tables give."""
    question = asked(name, conf)
    return answer(name, question, SCALE, kept_tables(question), WITHOUT.get(name, ()))


def entry(name: str, conf: Path) -> str:
    """The section of docs/questions.md about one question."""
    question, without = find(name, conf), WITHOUT.get(name, ())
    command = f"    python -m mnist_scaling.ask question={name} scale={SCALE}"
    command += f" without=[{','.join(without)}]" if without else ""
    head = f"## {question.title}\n\n{question.question}\n\n{command}\n"
    if question.parts:
        parts = ", ".join(f"`{part}`" for part in question.parts)
        return f"{head}\nOne page with the answers to {parts}, in this order; they stand here one by one.\n"
    if not is_kept(question):
        return f"{head}\nNot run at this scale yet, so there is no answer.\n"
    found = answered(name, conf)
    notes = "".join(f"\n- {note}" for note in found.found.notes)
    return (
        f"{head}\n**{found.sentence}**\n\n![{question.title}](images/questions/{name}.png)\n\n"
        f"{found.cells} cells, {found.minutes:.1f} minutes, {date(question)}.\n{notes}{chr(10) if notes else ''}"
    )


def date(question: Question) -> str:
    """The last day on which one of the question's studies was started."""
    days = [json.loads((path.parent / layout.STUDY).read_text())["started"] for path in kept_tables(question).values()]
    return max(days)[:10]


def page(conf: Path) -> str:
    """docs/questions.md."""
    return "\n".join([HEAD, *(entry(name, conf) for name in question_names(conf))]).rstrip() + "\n"


def keep(conf: Path) -> None:
    """Copy what finished studies of questions measured, and draw the figures anew."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in question_names(conf):
        question = leave_out(with_twin(find_question(name, conf)[1], SCALE), WITHOUT.get(name, ()))
        tables = tables_of(question, SCALE)
        for path in tables.values():
            study = read_json(path.parent / layout.STUDY) or {}
            trials = path.parent / layout.TRIALS
            if path.is_file() and not unfinished(path.parent, read_table(path), read_table(trials), study):
                target = KEPT / path.parent.name
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / layout.CELLS)
                facts = {key: study.get(key) for key in ("command", "started", "commit")}
                write_atomically(target / layout.STUDY, json.dumps(facts, indent=1) + "\n")
        if is_kept(find(name, conf)):
            draw(figure_of(answered(name, conf)), FIGURES, name, ("png",), DPI)


def main() -> None:
    """Keep and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page-only", action="store_true", help="write the page from what is kept, and copy nothing")
    conf = ROOT / "conf"
    if not parser.parse_args().page_only:
        keep(conf)
    write_atomically(PAGE, page(conf))
    frames = [pd.read_csv(path) for path in KEPT.glob(f"*/{layout.CELLS}")]
    print(f"{len(frames)} studies kept, {sum(map(len, frames))} cells; {PAGE} written.")


if __name__ == "__main__":
    main()
