"""A throw-away PostgreSQL on loopback: made by initdb, with a password of its own, deleted at the end."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

MISSING = (
    "the programs of a PostgreSQL server (initdb, pg_ctl) are not installed: on Debian, apt-get install postgresql"
)


def programs() -> Path | None:
    """Folder of initdb and pg_ctl, the newest of Debian's or the first of the path; None without a server."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = debian[-1:] or [Path(path).resolve() for path in [shutil.which("initdb")] if path]
    return found[0].parent if found and (found[0].parent / "pg_ctl").exists() else None


class Server:
    """A cluster of PostgreSQL with one user and one database, all its files in a folder of its own.

    PostgreSQL refuses to run as root; root starts it as the user nobody.

    Parameters
    ----------
    settings : mapping
        Lines of postgresql.conf.
    folder : Path, optional
        An empty folder for its files, which stays; None makes one and deletes it.
    """

    USER, DATABASE = "me", "postgres"

    def __init__(self, settings: dict[str, str] | None = None, folder: Path | None = None) -> None:
        found = programs()
        assert found is not None, MISSING
        self._programs, self._own = found, folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="mnist-scaling-postgres-"))
        self.password = secrets.token_hex(12)
        self.port = _free_port()
        word = self.folder / "word"
        word.touch(mode=0o600)
        word.write_text(self.password)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (self.folder, word):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        self._run("initdb", "-U", self.USER, "-A", "scram-sha-256", "--pwfile", str(word), "-E", "UTF8", "--no-locale",
                  "--no-sync", "--no-instructions", "-D", str(self._data))  # fmt: skip
        word.unlink()
        given = {"listen_addresses": "'127.0.0.1'", "port": str(self.port), "unix_socket_directories": "''"}
        given |= {"fsync": "off", "shared_buffers": "16MB"} | (settings or {})
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{key} = {value}\n" for key, value in given.items())
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server writes about itself."""
        return self.folder / "log"

    def url(self, database: str = DATABASE, password: str | None = None) -> str:
        """What `hydra.sweeper.storage` is to be."""
        word = self.password if password is None else password
        return f"postgresql+psycopg://{self.USER}:{word}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-l", str(self.log), "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """End it; `immediate` is what a crash is: every connection is cut in whatever it does."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    def create(self, name: str) -> str:
        """An empty database; its URL."""
        plain = re.sub(r"\W+", "_", name)[-60:]
        self.sql(f'CREATE DATABASE "{plain}"')
        return self.url(plain)

    def sql(self, statement: str, url: str | None = None) -> list[tuple[object, ...]]:
        """The rows of a statement in a database."""
        with self._connect(url) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def all_connections(self) -> Iterator[None]:
        """Leave no connection to anybody."""
        import psycopg

        with contextlib.ExitStack() as held:
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    held.enter_context(self._connect())
            yield

    def _connect(self, url: str | None = None) -> Any:
        import psycopg

        return psycopg.connect((url or self.url()).replace("+psycopg", ""), autocommit=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
        # pg_ctl hands its own stdout to the server, so a pipe would not end before the server does.
        with (self.folder / "said").open("a+") as said:
            done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            said.seek(0)
            assert done.returncode == 0, f"{program}: {said.read()[-2000:]}"

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop()
        if self._own:
            shutil.rmtree(self.folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LossyLink:
    """A way to the server that is cut again and again, at a chosen moment of a transaction.

    Parameters
    ----------
    port : int
        The server's.
    lost : {"answer", "question"}
        Whether the server's answer to COMMIT is lost, so that what was asked for is done, or COMMIT itself.
    every : int
        Of how many commits one; 0 for none.

    Attributes
    ----------
    cuts : int
        How often it was cut.
    carried : dict
        Bytes of questions and of answers.
    """

    _COMMIT: ClassVar = {"answer": b"C\0\0\0\x0bCOMMIT\0", "question": b"Q\0\0\0\x0bCOMMIT\0"}

    def __init__(self, port: int, lost: str, every: int) -> None:
        self._server, self._lost, self._every = port, lost, every
        self.cuts, self._seen, self._lock = 0, 0, threading.Lock()
        self.carried = {"question": 0, "answer": 0}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> LossyLink:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                for source, sink, what in ((client, server, "question"), (server, client, "answer")):
                    threading.Thread(target=self._forward, args=(source, sink, what), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, what: str) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and not self._is_cut(data, what):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _is_cut(self, data: bytes, what: str) -> bool:
        with self._lock:
            self.carried[what] += len(data)
            if what != self._lost or self._COMMIT[what] not in data or not self._every:
                return False
            self._seen += 1
            cut = self._seen % self._every == 0
            self.cuts += cut
        return cut
