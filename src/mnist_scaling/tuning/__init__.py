"""Tuning: one Optuna study per cell of the grid, all cells side by side, through any Hydra launcher.

A study is a function of its records (result.json, one per run), so a killed sweep goes on with the same settings.

Where a trial's setting is chosen
    ``sweeper`` has the cells composed (``cell/composition``), and ``sweep/driver`` asks the cell whose turn it is
    (``sweep/next_jobs``). What this cell tries is a pure function of finished records, ``cell/next_settings:
    next_trials``: first the settings that cheaper neighbours selected (``cell/trial: carried_settings``), then the
    config's own, then what Optuna's sampler proposes, seeded by (seed, cell, index). The trial becomes a
    ``workers/job: Job``.

What happens when a worker dies
    Each place with workers (``workers/local``, ``cluster``, ``rounds``) answers a job by an ``Outcome``, whatever
    happens: the run's record, or none and the error. ``sweep/driver: _settle`` tries a run without a record once
    more; if that leaves none either, ``sweep/ledger: fail`` records it as FAILED, and the study goes on. A fault of
    the machine (disk, network; ``workers/faults``) is charged to no run: the sweep ends with a sentence, and the same
    command goes on. After three failed runs in a row, with none that worked between them, the set-up is at fault and no
    setting (``sweep/driver: _judge``): these records go, and the sweep ends with the first error.

What happens when the sweep is killed
    Its workers end by themselves within seconds (``workers/perform: _end_with``), and nobody writes what they measured.
    The operating system releases the lock (``sweep/ledger: opened``). The same command reads the records that are there
    and asks for the missing trials with the same settings. So it is after a power loss: a record is on the
    disk before it has its name (``study/files: replacing``), so it is whole or absent, and an absent run is made again.
"""
