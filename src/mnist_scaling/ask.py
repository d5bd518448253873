"""python -m mnist_scaling.ask: answer a question of scaling by running its studies and measuring them, or list them."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import hydra
from markupsafe import Markup
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.asking.question import find_question, order_of, question_names
from mnist_scaling.asking.study_arms import is_answered, study_name, sweep, tables_of, unmeasured, with_measured_twin
from mnist_scaling.config import JSON, TEXT, build
from mnist_scaling.config.ask_schema import FULL, NAME, AskConfig, Question, store
from mnist_scaling.errors import InputError
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.text import Sentence, TextTable, duration, listing, plural
from mnist_scaling.study import layout
from mnist_scaling.study.files import write_atomically, write_json

if TYPE_CHECKING:
    from mnist_scaling.asking.answered import Answer
    from mnist_scaling.tuning.sweep.forecast import Preview


store(Path(cli.conf_dir()))


@hydra.main(config_path=None, config_name=NAME)
def main(cfg: DictConfig) -> None:
    """List the questions, or answer one."""
    with cli.user_errors(NAME):
        config = build(AskConfig, cfg)
        conf = Path(cli.conf_dir())
        if config.question is None:
            questions = listed(conf, config.scale)
            print(json.dumps(questions, indent=1)) if config.format == JSON else show_list(questions, config.scale)
            return
        name, question = find_question(config.question, conf)
        if config.format == TEXT:
            ask(config, conf, name, question)
            return
        with contextlib.redirect_stdout(sys.stderr):
            path = ask(config, conf, name, question)
        print(path.read_text(encoding="utf-8"), end="")


def ask(config: AskConfig, conf: Path, name: str, question: Question) -> Path:
    """Run what is missing, measure, write page, JSON and figure, print the sentence; the path of the JSON."""
    # Here, because a list of questions needs none of it, and should not wait for it.
    from mnist_scaling.asking import measures
    from mnist_scaling.asking.answered import answer, record
    from mnist_scaling.asking.drawn import cell_table, draw, figure_of
    from mnist_scaling.reporting import figure_files
    from mnist_scaling.reporting.pages import answer_page
    from mnist_scaling.reporting.words.in_short import trusted

    every = {part: find_question(part, conf)[1] for part in question.parts} or {name: question}
    parts = {part: with_measured_twin(asked, config.scale, run=config.run) for part, asked in every.items()}
    for spec in (spec for asked in parts.values() for spec in asked.measures):
        measures.keys_of(spec)  # a mistake in the file costs no training
    if config.run:
        if question.parts and (lacking := unmeasured(parts, config.scale)):
            print(f"Not measured yet: {listing(lacking)}. With run=false the other parts are answered without them.")
        out = sys.stderr if config.format == JSON else None
        run_studies(parts, config.scale, out)
    lacking = unmeasured(parts, config.scale)
    command = shlex.join(["python", "-m", "mnist_scaling.ask", f"question={config.question}", f"scale={config.scale}"])
    if len(lacking) == len(parts):
        what = f"scale={config.scale} of {listing(lacking)}"
        raise InputError(f"`run=false` needs measured studies, but {what} has none: `{command}` runs them.")
    if lacking:  # the others have an answer
        parts = {part: asked for part, asked in parts.items() if part not in lacking}
    folder = layout.answer_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    sections = []
    for part, asked in parts.items():
        answered = answer(part, asked, config.scale, tables_of(asked, config.scale))
        file = f"{config.scale}-{part}" if len(parts) > 1 else config.scale
        cells = cell_table(answered, f"{part}-")
        figure = draw(figure_of(answered), folder, file)
        svg = figure_files.on_page(figure, part, asked.title, cells.cells, f"{part}-")
        sections.append(answer_page.Section(record(answered), svg, f"{file}.svg", cells))
    said = f"Not measured: {listing(lacking)}. This command runs what is missing: {command}" if lacking else ""
    files = {suffix: folder / f"{config.scale}.{suffix}" for suffix in ("json", "html")}
    records = [dict(section.record) for section in sections]
    several = {"name": name, "scale": config.scale, "parts": records, "missing": lacking}
    whole = several if question.parts else records[0]
    write_json(files["json"], whole)
    page = answer_page.page(
        question.title, question.question, config.scale, sections, command, files["json"].name, said
    )
    write_atomically(files["html"], page)
    print()
    for one in records:
        if question.parts:
            print(f"{one['title']}: {one['question']}")
        print(f"In short: {one['short']}\n" if one["short"] else one["sentence"])
        terminal.show([answer_page.numbers_table(one, quoted=True)])
        print(f"\n{trusted(one['trust'], one['reasons'])}\n")
        for note in one["notes"]:
            print(f"Note: {note}")
    print(*filter(None, [said, f"Answer: {files['json']}\nPage:   {files['html']}"]), sep="\n")
    return files["json"]


def read_answer(name: str, scale: str = FULL) -> Answer:
    """The answer to a question that has no parts, such as dropout or mine.yaml; nothing is run or written.

    Its studies lie in multirun/, or among the repository's own.

    Raises
    ------
    InputError
        When there is no such question, or a table of it is missing.
    """
    from mnist_scaling.asking.answered import answer

    name, question = find_question(name, Path(cli.conf_dir()))
    asked = with_measured_twin(question, scale, tables_of)
    return answer(name, asked, scale, tables_of(asked, scale))


def run_studies(parts: Mapping[str, Question], scale: str, out: TextIO | None = None) -> None:
    """Run every study that is not finished, each as `train -m` does and after those that it needs; shared ones once.

    The sweeps print to `out`, or to this program's stdout. InputError when a study of that name has another identity,
    before anything is run; SystemExit with the status of a sweep that did not end well.
    """
    every = {study_name(k, scale): sweep(k, q.studies[k], scale) for q in parts.values() for k in order_of(q)}
    for name, folder in {name: layout.found_folder(name) for name in every}.items():
        if layout.is_kept(folder):
            again = shlex.join(["python", "-m", "mnist_scaling.train", "-m", *every.pop(name)])
            print(f"{name} is read from {folder}, which comes with the repository. To measure it yourself: {again}")
    if not every:
        return
    from mnist_scaling.image_task import TASK
    from mnist_scaling.tuning.sweep import forecast

    foreseen = {name: forecast.preview(overrides, cli.conf_dir(), TASK) for name, overrides in every.items()}
    left = {name: preview for name, preview in foreseen.items() if not is_finished(name, preview)}
    done = len(every) - len(left)
    seconds = sum(preview.left for preview in left.values())
    to_run = f"about {duration(max(seconds, 1))} to run, as predicted" if left else "nothing to run"
    print(f"{plural(len(every), 'study')}, {done} of them finished; {to_run}.", flush=True)
    for place, (name, preview) in enumerate(left.items(), 1):
        print(
            f"\nStudy {place} of {len(left)}: {name}, {preview.finished} of {preview.cells} cells finished.", flush=True
        )
        command = [sys.executable, "-m", "mnist_scaling.train", "-m", *every[name]]
        status = subprocess.run(command, env=cli.environment(), stdout=out, check=False).returncode
        if status:
            said = f"The study {name} did not end: every run that has ended is kept, and the same command goes on."
            print(said, file=sys.stderr)
            raise SystemExit(status)


def is_finished(name: str, preview: Preview) -> bool:
    """Whether every run of the study has its record, and its tables have them all."""
    table = layout.study_folder(name) / layout.CELLS
    return preview.finished == preview.cells and table.is_file() and table.stat().st_mtime >= preview.latest


def listed(conf: Path, scale: str) -> list[dict[str, str]]:
    """Every question: its name, what it asks, and its state; what it costs is said when it is asked."""
    out = []
    for name in question_names(conf):
        asked = ""
        try:
            _, question = find_question(name, conf)
            asked, state = question.question, _state(conf, name, question, scale)
        except InputError as error:
            state = f"refused: {error}"
        out.append({"question": name, "asks": asked, "state": state})
    return out


def show_list(questions: Sequence[Mapping[str, str]], scale: str) -> None:
    """Print every question."""
    rows = [[Markup("<b>{}</b>").format(one["question"]), one["asks"], one["state"]] for one in questions]
    head = ["question", "asks", f"at scale={scale}"]
    command = f"Answer one with: python -m mnist_scaling.ask question=NAME scale={scale}"
    terminal.show([TextTable(head, rows), Sentence(command, apart=True)])


def _state(conf: Path, name: str, question: Question, scale: str) -> str:
    """Whether a question is answered, else how many cells its studies have, and which parts have none."""
    if is_answered(name, scale):
        return "answered"
    parts = {part: find_question(part, conf)[1] for part in question.parts} or {name: question}
    parts = {part: with_measured_twin(asked, scale) for part, asked in parts.items()}
    tables = {path for part in parts.values() for path in tables_of(part, scale).values() if path.is_file()}
    measured = sum(max(len(path.read_text(encoding="utf-8").splitlines()) - 1, 0) for path in tables)
    lacking = unmeasured(parts, scale) if question.parts else []
    missing = f"; {len(lacking)} of {len(parts)} parts are not: {listing(lacking)}" if lacking else ""
    return f"{plural(measured, 'cell')} measured{missing}" if measured else "not begun"


if __name__ == "__main__":
    cli.run(main, NAME)
