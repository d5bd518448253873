"""Commands, each in a fork of one process that has imported what they use: torch alone takes five seconds to import.

Read as a program, it takes requests from standard input, a JSON object per line, and answers each with an exit code.
It may leave our package to the commands, which then import the copy that their PYTHONPATH names.
"""

from __future__ import annotations

import atexit
import gc
import json
import multiprocessing.process
import os
import pkgutil
import runpy
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LIBRARIES = (
    "torch hydra optuna pandas scipy.optimize scipy.special scipy.stats matplotlib.pyplot seaborn rich.table jinja2"
)


PACKAGE = "mnist_scaling"
PROGRAMS = {f"{PACKAGE}.{name}" for name in ["__main__", "ask", "compare", "fit", "plan", "report", "train"]}
"""Modules that are run, which must not be imported before."""


class Preforked:
    """The process, from the side of the tests, which has our package too or the libraries alone."""

    def __init__(self, has_package: bool = True) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, *[PACKAGE][:has_package]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        self._outputs = tempfile.TemporaryDirectory()

    def run(
        self, arguments: Sequence[str], cwd: Path, timeout: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """What ``python -m *arguments`` gives in the folder `cwd`, or ``python *arguments`` where a script comes first.

        Raises
        ------
        subprocess.TimeoutExpired
            When it takes longer than `timeout` seconds.
        """
        out, err = (Path(self._outputs.name, name) for name in ("stdout", "stderr"))
        request: dict[str, Any] = {"arguments": list(arguments), "cwd": str(cwd), "files": [str(out), str(err)]}
        request["environment"] = os.environ | {"PYTHONWARNINGS": "default", "OMP_NUM_THREADS": "1"} | environment
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            self.close()
            raise subprocess.TimeoutExpired(list(arguments), timeout)
        code = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(
            list(arguments), code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
        )

    def close(self) -> None:
        """End the process and all that it started."""
        os.killpg(self._process.pid, 9)
        self._process.wait()
        self._outputs.cleanup()
        for stream in (self._process.stdin, self._process.stdout):
            stream.close()  # type: ignore[union-attr]


def _serve() -> dict[str, Any]:
    """Answer requests; return, in the fork, with the one that is to be carried out."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            return request
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def _become(request: dict[str, Any]) -> None:
    """Take the request's folder, environment and files."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, path in ((1, request["files"][0]), (2, request["files"][1])):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = request["arguments"]
    multiprocessing.process.ORIGINAL_DIR = request["cwd"]  # where a script's own processes look for it
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [request["cwd"], *(path for path in own if path and path not in sys.path)]


def _load_package() -> None:
    package = __import__(PACKAGE)
    for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if module.name not in PROGRAMS:
            __import__(module.name)


def _exit_status_of(program: str) -> int:
    """Run a module, or a script, as a program."""
    try:
        if program.endswith(".py"):
            sys.path[0] = str(Path(program).resolve().parent)
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end(status: int) -> None:
    """End as the interpreter does, but without taking every module apart, which takes as long as a small command."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    for name in LIBRARIES.split():
        __import__(name)
    if PACKAGE in sys.argv:
        _load_package()
    gc.collect()
    gc.freeze()  # so that no fork looks through, and thereby copies, what is imported
    _become(asked := _serve())
    _end(_exit_status_of(asked["arguments"][0]))
