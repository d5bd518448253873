"""What faults cost a study: each fault, how often it was tried, and what was lost.

    python benchmarks/reliability.py                                  print the tables: half an hour
    python benchmarks/reliability.py --crashes 40 --times 1           a few minutes
    python benchmarks/reliability.py --write docs/scaling_out.md      put them into the page

A fault is an entry of `FAULTS`. The crash simulator (tests/tuning/crash_simulator.py) kills shipped code at any of
its writes, with training in closed form; the tests (tests/test_faults.py and others) do their harm to real sweeps.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.tuning import crash_simulator  # noqa: E402, a checkout's tests are no installed package

START, END = "<!-- made by: {command} -->", "<!-- end -->"


@dataclass(frozen=True)
class Tally:
    """What came of a fault."""

    tried: int
    lost: int
    """Finished runs that were lost, or run again; for a test, how often it failed."""
    differing: int
    """Rows of the tables that differ from an undisturbed study's."""


@dataclass(frozen=True)
class Fault:
    """Something that may befall a study."""

    name: str
    """As the page has it."""
    times: int
    """How often it is tried, unless the command says otherwise."""
    cause: Callable[[int, int], Tally]
    """Takes how often, and a seed."""


def crashes(mode: str, times: int, seed: int) -> Tally:
    """Kills at any write and files that are damaged, by the crash simulator."""
    found = crash_simulator.simulate(mode, times, seed)
    return Tally(found.crashes + found.workers + found.harmed, found.repeated + found.broken, found.differing)


def passes(test: str, times: int, seed: int) -> Tally:
    """A test that does the harm and compares every row; a test of several cases counts as several.

    Parameters
    ----------
    test : str
        As pytest names it.
    times, seed : int
    """
    del seed  # a real process is killed whenever it happens to be
    ran = failed = 0
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--junitxml={report}", test]
            subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
            (suite,) = ElementTree.parse(report).getroot()
        broken = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
        ran += int(suite.attrib["tests"]) - int(suite.attrib["skipped"])
        failed += broken
    return Tally(ran, failed, failed)


TESTS = {
    "`kill -9` of a whole sweep, at its start and half-way, its mirror deleted or replaced": (
        "test_faults.py::test_kill_9_of_the_whole_sweep_and_the_loss_of_its_mirror"
    ),
    "`kill -9` of a sweep alone": "test_faults.py::test_kill_9_of_the_sweep_alone_leaves_no_workers_behind",
    "`kill -9` of a worker at work": "test_faults.py::test_kill_9_of_a_worker_costs_nothing",
    "`kill -9` of a worker while it starts": (
        "test_faults.py::test_a_worker_killed_while_it_starts_does_not_stop_the_sweep"
    ),
    "a setting that kills its worker twice": (
        "test_faults.py::test_a_setting_that_kills_its_worker_twice_is_recorded_and_the_sweep_goes_on"
    ),
    "the disk fills up": "test_faults.py::test_a_full_disk_loses_nothing",
    "a second sweep of the same study": "test_faults.py::test_a_second_sweep_is_refused_and_harms_nothing",
}
"""Faults that befall a real sweep on MNIST, each by the test that causes it and compares every row."""

FAULTS = (
    *(
        Fault(f"sweep or worker killed at any write, a file damaged: {mode}", 400, partial(crashes, mode))
        for mode in crash_simulator.MODES
    ),
    *(Fault(name, 3, partial(passes, f"tests/{test}")) for name, test in TESTS.items()),
)
"""A new fault is one entry more: a test above, or here anything that returns a `Tally`."""

HEAD = ("| fault | tried | finished runs lost or run again | rows that differ |", "|---|---|---|---|")


def lines(seed: int, crashes: int | None, times: int | None) -> Iterator[tuple[str, Tally | None]]:
    """The rows of the table, each as soon as it is known.

    Parameters
    ----------
    seed : int
    crashes, times : int, optional
        How often instead of what `FAULTS` says: simulated crashes, and tests.
    """
    yield from ((line, None) for line in HEAD)
    for fault in FAULTS:
        given = crashes if fault.times >= 100 else times
        tally = fault.cause(fault.times if given is None else given, seed)
        yield f"| {fault.name} | {tally.tried} | {tally.lost} | {tally.differing} |", tally


def write(page: Path, text: str) -> None:
    """Put a text between the page's two markers.

    Parameters
    ----------
    page : Path
    text : str
        With its markers.
    """
    old = page.read_text(encoding="utf-8")
    start = re.escape(START).replace(re.escape("{command}"), ".*")
    found = re.search(f"{start}.*?{re.escape(END)}", old, re.DOTALL)
    if found is None:
        sys.exit(f"A page must have the markers {START} and {END}, but {page} has not: add them.")
    page.write_text(old[: found.start()] + text + old[found.end() :], encoding="utf-8")


def main() -> None:
    """Print the table, and write it into a page; exit with 1 when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crashes", type=int, help="kills in each mode of the simulator; 400")
    parser.add_argument("--times", type=int, help="how often each test is run; 3")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the simulator")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    given = parser.parse_args()
    command = f"python benchmarks/reliability.py --seed {given.seed}"
    command += "".join(f" --{k} {v}" for k in ("crashes", "times") if (v := getattr(given, k)) is not None)
    rows, lost = [], False
    for line, tally in lines(given.seed, given.crashes, given.times):
        print(line, flush=True)
        rows.append(line)
        lost = lost or (tally is not None and bool(tally.lost or tally.differing))
    if given.write is not None:
        write(given.write, "\n".join([START.format(command=command), "", *rows, "", END]))
    sys.exit(int(lost))


if __name__ == "__main__":
    main()
