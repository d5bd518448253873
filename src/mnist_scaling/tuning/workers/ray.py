"""Ray's workers: those of a cluster that runs already, or one started on this machine."""

from __future__ import annotations

import contextlib
import functools
import itertools
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.workers import cluster
from mnist_scaling.tuning.workers.faults import MachineError
from mnist_scaling.tuning.workers.job import Outcome, Parcel

_STOP_SECONDS = 10.0

_CONNECT_SECONDS, _START_SECONDS = 30.0, 120.0
"""How long a cluster may take to answer, and to start; `ray.init` itself tries for minutes."""


class Ray:
    """A driver of Ray, in a process of its own: Ray ends the process of a driver whose node or head is gone.

    Parameters
    ----------
    address : str or None
        ``auto`` or a cluster's address; None starts one on this machine.
    n_workers : int
        Processors of a cluster that is started here.
    init : mapping
        Further arguments of ``ray.init``.

    Raises
    ------
    InputError
        When Ray is not installed or no cluster answers.
    """

    def __init__(self, address: str | None, n_workers: int, init: Mapping[str, Any]) -> None:
        # "local" starts a cluster, even where RAY_ADDRESS or an earlier cluster's file names another one.
        where = {"address": "local", "num_cpus": n_workers} if address is None else {"address": address}
        self._address = "this machine" if address is None else address
        self._asked: dict[int, Future[Any]] = {}
        self._numbers, self._sending = itertools.count(), threading.Lock()
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        options = {**where, "include_dashboard": False if address is None else None, "log_to_driver": False, **init}
        self._process = context.Process(target=_drive, args=(theirs, options), name="ray", daemon=True)
        self._process.start()
        theirs.close()
        reason = self._answer(_START_SECONDS if address is None else _CONNECT_SECONDS)
        if reason is not None:
            self._process.kill()
            if reason == _MISSING:
                raise cluster.missing("ray", "ray")
            raise InputError(
                f"`hydra.launcher.address` must be a Ray cluster's that runs, or null to start one, but got "
                f"{address and self._address}: {reason}"
            ) from MachineError(f"no Ray cluster at {self._address} answers: {reason}")
        threading.Thread(target=self._listen, daemon=True, name="ray").start()

    def submit(self, task: bytes, parcel: Parcel) -> Future[Outcome]:
        """Run a job once."""
        return self._ask("submit", task, parcel)

    def workers(self) -> int:
        """Processors of the cluster; 0 once it is gone."""
        try:
            return int(self._ask("workers").result())
        except MachineError:
            return 0

    def close(self) -> None:
        """End what is still running, and a cluster that was started here."""
        # Said in words: as long as a thread of ours reads the pipe, the driver would not notice that it was closed.
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(_STOP_SECONDS)
        self._process.kill()

    def _answer(self, seconds: float) -> str | None:
        """Why the driver did not connect, or None."""
        if not self._pipe.poll(seconds):
            return f"it did not answer in {seconds:g} s"
        try:
            reason: str | None = self._pipe.recv()
        except EOFError:
            return "Ray ended its driver"
        return None if reason is None else reason

    def _ask(self, what: str, *arguments: Any) -> Future[Any]:
        number, answer = next(self._numbers), Future[Any]()
        self._asked[number] = answer
        try:
            with self._sending:
                self._pipe.send((number, what, arguments))
        except OSError:
            self._lose_all()
        return answer

    def _listen(self) -> None:
        """Settle what was asked, until the driver's process ends."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                number, found, error = self._pipe.recv()
                answer = self._asked.pop(number)
                if error is None:
                    answer.set_result(found)
                else:
                    answer.set_exception(error)
        self._lose_all()

    def _lose_all(self) -> None:
        while self._asked:
            with contextlib.suppress(KeyError):  # the thread that listens takes them too
                self._asked.popitem()[1].set_exception(
                    MachineError(f"the connection to the Ray cluster at {self._address} was lost")
                )


_MISSING = "Ray is not installed"


def _drive(pipe: Connection, options: dict[str, Any]) -> None:
    """The driver's life: what it is asked through its pipe, until it hears None; Ray ends its tasks with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the sweep decides
    try:
        import ray
    except ImportError:
        pipe.send(_MISSING)
        return
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        pipe.send(str(error).strip().splitlines()[0])
        return
    pipe.send(None)
    with contextlib.suppress(EOFError, OSError, ray.exceptions.RayError):  # the sweep is gone, or the cluster
        _Answers(pipe, ray).give_all()
    ray.shutdown()


class _Answers:
    """The driver's end of the pipe."""

    def __init__(self, pipe: Connection, ray: Any) -> None:
        self._pipe, self._ray = pipe, ray
        self._one_at_a_time = threading.Lock()
        # A task that is tried again by Ray would be the same trial a second time; the sweep decides that.
        self._run = ray.remote(num_cpus=1, max_retries=0)(cluster.carry_out)

    def give_all(self) -> None:
        """Answer everything that is asked, until None is."""
        while (asked := self._pipe.recv()) is not None:
            number, what, arguments = asked
            if what == "submit":
                self._run.remote(*arguments).future().add_done_callback(functools.partial(self._settle, number))
            else:  # workers
                self._give(number, self._ray.cluster_resources().get("CPU", 0))

    def _settle(self, number: int, done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            self._give(number, done.result())
        else:  # as text, because an error of Ray's brings its classes along, which are slow to import
            self._give(number, None, RuntimeError(str(error).strip()))

    def _give(self, number: int, found: Any, error: Exception | None = None) -> None:
        with self._one_at_a_time, contextlib.suppress(OSError):  # the sweep is gone
            self._pipe.send((number, found, error))
