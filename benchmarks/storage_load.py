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
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the tests' server, link and closed-form training

from tests.distributed.postgres_server import LossyLink, Server  # noqa: E402
from tests.tuning import analytic_training  # noqa: E402
from tests.tuning.helpers import InProcess, composed, make_tuner  # noqa: E402

GRID = ("model.width=16,32", "data.fraction=0.5,1")
CELLS = 4
SHORT, LONG = 6, 18
"""Trials per cell."""

WATCHED = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.max": "5000", "fsync": "on"}

TOTALS = """
SELECT sum(calls)::float, sum(calls) FILTER (WHERE query ~* '^(insert|update|delete)')::float,
  (sum(calls) FILTER (WHERE query = 'COMMIT'))::float
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database()
"""

COLUMNS = ("statements", "writes", "commits", "sent_bytes", "received_bytes", "disk_bytes", "wal_bytes")


def load(server: Server, n_trials: int, reports: bool) -> dict[str, float]:
    """Totals of a study."""
    url = server.create(f"load_{n_trials}_{reports}")
    server.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements", url)
    wal = server.sql("SELECT pg_current_wal_lsn()")[0][0]
    with LossyLink(server.port, "answer", 0) as link, tempfile.TemporaryDirectory() as name:
        folder, storage = Path(name), url.replace(f":{server.port}/", f":{link.port}/")
        pruner = composed()["hydra"]["sweeper"]["pruner"] if reports else None
        launch = InProcess(folder, lambda run, report: analytic_training.train(run, report), None, pruner, storage)
        make_tuner(folder, launch, *GRID, n_trials=n_trials, n_repeats=0, batch=2, rule="neighbours", url=storage).run()
    found = server.sql(TOTALS, url)[0]
    size = server.sql("SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relname ~ '^(trial|stud)'", url)[0][0]
    written = server.sql(f"SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{wal}')")[0][0]
    told = server.sql("SELECT count(*) FROM trial_intermediate_values", url)[0][0]
    values = (*found, link.carried["question"], link.carried["answer"], size, written)
    return dict(zip(COLUMNS, map(float, values), strict=True)) | {"reports": float(told)}  # type: ignore[arg-type]


def measure() -> dict[str, Any]:
    """Per trial, for studies without and with reports, and per report."""
    with Server(WATCHED) as server, contextlib.redirect_stdout(sys.stderr):
        rows = {}
        for reports in (False, True):
            short, long = (load(server, n, reports) for n in (SHORT, LONG))
            rows[reports] = {key: (long[key] - short[key]) / (CELLS * (LONG - SHORT)) for key in long}
    told = rows[True]["reports"]
    per_report = {key: (rows[True][key] - rows[False][key]) / told for key in COLUMNS}
    return {"trial": rows[False], "trial_with_reports": rows[True], "report": per_report}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure()
    print(f"{'':16} {'trial':>12} {'with reports':>14} {'a report':>12}")
    for key in (*COLUMNS, "reports"):
        print(f"{key:16} " + " ".join(f"{found[name].get(key, 1):12,.1f}" for name in found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
