"""The repository's own studies: run them, keep their tables, and write what docs/ says of them.

    python benchmarks/reference.py run [QUESTION …]   every full study of these questions; of all, if none is named
    python benchmarks/reference.py keep               copy finished studies of multirun/, and their reports, to here
    python benchmarks/reference.py page               only draw and write the pages, from what is kept
    python benchmarks/reference.py reports            fit every kept study anew and write its report to docs/reference/

`run` is `train -m` with the overrides that `ask` gives it, study by study, and `keep` after each; what is stopped goes
on, and what is kept is not run again. A question is answered where the tables of all its studies are kept in
multirun/reference/. `tests/asking/test_kept_answers.py` computes the page again and compares.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mnist_scaling import compare
from mnist_scaling.asking.answered import Answer, answer, record
from mnist_scaling.asking.drawn import draw, figure_of
from mnist_scaling.asking.question import SLOT, arms_of, find_question, order_of, question_names, with_twin
from mnist_scaling.asking.study_arms import study_name, sweep, with_measured_twin
from mnist_scaling.config.ask_schema import FULL, Question
from mnist_scaling.config.compare_schema import CompareConfig
from mnist_scaling.reporting.text import estimate
from mnist_scaling.reporting.words.in_short import trusted
from mnist_scaling.study import layout
from mnist_scaling.study.files import read_json, write_atomically, write_json
from mnist_scaling.study.missing import unfinished
from mnist_scaling.study.records import read_cells
from mnist_scaling.study.tables.csv_table import read_table

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / layout.MULTIRUN / layout.REFERENCE
FIGURES, PAGE, DPI = ROOT / "docs/images/questions", ROOT / "docs/questions.md", 80
TUTORIAL, REPORT = ROOT / "docs/tutorial.md", ROOT / "docs/reference_study.md"
REPORTS = ROOT / "docs/reference"
"""The report of every kept study, in a folder of its own."""

TOLD = re.compile(r"(<!-- answer: (\w+) -->\n)> ?(.*)")
"""Pages that repeat answers, each below its mark."""

SUMMARY = re.compile(r"(<!-- summary -->\n).*?(?=\n<!-- end -->)", re.DOTALL)
"""Where the second of these pages has its table of all answers."""

TABLES = (layout.CELLS, layout.TRIALS, layout.CURVES, layout.STUDY, layout.FITS, layout.PREDICTIONS)
"""What is kept of a study, where it is there."""

HEAD = """# Questions and their answers

This page is for those who want to know what was found with this project, and how sure that is. `python -m
mnist_scaling.ask` lists the questions, with how far they are. A question runs its studies, compares them and writes
`multirun/answers/<question>/`: a page, a JSON file and the figure. What is stopped resumes, and studies that questions
share run once. [own_problem.md](own_problem.md#a-question) brings one of your own.

| scale | what it is for |
|---|---|
| `full` (the default) | an answer: the whole grids, an hour or less each on two cores |
| `quick` | a first look in minutes: four values per axis, six trials, two repeats, 12,500 images, or as its file says |
| `smoke` | does everything run? Its numbers mean nothing |

Each answer below names its scale. The tables of full-scale studies come with the repository, in multirun/reference/,
and `fit`, `compare`, `report`, `plan` and `ask` read them by name where you have no study of that name yourself:
`python -m mnist_scaling.fit name=width_x_data`. `make reference` runs these studies again. Minutes are those of all
runs of the question's studies, added up, on one core that other work shared. A test computes every answer again from
the kept tables.

N is the number of parameters, D that of training examples seen, and C the training FLOPs; alpha and beta are the
exponents in L ∝ N^−alpha D^−beta, so that the larger one falls faster.

Brackets hold 95 % intervals. Of a difference, *equivalent* means that all of its interval lies within ± 0.03 (of an
exponent, within a tenth of it, too), *differs* that it does not and misses zero, and *not settled* that neither is so,
which is not "no difference". The intervals hold the noise of the repeats and what a finite number of trials leaves to
chance, which neighbouring cells have in common because each starts from what its cheaper neighbours selected
([comparing.md](comparing.md#luck-in-tuning)). `ask` tunes one arm of such a question twice, with another seed, to see
that chance; the studies whose names end in `_twin` are kept for it. Where many cells of a study are flagged, as the
notes below an answer say, its numbers speak of these runs, not of the best ones.
"""


def kept_tables(question: Question, scale: str = FULL) -> dict[str, Path]:
    """The kept cells.csv of each study of a question."""
    return {key: REFERENCE / study_name(key, scale) / layout.CELLS for key in question.studies}


def is_kept(question: Question) -> bool:
    """Whether all tables of a question are kept."""
    return bool(question.studies) and all(path.is_file() for path in kept_tables(question).values())


def asked(name: str, conf: Path) -> Question:
    """A question, with its twin where that is kept too."""
    return with_measured_twin(find_question(name, conf)[1], FULL, kept_tables)


def answered(name: str, conf: Path) -> Answer:
    """The answer that the kept tables give."""
    question = asked(name, conf)
    return answer(name, question, FULL, kept_tables(question))


def entry(name: str, conf: Path) -> str:
    """The section of docs/questions.md about one question."""
    question = asked(name, conf)
    head = f"## {question.title}\n\n{question.question}\n\n    python -m mnist_scaling.ask question={name}\n"
    if question.parts:
        parts = ", ".join(f"`{part}`" for part in question.parts)
        return f"{head}\nOne page with the answers to {parts}, in this order; they stand here one by one.\n"
    if not is_kept(question):
        return f"{head}\nNot run yet, so there is no answer.\n"
    found = answered(name, conf)
    notes = "".join(f"\n- {note}" for note in found.findings.notes)
    return (
        f"{head}\n**{found.short}**\n\n{found.sentence}\n\n{trusted(found.trust.trust, found.trust.reasons)}\n\n"
        f"![{question.title}](images/questions/{name}.png)\n\n"
        f"scale={FULL}, {found.cells} cells, {found.minutes:.1f} minutes, "
        f"{date(kept_tables(question).values())}.\n{notes}{chr(10) if notes else ''}"
    )


def date(tables: Iterable[Path]) -> str:
    """The last day on which one of these studies was started."""
    return max(json.loads((path.parent / layout.STUDY).read_text())["started"] for path in tables)[:10]


def page(conf: Path) -> str:
    """docs/questions.md."""
    return "\n".join([HEAD, *(entry(name, conf) for name in question_names(conf))]).rstrip() + "\n"


def told(text: str, conf: Path) -> str:
    """A page with the answer of its question below each mark, and the table of all answers between its marks."""
    text = SUMMARY.sub(lambda mark: mark[1] + summary(conf), text)
    return TOLD.sub(lambda mark: f"{mark[1]}> {answered(mark[2], conf).sentence}", text)


def summary(conf: Path) -> str:
    """A row for each answer at full scale: the numbers that its figure shows, else the first two of its sentence."""
    rows = [
        "| `ask question=…` | what was measured, and its 95 % interval | cells | minutes | reports |",
        "|---|---|---|---|---|",
    ]
    for name in question_names(conf):
        question = asked(name, conf)
        if is_kept(question):
            found = answered(name, conf)
            numbers = found.findings.numbers
            slots = (
                question.figure.intervals or [slot for slot in SLOT.findall(question.sentence) if slot in numbers][:2]
            )
            shown = [
                f"{numbers[s].meaning}: {estimate(numbers[s].interval)}" for s in slots if numbers[s].interval.known
            ]
            link = f"[{question.title}](questions.md#{question.title.lower().replace(' ', '-')})<br>`{name}`"
            pages = ", ".join(f"[{key}](reference/{key}/report.html)" for key in question.studies)
            if (REPORTS / name / layout.COMPARISON_PAGE).is_file():
                pages += f", [compared](reference/{name}/{layout.COMPARISON_PAGE})"
            rows.append(f"| {link} | {'<br>'.join(shown)} | {found.cells} | {found.minutes:.0f} | {pages} |")
    return "\n".join(rows)


def studies(names: Iterable[str], conf: Path) -> dict[str, list[str]]:
    """Every study of these questions, twins last: its name and the overrides of `train -m`."""
    plain, twins = {}, {}
    for name in names:
        for part in find_question(name, conf)[1].parts or (name,):
            question = find_question(part, conf)[1]
            whole = with_twin(question, FULL)
            for key in order_of(whole):
                wanted = plain if key in question.studies else twins
                wanted[study_name(key, FULL)] = sweep(key, whole.studies[key], FULL)
    return plain | twins


def run(names: Iterable[str], conf: Path) -> None:
    """Run the studies that are not kept, one after another, and keep each when it ends."""
    for name, overrides in studies(names, conf).items():
        if not (REFERENCE / name).is_dir():
            print(f"\n{name}", flush=True)
            command = [sys.executable, "-m", "mnist_scaling.train", "-m", *overrides]
            subprocess.run(command, cwd=ROOT, check=True)
            keep({name})


def keep(names: Iterable[str]) -> None:
    """Copy the tables of studies that are finished."""
    for name in names:
        folder, target = ROOT / layout.MULTIRUN / name, REFERENCE / name
        study, cells, trials = read_json(folder / layout.STUDY), folder / layout.CELLS, folder / layout.TRIALS
        if study is None or not cells.is_file() or unfinished(folder, read_table(cells), read_table(trials), study):
            continue
        subprocess.run([sys.executable, "-m", "mnist_scaling.fit", f"name={name}"], cwd=ROOT, check=False)
        target.mkdir(parents=True, exist_ok=True)
        for table in TABLES:
            if (folder / table).is_file():
                shutil.copy(folder / table, target / table)
        cells_of = {str(place.relative_to(folder)): cell for place, cell in read_cells(folder).items()}
        write_json(target / layout.CELL_RECORDS, cells_of)
        report(folder)


def reports() -> None:
    """Fit every kept study with the code of today, and write its report."""
    for cells in sorted(REFERENCE.glob(f"*/{layout.CELLS}")):
        fit = ["mnist_scaling.fit", f"name={cells.parent.name}", f"out={cells.parent.relative_to(ROOT)}"]
        subprocess.run([sys.executable, "-m", *fit], cwd=ROOT, check=True)
        report(cells.parent)


def report(folder: Path) -> None:
    """Draw the report of a fitted study, and keep its pages: of a study with arms one each, beside that of all."""
    command = [sys.executable, "-m", "mnist_scaling.report", f"name={folder.name}"]
    subprocess.run(command, cwd=ROOT, check=True)
    kept = REPORTS / folder.name
    kept.mkdir(parents=True, exist_ok=True)
    for page in folder.glob("*.html"):
        shutil.copy(page, kept / page.name)


def comparison(name: str, question: Question) -> None:
    """What `compare` says of the arms of a question that are whole studies of one loss: its JSON and its page."""
    specs, measured = arms_of(question), [one for one in question.measures if one["kind"] == "difference"]
    if not measured or {"columns", "losses"} & measured[0].keys():
        return
    first = specs[measured[0]["reference"]].study
    studies = [first, *(spec.study for spec in specs.values() if spec.study != first)]
    if len({*studies}) < len(specs) or any(spec.where for spec in specs.values()):
        return
    twin = f"{specs[question.twin].study}_twin" if question.twin else None
    out = REFERENCE / layout.ANSWERS / name
    kept = {"studies": studies, "twin": twin, "allow": ("data",), "out": str(out.relative_to(ROOT))}
    typed = [f"studies=[{','.join(studies)}]", *([f"twin={twin}"] if twin else []), f"name={name}"]
    with contextlib.redirect_stdout(io.StringIO()):
        compare.run(CompareConfig(**kept), typed)
    (REPORTS / name).mkdir(parents=True, exist_ok=True)
    shutil.move(out / layout.COMPARISON_PAGE, REPORTS / name / layout.COMPARISON_PAGE)


def write(conf: Path) -> None:
    """The answers, their figures and the page, from what is kept."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in question_names(conf):
        question = asked(name, conf)
        if is_kept(question):
            found = answered(name, conf)
            draw(figure_of(found), FIGURES, name, ("png",), DPI)
            (REFERENCE / layout.ANSWERS).mkdir(parents=True, exist_ok=True)
            write_json(REFERENCE / layout.ANSWERS / f"{name}.json", record(found))
            comparison(name, question)
    write_atomically(PAGE, page(conf))
    for path in (TUTORIAL, REPORT):
        write_atomically(path, told(path.read_text(encoding="utf-8"), conf))


def main() -> None:
    """Run, keep and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("run", "keep", "page", "reports"))
    parser.add_argument("questions", nargs="*", help="for run: the questions whose studies are run; all by default")
    given, conf = parser.parse_args(), ROOT / "conf"
    every = list(question_names(conf))
    if given.do == "run":
        run(given.questions or every, conf)
    if given.do == "keep":
        keep(studies(every, conf))
    if given.do == "reports":
        reports()
        return
    write(conf)
    frames = [pd.read_csv(path) for path in REFERENCE.glob(f"*/{layout.CELLS}")]
    print(f"{len(frames)} studies kept, {sum(map(len, frames))} cells; {PAGE}, {TUTORIAL} and {REPORT} written.")


if __name__ == "__main__":
    main()
