"""What a trial costs a database: statements, transactions and bytes, on a real PostgreSQL.

    python benchmarks/storage_load.py [--json FILE]

It starts a throw-away server on loopback and tunes a grid on it with training in closed form, by the shipped tuner and
worker. Studies of two lengths are compared, with and without reports to a pruner, so that what opening a study costs is
not charged to its trials. Counts do not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from optuna.trial import TrialState, create_trial

from mnist_scaling.tuning.cell.cell_study import CellStudy
from mnist_scaling.tuning.cell.trials import GROUP, INDEX, ORIGIN, OWNER
from mnist_scaling.tuning.grid import search_space
from mnist_scaling.tuning.stored.storage import open_storage, open_trial

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the tests' server, link and closed-form training

from tests.distributed.postgres_server import LossyLink, Server  # noqa: E402
from tests.tuning import analytic_training  # noqa: E402
from tests.tuning.helpers import SAMPLER, InProcess, composed, make_cells, make_tuner  # noqa: E402

GRID = ("model.width=16,32", "data.fraction=0.5,1")
CELLS = 4
SHORT, LONG = 6, 18
"""Trials per cell."""

STORED, REPORTS = 300, 4
"""Trials that are stored to see how tables grow, and reports of each."""

WATCHED = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.max": "5000", "fsync": "on"}

TOTALS = """
SELECT sum(calls), sum(calls) FILTER (WHERE query ~* '^(insert|update|delete)'),
  sum(calls) FILTER (WHERE query = 'COMMIT')
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database()
"""

SIZE = """
SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE relkind = 'r' AND nspname = 'public'
"""

COLUMNS = ("statements", "writes", "commits", "sent_bytes", "received_bytes", "table_bytes")
"""The bytes of tables include their indexes."""

Load = dict[str, float]


def load(server: Server, n_trials: int, reports: bool) -> Load:
    """Totals of a study."""
    url = server.create(f"load_{n_trials}_{reports}")
    server.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements", url)
    with LossyLink(server.port, "answer", 0) as link, tempfile.TemporaryDirectory() as name:
        folder, storage = Path(name), url.replace(f":{server.port}/", f":{link.port}/")
        pruner = composed()["hydra"]["sweeper"]["pruner"] if reports else None
        launch = InProcess(folder, lambda run, report: analytic_training.train(run, report), None, pruner, storage)
        make_tuner(folder, launch, *GRID, n_trials=n_trials, n_repeats=0, batch=2, rule="neighbours", url=storage).run()
    told = server.sql("SELECT count(*) FROM trial_intermediate_values", url)[0]
    values = map(float, (*server.sql(TOTALS, url)[0], *link.carried.values(), *told))  # type: ignore[arg-type]
    return dict(zip((*COLUMNS[:-1], "reports"), values, strict=True))


def sizes(server: Server) -> tuple[float, float]:
    """Bytes that a stored trial adds to the tables, and a report."""
    url = server.create("size")
    with tempfile.TemporaryDirectory() as name:
        (cell,) = make_cells("model.width=16")
        study = CellStudy(cell, open_storage(url, Path(name)), SAMPLER).study
        setting = {key: search_space.baseline(cell.space, cell.values)[key] for key in cell.space}
        grown = [_size(server, url)]
        for i in range(STORED):
            attributes = {INDEX: i, GROUP: i, ORIGIN: "sampler", OWNER: ["a-host-of-a-cluster", 12345]}
            state, kept = TrialState.RUNNING, {"distributions": cell.space, "user_attrs": attributes}
            study.add_trial(create_trial(state=state, params=setting, **kept))
        grown.append(_size(server, url))
        for i in range(STORED):
            for step in range(REPORTS):
                open_trial(study, i).report(0.5 + 1e-4 * i, step)
        grown.append(_size(server, url))
    return (grown[1] - grown[0]) / STORED, (grown[2] - grown[1]) / (STORED * REPORTS)


def _size(server: Server, url: str) -> float:
    return float(server.sql(SIZE, url)[0][0])  # type: ignore[arg-type]


def measure() -> dict[str, Load]:
    """Per trial, for studies without and with reports, and per report."""
    found: dict[str, Load] = {}
    with Server(WATCHED) as server, contextlib.redirect_stdout(sys.stderr):
        for name, reports in (("trial", False), ("trial_with_reports", True)):
            short, long = (load(server, n, reports) for n in (SHORT, LONG))
            found[name] = {key: (long[key] - short[key]) / (CELLS * (LONG - SHORT)) for key in long}
        stored, told = sizes(server)
    n = found["trial_with_reports"]["reports"]
    found["report"] = {
        key: (found["trial_with_reports"][key] - found["trial"][key]) / n for key in (*COLUMNS[:-1], "reports")
    }
    for name, size in (("trial", stored), ("trial_with_reports", stored + n * told), ("report", told)):
        found[name]["table_bytes"] = size
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure()
    print(f"{'':16} {'trial':>14} {'with reports':>14} {'report':>14}")
    for key in (*COLUMNS, "reports"):
        print(f"{key:16} " + " ".join(f"{found[name][key]:14,.1f}" for name in found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
