"""Jobs of Slurm, one for each run, handed over by submitit as arrays."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.study import layout
from mnist_scaling.tuning.workers import remote, slurm_queue
from mnist_scaling.tuning.workers.remote import Task

_LOOK_SECONDS = 1.0
"""Time between two looks for results; what was handed over since the last look goes as one array."""

_LARGEST_ARRAY = 1000
"""Jobs per array: what a cluster takes that leaves MaxArraySize as it is."""

_GRACE_SECONDS = 10.0
"""How long a result may need on a shared file system to be seen here, once its job has ended."""

_WAITS = (2.0, 5.0, 15.0, 30.0)
"""Seconds between two tries while Slurm's controller does not answer; the last is repeated."""


_ONE_RUN: dict[str, Any] = {
    "additional_parameters": {"no-requeue": True},  # what Slurm starts again would be the same run a second time
    "signal_delay_s": 0,  # submitit's signal before the time limit may come a minute early, and ends a run
    "use_srun": False,  # a single process needs no step
}
"""Options of every job."""

BEGUN = "The run begins."
"""What a job prints before its run; without it, the job's end is no run's fault."""


class LostJobError(Exception):
    """A job of Slurm that ended without a result."""


@dataclass
class _Running:
    """A job that Slurm has, and since when it is known to have ended without a result."""

    job: Any
    answer: Future[Any]
    ended: float | None = None


class Slurm:
    """Jobs of Slurm for a study.

    A result comes as a file in the study's folder. Slurm is asked only about jobs that have left none, and by the name
    that all jobs of a study share.

    Parameters
    ----------
    folder : Path
        The study's, which all nodes see.
    max_jobs : int
        Jobs that wait or run at a time.
    ask_seconds : float
        Time between two questions to Slurm.
    options : mapping
        Of submitit's ``SlurmExecutor``: partition, time (minutes), mem and others.

    Raises
    ------
    InputError
        When submitit or Slurm is missing, the controller does not answer, or an option is unknown.
    """

    def __init__(self, folder: Path, max_jobs: int, ask_seconds: float, options: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError as error:
            raise remote.missing("submitit", "slurm") from error
        self._partition, self._max_jobs, self._ask_seconds = options.get("partition"), max_jobs, ask_seconds
        plain = re.sub(r"[^\w.=-]", "_", folder.name)
        self._name = f"{plain}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}"
        self._answered(lambda: slurm_queue.check_partition(self._partition))
        # Ids start again where a cluster is set up anew, so that each sweep has its own folder of results.
        self._all = folder / layout.SLURM
        self._own = self._all / f"{time.strftime('%Y-%m-%d-%H-%M-%S')}-{os.getpid()}"
        self._executor: Any = submitit.SlurmExecutor(folder=self._own, max_num_timeout=0)
        more = {**_ONE_RUN["additional_parameters"], **options.get("additional_parameters", {})}
        whole = {**options, **_ONE_RUN, "additional_parameters": more, "array_parallelism": max_jobs}
        try:
            self._executor.update_parameters(job_name=self._name, **whole)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"`hydra.launcher` must be as conf/hydra/launcher/slurm.yaml documents it, but {_first_line(error)}; "
                "any other option of sbatch goes into `hydra.launcher.additional_parameters`."
            ) from error
        self._lock = threading.Lock()
        self._asked: list[tuple[Task, Future[Any]]] = []
        self._running: list[_Running] = []
        self._error: BaseException | None = None
        self._refused = 0
        self._next_try = self._next_question = 0.0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, task: Task) -> Future[Any]:
        """Run a task once, as a job of its own."""
        answer: Future[Any] = Future()
        with self._lock:
            self._asked.append((task, answer))
        return answer

    def workers(self) -> int:
        """Jobs at a time.

        The first call comes when the sweep holds its study, before it asks for settings. What an earlier sweep of the
        study has left in the queue is ended then, because its runs are about to be made again.

        Raises
        ------
        InputError
            When Slurm refuses a job.
        """
        if self._error is not None:
            raise self._error
        if self._thread is None:
            self._answered(lambda: slurm_queue.cancel(self._name))
            shutil.rmtree(self._all, ignore_errors=True)
            self._thread = threading.Thread(target=self._serve, daemon=True, name="slurm")
            self._thread.start()
        return self._max_jobs

    def close(self) -> None:
        """Cancel what waits or runs."""
        self._closed.set()
        if self._thread is None:
            return
        self._thread.join()
        if self._running or self._asked:  # by name, because a Ctrl-C may have ended an sbatch whose job was taken
            with contextlib.suppress(slurm_queue.SilentError):  # the study's next sweep cancels them
                slurm_queue.cancel(self._name)
        for running in self._running:
            _delete_files(running.job)
        for path in self._own.glob("*"):
            if "_log." not in path.name:
                path.unlink()
        for path in (self._own, self._all):
            with contextlib.suppress(OSError):  # logs of jobs that died stay
                path.rmdir()

    def _answered(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except slurm_queue.SilentError as error:
            raise InputError(f"Slurm must answer before a study starts, but it does not: {error}.") from error

    def _serve(self) -> None:
        """Hand over what was asked for, and look for results, until the pool is closed."""
        try:
            while not self._closed.wait(_LOOK_SECONDS):
                self._hand_over()
                self._look()
        except BaseException as error:
            self._error = error

    def _hand_over(self) -> None:
        if time.monotonic() < self._next_try:
            return
        with self._lock:
            batch, self._asked = self._asked[:_LARGEST_ARRAY], self._asked[_LARGEST_ARRAY:]
        if not batch:
            return
        try:
            if self._refused:  # an sbatch that heard no answer may have been heard
                slurm_queue.cancel_others(self._name, {running.job.job_id for running in self._running})
            with self._executor.batch():
                jobs = [self._executor.submit(_run, task) for task, _ in batch]
        except (slurm_queue.SilentError, RuntimeError) as error:  # the latter is submitit's
            self._wait_or_raise(error)
            with self._lock:
                self._asked = batch + self._asked
            return
        self._refused = 0
        self._running += [_Running(job, answer) for job, (_, answer) in zip(jobs, batch, strict=True)]

    def _wait_or_raise(self, error: Exception) -> None:
        """Wait for a controller that is away; of one that answers and refuses, the user must hear."""
        if slurm_queue.answers() and not any(word in str(error) for word in slurm_queue.AWAY):
            raise InputError(
                f"Slurm must take the study's jobs, but sbatch refuses them: {_first_line(error)}. Mend the keys of "
                "`hydra.launcher`, and run the same command again: nothing that was measured is lost."
            ) from error
        if self._refused == 0:
            print("Warning: Slurm's controller does not answer; jobs wait until it does.", file=sys.stderr)
        self._next_try = time.monotonic() + _WAITS[min(self._refused, len(_WAITS) - 1)]
        self._refused += 1

    def _look(self) -> None:
        """Answer for the jobs that have ended."""
        if not self._running:
            return
        with contextlib.suppress(OSError):
            self._own.chmod(self._own.stat().st_mode)  # makes a network file system look again
        there = {path.name for path in self._own.iterdir()}
        for running in list(self._running):
            if running.job.paths.result_pickle.name in there:
                self._running.remove(running)
                _settle(running)
        if time.monotonic() >= self._next_question:
            self._ask()
            self._next_question = time.monotonic() + self._ask_seconds

    def _ask(self) -> None:
        """Ask Slurm about the jobs that have no result, and give up those that will have none."""
        try:
            states = slurm_queue.states(self._name)
        except slurm_queue.SilentError:
            return
        for running in list(self._running):
            state = states.get(running.job.job_id)
            if state is None:  # Slurm forgets jobs after some minutes, its accounting does not
                state = running.job.watcher.get_state(running.job.job_id, mode="force").split(" ")[0]
            if state not in slurm_queue.ENDED:
                running.ended = None
            elif running.ended is None:
                running.ended = time.monotonic()
            elif time.monotonic() - running.ended > _GRACE_SECONDS:
                self._running.remove(running)
                _give_up(running, state)


def _run(task: Task) -> Any:
    """A job's life; submitit would let it live on after SIGTERM, and start it again after SIGUSR2."""
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    print(BEGUN, flush=True)
    return task()


def _settle(running: _Running) -> None:
    """Answer with a job's result, and delete its files.

    Raises
    ------
    InputError
        When the job could not load its run.
    """
    job = running.job
    try:
        result = job.result()
    except RuntimeError as error:  # what a run raises is text in its result
        raise _no_start(job, _first_line(error)) from error
    _delete_files(job)
    running.answer.set_result(result)


def _delete_files(job: Any) -> None:
    paths = job.paths
    for path in (paths.submitted_pickle, paths.result_pickle, paths.stdout, paths.stderr, paths.submission_file):
        path.unlink(missing_ok=True)


def _give_up(running: _Running, state: str) -> None:
    """Answer for a job that has ended without a result.

    Raises
    ------
    InputError
        When the job's set-up has failed.
    """
    log = running.job.paths.stdout
    begun = log.exists() and BEGUN in log.read_text(errors="replace")
    if state in slurm_queue.BY_ITSELF and not begun:
        raise _no_start(running.job, slurm_queue.ENDED[state])
    running.answer.set_exception(LostJobError(f"job {running.job.job_id}: {slurm_queue.ENDED[state]} ({state})"))


def _no_start(job: Any, otherwise: str) -> InputError:
    """The sentence for a job that ended before its run; the last line of its log says why, where there is one."""
    errors = job.paths.stderr
    said = errors.read_text(errors="replace").strip() if errors.exists() else ""
    return InputError(
        f"A job of Slurm must be able to start a run, but job {job.job_id} ended before: "
        f"{said.splitlines()[-1] if said else otherwise}. Mend `hydra.launcher.setup` or what the job needs; its logs "
        f"are {job.paths.folder}/*_log.*."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
