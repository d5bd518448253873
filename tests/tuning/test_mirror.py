"""Journals that are torn or damaged, databases that are opened by two sweeps at once, passwords."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import time
from pathlib import Path

import optuna
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.stored import journal
from mnist_scaling.tuning.stored.masking import masked
from mnist_scaling.tuning.stored.storage import mend, open_storage

HEAD = b'{"op_code":0,"worker_id":"a","study_name":"s","directions":[1]}\n'
TAIL = b'{"op_code":2,"worker_id":"a","study_id":0,"user_attr":{"x":1}}\n'


def attributes(path: Path) -> dict[str, object]:
    return optuna.load_study(study_name="s", storage=journal.open_journal(path)).user_attrs


@pytest.mark.parametrize(
    "torn",
    [HEAD + TAIL + TAIL[:-1], HEAD + TAIL + TAIL[:20], HEAD + TAIL[:20] + TAIL, HEAD + TAIL[:5] + TAIL[:20] + TAIL],
    ids=["no newline", "half at the end", "half in front", "two in front"],
)
def test_half_entries_are_taken_out(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "optuna.journal"
    path.write_bytes(torn)
    mend(None, tmp_path)
    assert path.read_bytes() == HEAD + TAIL
    assert attributes(path) == {"x": 1}


DAMAGED = {
    "cut in the middle": (HEAD + TAIL[:30] + b"\n" + TAIL, 2),
    "bytes": (HEAD + b"\xff\xfe\x00\n" + TAIL, 2),
    "a number": (HEAD + b"7\n" + TAIL, 2),
    "unknown operation": (HEAD + TAIL + b'{"op_code":99,"worker_id":"a"}\n', 3),
    "no operation": (b'{"worker_id":"a"}\n' + HEAD, 1),
    "two whole ones": (HEAD[:-1] + TAIL, 1),
    "rubbish in front": (HEAD + b"rubbish" + TAIL, 2),
    "empty line": (HEAD + b"\n" + TAIL, 2),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_journal_of_the_study_is_set_aside_with_a_word(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content, line = DAMAGED[kind]
    path = tmp_path / "optuna.journal"
    for n in (1, 2):
        path.write_bytes(content)
        mend(None, tmp_path)
        assert not path.exists()
        assert (tmp_path / f"optuna.journal.damaged-{n}").read_bytes() == content
        words = f"Warning: line {line} of {path} is damaged: the file is now optuna.journal.damaged-{n}"
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_journal_that_others_may_share_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    content, line = DAMAGED[kind]
    path = tmp_path / "shared.log"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"but line {line} of {path} is damaged: restore the file, or move it away"):
        mend(f"journal://{path}", tmp_path)
    assert path.read_bytes() == content


def test_a_changed_byte_is_damage_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    storage = journal.open_journal(path)
    study = optuna.create_study(study_name="s", storage=storage)
    study.add_trial(
        optuna.trial.create_trial(value=0.5, user_attrs={"index": 0}, intermediate_values={2: 1.0, 10: 0.5})
    )
    whole = path.read_bytes()
    mend(None, tmp_path)
    assert path.read_bytes() == whole
    marks = [m.start() + i for m in re.finditer(b',"crc32":|\n', whole) for i in range(len(m.group()))]
    for place in sorted({*range(0, len(whole), 7)} - {*marks}):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        mend(None, tmp_path)
        assert not path.exists(), whole[place - 20 : place + 20]


def test_damage_that_appears_while_a_sweep_runs_is_a_fault_with_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    path.write_bytes(HEAD)
    storage = journal.open_journal(path)
    with path.open("ab") as file:
        file.write(b"7\n")
    with pytest.raises(OSError, match="a line of the journal is damaged.*optuna.journal"):
        storage.get_all_studies()


def _append_beyond_the_limit(path: Path) -> None:
    storage = journal.open_journal(path)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, resource.RLIM_INFINITY))
    try:
        storage.set_study_user_attr(0, "x", "y" * 100)
    except OSError:
        os._exit(7)
    os._exit(0)


def test_an_entry_that_the_disk_takes_only_half_of_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stops a real write in its middle, as a full disk does."""
    path = tmp_path / "optuna.journal"
    path.write_bytes(HEAD + TAIL)
    process = multiprocessing.get_context("spawn").Process(target=_append_beyond_the_limit, args=(path,))
    process.start()
    process.join(120)
    assert process.exitcode == 7
    assert path.read_bytes() == HEAD + TAIL


def test_a_process_that_was_stopped_inside_the_lock_goes_on(tmp_path: Path) -> None:
    """Another one takes the lock away after half a minute; the stopped one's release used to be an error of its run."""
    lock = journal._Lock(str(tmp_path / "optuna.journal"))
    lock.acquire()
    (tmp_path / "optuna.journal.lock").unlink()  # as the other one does
    lock.release()


def _open(url: str, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    study = optuna.create_study(study_name="s", storage=open_storage(url, Path()), load_if_exists=True)
    study.tell(study.ask(), 1.0)


def test_several_sweeps_may_open_one_empty_database_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for attempt in range(2):
        url, start = f"sqlite:///{tmp_path}/{attempt}.db", time.time() + 8
        processes = [context.Process(target=_open, args=(url, start)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * 4
        assert len(optuna.load_study(study_name="s", storage=open_storage(url, Path())).trials) == 4


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://me:w0rd@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("hydra.sweeper.storage='mysql://me:a:b/c@host/db'", "hydra.sweeper.storage='mysql://me:***@host/db'"),
        ("postgresql://host/db?user=me&password=w0rd&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("postgresql//me:w0rd@host", "postgresql//me:***@host"),
        ("postgresql://me:${oc.env:WORD}@host/db", "postgresql://me:${oc.env:WORD}@host/db"),
        ("hydra.sweeper.storage=${oc.env:DBURL}", "hydra.sweeper.storage=${oc.env:DBURL}"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("optim.lr=tag(log, interval(1e-3, 1e-1))", "optim.lr=tag(log, interval(1e-3, 1e-1))"),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_an_unreachable_database_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        open_storage("nonsense://me:w0rd@host/db", tmp_path)
    assert "must be a database that opens, but nonsense://me:***@host/db does not" in str(raised.value)
    assert "w0rd" not in str(raised.value)
