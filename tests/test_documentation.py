"""What README, docs and the headers of conf/ say: every command can be run, every file exists, the map is the tree."""

from __future__ import annotations

import functools
import inspect
import json
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hydra import initialize, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from mnist_scaling import cli, config, report, train
from mnist_scaling.app.application import offer_configs
from mnist_scaling.ask import AskConfig
from mnist_scaling.asking.question import find_question, question_names
from mnist_scaling.config import RunConfig, compare_schema, fit_schema, plan_schema
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.fits_json import read_fits
from mnist_scaling.reporting.words.fit_sentences import fit_summary
from mnist_scaling.reporting.words.fit_tables import plane_table
from mnist_scaling.study import layout

from .preforked import Preforked

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mnist_scaling"
CONF = Path(cli.conf_dir())
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "multirun/README.md")),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "notebooks").glob("*.md"),
]
STARTS = ("python ", "make ", "pip ", "optuna-dashboard ", "sbatch ")


class Command(NamedTuple):
    """A command that a page tells its reader to run."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


RUN_AS_IT_STANDS = "\n## Inside this project\n"
"""From here on docs/own_problem.md builds on files that it writes: tests/test_own_problem.py runs its commands."""


def lines_of_code(page: Path) -> Iterator[str]:
    """What a page sets as code: the comments of a YAML file; indented blocks and inline spans of Markdown."""
    text = page.read_text(encoding="utf-8").split(RUN_AS_IT_STANDS)[0].replace("\\\n#", "\\\n").replace("\\\n", " ")
    if page.suffix == ".yaml":
        yield from (line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
        return
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith("    "):
            yield from (line.strip() for line in paragraph.splitlines())
        elif not paragraph.startswith("```"):
            yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", paragraph))


def commands_of(page: Path) -> list[Command]:
    found = [line for line in lines_of_code(page) if line.startswith(STARTS)]
    return [
        Command(str(page.relative_to(ROOT)), tuple(shlex.split(re.sub(r" > \S+$", "", line), comments=True)))
        for line in found
    ]


COMMANDS = list(
    dict.fromkeys(command for page in [*PAGES, *sorted(CONF.rglob("*.yaml"))] for command in commands_of(page))
)


def load(config_name: str, overrides: list[str], mode: RunMode) -> DictConfig:
    return GlobalHydra.instance().config_loader().load_configuration(config_name, overrides, mode)


def check_one_run(overrides: list[str]) -> None:
    with initialize_config_dir(str(CONF)):
        config.build(RunConfig, load("train", overrides, RunMode.RUN))


def check_sweep(overrides: list[str]) -> None:
    """By the sweeper itself, at two values per axis: every corner of the grid is composed.

    A list of cells is the reader's own file, so only its key is checked; for images of their own others stand in.
    """
    overrides = [re.sub(r"^hydra\.sweeper\.cells=.*", "hydra.sweeper.cells=null", override) for override in overrides]
    overrides = [re.sub(r"^data\.path=.*", f"data.path={own_images()}", override) for override in overrides]
    with initialize_config_dir(str(CONF)):
        cfg = load("train", [*overrides, "hydra.sweeper.max_values_per_axis=2"], RunMode.MULTIRUN)
        context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks())
        sweeper: Any = Plugins.instance().instantiate_sweeper(
            config=cfg, hydra_context=context, task_function=inspect.unwrap(train.main)
        )
        assert sweeper._cells(OmegaConf.to_container(cfg.hydra.overrides.task))


@functools.cache
def own_images() -> Path:
    """A file that data=arrays takes."""
    path = Path(tempfile.mkdtemp()) / "images.npz"
    labels = np.arange(200) % 4
    np.savez(path, images=np.random.default_rng(0).random((200, 8, 8)), labels=labels)
    return path


@functools.cache
def own_configuration() -> Path:
    """A folder with the my_train.yaml of docs/own_problem.md."""
    folder = Path(tempfile.mkdtemp())
    page = (ROOT / "docs/own_problem.md").read_text(encoding="utf-8")
    text = re.search(r"`my_train\.yaml`.*?```yaml\n(.*?)```", page, re.DOTALL).group(1)  # type: ignore[union-attr]
    (folder / "my_train.yaml").write_text(text, encoding="utf-8")
    return folder


def check_train(arguments: list[str]) -> None:
    if "-m" in arguments:
        check_sweep([argument for argument in arguments if argument != "-m"])
    else:
        check_one_run(arguments)


def check_built(config_name: str, schema: type, arguments: list[str]) -> None:
    with initialize_config_dir(str(CONF)):
        config.build(schema, load(config_name, arguments, RunMode.RUN))


def check_ask(arguments: list[str]) -> None:
    with initialize(config_path=None):
        asked = config.build(AskConfig, load("ask", arguments, RunMode.RUN))
    if asked.question is not None and asked.question in question_names(CONF):
        find_question(asked.question, CONF)
    else:
        assert asked.question is None or asked.question.endswith(".yaml")


def check_make(arguments: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in arguments if "=" not in word} <= set(targets)


@functools.cache
def usage(script: str) -> str:
    return subprocess.run([sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True).stdout


def check_script(script: str, arguments: list[str]) -> None:
    if script == "my_train.py":  # the reader's own application, whose configuration stands on the page
        offer_configs()
        with initialize_config_dir(str(own_configuration())):
            load("my_train", [argument for argument in arguments if argument != "-m"], RunMode.MULTIRUN)
        return
    assert (ROOT / script).is_file()
    options = {word for word in arguments if word.startswith("--")}
    known = set(re.findall(r"--[a-z-]+", usage(script))) if options else set()
    assert options <= known, f"{script} does not know {options - known}"


def check_pytest(arguments: list[str]) -> None:
    assert all((ROOT / path).exists() for path in arguments)


def check_dashboard(arguments: list[str]) -> None:
    assert (Path(sys.executable).parent / "optuna-dashboard").exists()
    folder, name, journal = Path(arguments[0]).parts
    assert (folder, journal) == (layout.MULTIRUN, layout.JOURNAL)
    made = any(f"train -m name={name} " in page.read_text(encoding="utf-8") for page in PAGES)
    assert made or (CONF / "experiment" / f"{name}.yaml").is_file()


def check_pip(arguments: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert arguments[0] == "install"
    if arguments[-1] != "/path/to/mnist_scaling":
        assert arguments[-1].strip(".[]") in project["optional-dependencies"]


def check_sbatch(arguments: list[str]) -> None:
    """Overrides follow the script, as they follow `python -m mnist_scaling.train -m`."""
    script = next((i for i, argument in enumerate(arguments) if not argument.startswith("--")), None)
    if script is None:  # an option is spoken of
        return
    assert (ROOT / arguments[script]).is_file()
    check_sweep(arguments[script + 1 :])


PROGRAM: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "pip": check_pip,
    "optuna-dashboard": check_dashboard,
    "sbatch": check_sbatch,
}
MODULE: dict[str, Callable[[list[str]], None]] = {
    "mnist_scaling.train": check_train,
    "mnist_scaling.fit": functools.partial(check_built, "fit", fit_schema.FitConfig),
    "mnist_scaling.compare": functools.partial(check_built, "compare", compare_schema.CompareConfig),
    "mnist_scaling.plan": functools.partial(check_built, "plan", plan_schema.PlanConfig),
    "mnist_scaling.report": functools.partial(check_built, "report", report.ReportConfig),
    "mnist_scaling.ask": check_ask,
    "pytest": check_pytest,
}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_can_be_run(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands themselves run in test_pipeline.py, test_fit.py, test_faults.py and in the test below."""
    monkeypatch.setenv("DBURL", "postgresql+psycopg://me@host/studies")  # as a page tells its reader
    program, first, *rest = command.words
    if program != "python":
        PROGRAM[program]([first, *rest])
    elif first != "-m":
        check_script(first, rest)
    elif rest[1:] and rest[1:] != ["--help"]:
        MODULE[rest[0]](rest[1:])
    else:  # named without arguments
        module = ROOT / "src" / Path(*rest[0].split("."))
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()


def test_the_commands_are_found() -> None:
    """A pattern that no longer matches would leave the test above without work."""
    per_page = Counter(command.page for command in COMMANDS)
    assert per_page["README.md"] >= 12
    assert per_page["docs/fitting.md"] >= 6
    assert all(per_page[f"conf/experiment/{path.name}"] for path in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("row", re.findall(r"^\| `([^`]*=[^`]*)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
def test_what_readme_says_can_be_swept_can_be(row: str) -> None:
    extra = "submitit" in row or "ray" in row  # launchers that an installation without extras lacks
    check_sweep([] if extra else shlex.split(row))


def test_readmes_first_session(data_dir: str, preforked: Preforked, tmp_path: Path) -> None:
    """One run, one cell, a grid, its law, its report and its plan, as README has them, shrunk to seconds."""
    section = (ROOT / "README.md").read_text().split("## A first session")[1]
    block = next(paragraph for paragraph in section.split("\n\n") if paragraph.startswith("    python "))
    session = [line.strip() for line in block.splitlines()]
    assert len(session) == 6
    for line in session:
        _, _, *arguments = shlex.split(line, comments=True)
        if "mnist_scaling.train" in arguments:
            arguments += ["scale=smoke", f"data.dir={data_dir}"]
        if "-m" in arguments:  # in one process: launchers are other tests' matter
            arguments += ["hydra/launcher=basic"]
        done = preforked.run(arguments, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert list(tmp_path.glob(f"{layout.MULTIRUN}/*/{layout.REPORT}"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}"
        headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, f"{page.name} links to {target}"


MOST_PAGES, MOST_WORDS = 12, {"architecture.md": 6_000, "questions.md": 6_000, "planning.md": 3_000}
"""Of docs/, besides the results (reference_study.md): words besides tables, code and answers, where over 1,500."""


def test_the_pages_are_few_and_short() -> None:
    pages = sorted((ROOT / "docs").glob("*.md"))
    assert len(pages) <= MOST_PAGES + 1, f"docs/ has {len(pages)} pages: give the new one's text to one of the others."
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        prose = [line for line in text.splitlines() if not line.startswith(("|", "    ", ">"))]
        words = len(" ".join(prose).split())
        assert words <= MOST_WORDS.get(page.name, 1_500), f"{page.name} has {words} words: shorten it."


def test_columns_and_flags_are_what_the_code_prints() -> None:
    for what, page in (("columns", "report.md"), ("flags", "fitting.md")):
        words = [sys.executable, ROOT / "benchmarks/documented.py", what]
        printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert printed in (ROOT / "docs" / page).read_text(encoding="utf-8"), (
            f"Put the {what} into docs/{page} again: python benchmarks/documented.py {what}"
        )


def test_the_tutorial_prints_what_the_kept_study_says(capsys: pytest.CaptureFixture[str]) -> None:
    """What `fit` says of it, the head and the foot of its grid, and what tuning changed, to the last digit."""
    folder = ROOT / layout.MULTIRUN / layout.REFERENCE / "quickstart"
    fits, cells = read_fits(folder), pd.read_csv(folder / layout.CELLS)
    losses = cells.pivot_table("test_loss", "width", "data_fraction")
    assert fits.tuning_change is not None
    terminal.show([*fit_summary(fits, details=False), plane_table(fits.tuning_change)])
    printed = [*map(str.split, capsys.readouterr().out.splitlines())]
    printed += [[f"{width}", *(f"{loss:.4f}" for loss in row)] for width, row in losses.iterrows()]
    said = " ".join(word for line in printed for word in line)
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    blocks = page.split("\nIf you stop it")[0].split("\n    width ")[1:]
    blocks += re.findall(r"\n`fit` says:\n\n(.*?)\n\nLine by line", page, re.DOTALL)
    blocks += re.findall(r"\n(    untuned .*?)\n\n", page, re.DOTALL)
    assert len(blocks) == 3
    grid, *rest = blocks
    for line in [line for line in grid.splitlines()[1:] if "0." in line] + [" ".join(block.split()) for block in rest]:
        assert " ".join(line.split()) in said, f"The tutorial prints what the kept study does not say: {line}"


def test_the_map_is_the_tree() -> None:
    printed = subprocess.run(
        [sys.executable, ROOT / "benchmarks/structure.py", "--map"], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), (
        "Write the map again: python benchmarks/structure.py --write docs/architecture.md"
    )


def test_the_paths_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Where things go")[1].split("\n## ")[0]
    named = re.findall(r"`((?:[\w.]+/)+[\w.]*)(?:: \w+)?`", text)
    assert len(named) >= 20
    for path in named:
        places = [ROOT / path, PACKAGE / path]
        assert any(place.exists() for place in places), f"CONTRIBUTING.md names {path}, which does not exist"


def test_the_names_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path, name in re.findall(r"`((?:\w+/)+\w+\.py|\w+\.py): (\w+)`", text):
        assert re.search(rf"\b{name}\b", (PACKAGE / path).read_text(encoding="utf-8")), f"{path} has no {name}"


def test_the_first_numbers_are_those_of_the_kept_study() -> None:
    """By least squares on the losses of every cell; the intervals are those that the study's fit has."""
    fits = json.loads((ROOT / "multirun/reference/width_x_data/fits.json").read_text())["tuning_change"]
    cells = pd.DataFrame(fits["cells"])
    plane = np.column_stack([np.log(cells["N"]), np.log(cells["D"]), np.ones(len(cells))])
    logs = np.log(cells[["untuned", "tuned"]].to_numpy())
    slopes = np.linalg.lstsq(plane, logs, rcond=None)[0][:2]
    change = [fits["plane"]["change"][size] for size in ("N", "D")]
    np.testing.assert_allclose([c["value"] for c in change], slopes[:, 1] * -1 + slopes[:, 0], rtol=1e-6)
    said = " ".join((ROOT / "README.md").read_text(encoding="utf-8").replace("−", "-").split())
    (n, n_tuned), (d, d_tuned) = slopes
    assert f"goes as N^{n:.2f} D^{d:.2f}; tuned, it goes as N^{n_tuned:.2f} D^{d_tuned:.2f}." in said
    of_n, of_d = (f"{-c['value']:.2f} [{-c['high']:.2f}, {-c['low']:.2f}]" for c in change)
    assert f"Tuning takes {of_n} off alpha and {of_d} off beta" in said


def test_the_predictions_are_those_that_were_registered() -> None:
    """Every row that docs/planning.md prints, and README's count of those that hold."""
    scored = [pd.read_csv(path) for path in (ROOT / "multirun/reference").glob("predict_*/predictions.csv")]
    rows = pd.concat(scored, ignore_index=True)
    page = (ROOT / "docs/planning.md").read_text(encoding="utf-8")
    held = (rows["low"] <= rows["measured_loss"]) & (rows["measured_loss"] <= rows["high"])
    for row, inside in zip(rows.itertuples(), held, strict=True):
        study, said = row.study.removeprefix("predict_"), "true" if inside else "false"
        log_error = np.log(row.measured_loss / row.predicted_loss)
        line = f"| {study} | {row.width} | {row.data_fraction:g} | {row.reach:.1f} | {row.predicted_loss:.4f} "
        line += f"[{row.low:.4f}, {row.high:.4f}] | {row.measured_loss:.4f} | {said} | {log_error:+.3f} |"
        assert line in page
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{held.sum()} of {len(rows)} that were registered first" in readme
