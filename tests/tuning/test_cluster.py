"""Workers of an engine: what follows the loss of a worker, and of the engine. tests/distributed has real ones."""

from __future__ import annotations

import pickle
import socket
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.study import layout
from mnist_scaling.tuning.launcher import DaskLauncher, RayLauncher
from mnist_scaling.tuning.workers import cluster, faults
from mnist_scaling.tuning.workers.cluster import ClusterWorkers
from mnist_scaling.tuning.workers.job import Outcome, Parcel

from .helpers import Trains
from .test_local_workers import job


class Cluster:
    """An engine in this process; `before` plays what happens to a worker at the n-th job, or to the cluster."""

    def __init__(self, before: Callable[[int], None] = lambda n: None, holds: bool = False) -> None:
        self.before, self.holds = before, holds
        self.parcels: list[Parcel] = []
        self.closed = False

    def submit(self, task: bytes, parcel: Parcel) -> Future[Outcome]:
        self.parcels.append(pickle.loads(pickle.dumps(parcel)))
        future: Future[Outcome] = Future()
        if self.holds:
            return future
        try:
            self.before(len(self.parcels))
            future.set_result(cluster.carry_out(task, self.parcels[-1]))
        except Exception as error:
            future.set_exception(error)
        return future

    def workers(self) -> int:
        return 3

    def close(self) -> None:
        self.closed = True


def served(folder: Path, cluster: Cluster) -> ClusterWorkers:
    application: Any = SimpleNamespace(task=Trains(), folder=folder)
    return ClusterWorkers(application, cluster)


def loses(*places: int) -> Callable[[int], None]:
    def before(n: int) -> None:
        if n in places:
            raise ConnectionResetError("a worker of the engine's")

    return before


def test_each_free_worker_has_one_job(tmp_path: Path) -> None:
    cluster = Cluster(holds=True)
    with served(tmp_path, cluster) as workers:
        assert (workers.room(), workers.count()) == (3, 3)
        workers.submit(job(1))
        assert workers.room() == 2
    assert cluster.closed


def test_a_job_whose_worker_was_lost_is_handed_over_once_more(tmp_path: Path) -> None:
    cluster = Cluster(loses(1))
    assert served(tmp_path, cluster).submit(job(1)).result(0).record is not None
    assert len(cluster.parcels) == 2
    cluster = Cluster(loses(1, 2, 3))
    found = served(tmp_path, cluster).submit(job(1)).result(0)
    assert len(cluster.parcels) == 2  # a setting that kills its worker must not kill many
    assert str(found.error).startswith("its worker was lost: ")
    assert not faults.is_text(found.error)


def test_a_cluster_that_is_gone_is_a_fault_of_the_machine(tmp_path: Path) -> None:
    def gone(n: int) -> None:
        raise faults.MachineError("the connection was lost")

    cluster = Cluster(gone)
    assert served(tmp_path, cluster).submit(job(1)).result(0) == Outcome(None, "MachineError: the connection was lost")
    assert len(cluster.parcels) == 1


def test_a_program_that_a_worker_lacks_is_told_in_words() -> None:
    found = cluster.carry_out(b"cno.such.module\nTask\n.", None)  # type: ignore[arg-type]
    assert found == Outcome(None, "MachineError: ModuleNotFoundError: No module named 'no'")


def test_weights_travel_and_no_process_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / layout.WEIGHTS).write_bytes(b"weights")
    cluster = Cluster(holds=True)
    workers = served(tmp_path, cluster)
    workers.submit(job(1, settings={"seed": 1, "init_from": str(tmp_path)}))
    (parcel,) = cluster.parcels
    assert (parcel.payload["weights"], parcel.payload["init_from"]) == (b"weights", str(tmp_path))
    assert parcel.owner is None  # the engine ends what its client leaves
    assert parcel.job.overrides == ()
    (tmp_path / layout.WEIGHTS).unlink()
    lost = workers.submit(job(2, settings={"seed": 2, "init_from": str(tmp_path)})).result(0)
    assert faults.is_text(lost.error)


@pytest.mark.parametrize(("engine", "extra"), [(DaskLauncher, "dask"), (RayLauncher, "ray")])
def test_an_engine_that_is_not_installed_is_named(
    engine: type[DaskLauncher | RayLauncher], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "package", "no_such_package")
    with pytest.raises(InputError, match=rf"package no_such_package, .* `pip install 'mnist-scaling\[{extra}\]'`"):
        engine().check(())


def test_ray_is_not_asked_where_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        cluster._knock(f"127.0.0.1:{port}")
    with pytest.raises(ConnectionRefusedError):
        cluster._knock(f"127.0.0.1:{port}")
    for known_to_ray in ("", "auto", "ray://127.0.0.1:1"):
        cluster._knock(known_to_ray)


def test_a_node_that_a_busy_machine_does_not_start_is_a_fault_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    ray = SimpleNamespace(init=init, exceptions=SimpleNamespace(RayError=OSError))
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    with pytest.raises(faults.MachineError, match="Ray did not start: The current node timed out"):
        cluster.Ray(None, 1, {})
