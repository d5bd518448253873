"""A throw-away PostgreSQL on loopback: made by initdb, with a password of its own, deleted at the end."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

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
