"""What all commands share: where conf/ lies, what --help prints, and how an error reaches the user."""

from __future__ import annotations

import ast
import contextlib
import errno
import functools
import inspect
import io
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

from mnist_scaling.errors import explain, printable

_PACKAGE = Path(__file__).resolve().parent
_DEBUG = "HYDRA_FULL_ERROR"

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended, as shells have it."""

_SET_BY_SWEEPS = ("trial", "init_sha256", "data.sha256")
"""Keys that no person sets."""

_wants_traceback: list[bool] = []
"""Whether the user set `_DEBUG` for the running command; `run` always sets it for Hydra."""


def conf_dir() -> str:
    """Absolute path of conf/: inside the package when installed, else in the checkout; FileNotFoundError for none.

    Hydra resolves a relative ``config_path`` against the calling *module*, which fails for an installed command.
    """
    for folder in (_PACKAGE / "conf", _PACKAGE.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return str(folder)
    raise FileNotFoundError(f"No conf/ in {_PACKAGE} or {_PACKAGE.parents[1]}: reinstall mnist_scaling.")


def run(main: Callable[[], object], config_name: str) -> None:
    """Run a Hydra command, configured by conf/<config_name>.yaml; a user's error is one sentence and exit status 1."""
    given = os.environ.get(_DEBUG)
    _wants_traceback.append(given not in (None, "", "0"))
    # With this variable set, Hydra re-raises what it catches, so one place decides what is printed.
    os.environ[_DEBUG] = "1"
    streams = sys.stdout, sys.stderr
    try:
        sys.stdout, sys.stderr = map(_lasting, streams)
        with user_errors(config_name):
            if {"--help", "-h"} & set(sys.argv[1:]):
                print(help_page(config_name))
            else:
                note_repeated(sys.argv[1:])
                main()
    except KeyboardInterrupt:
        left = "No file is half-written; the same command starts anew."
        if config_name == "ask" or {"-m", "--multirun"} & set(sys.argv):  # which run studies
            left = "Every run that has ended is kept; the same command resumes the study."
        print(f"\nInterrupted. {left}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        sys.stdout, sys.stderr = streams
        os.environ[_DEBUG] = given or "0"
        _wants_traceback.pop()


def note_repeated(arguments: Sequence[str]) -> None:
    """Say which keys are given more than once: Hydra takes the last, which a script that appends its own relies on."""
    pairs = [given.partition("=") for given in arguments if not given.startswith("-") and "=extend_list(" not in given]
    keys = [key.lstrip("+") for key, sign, _ in pairs if sign]
    for key in dict.fromkeys(key for key in keys if keys.count(key) > 1):
        print(f"Note: `{key}` is given {keys.count(key)} times: the last one counts.", file=sys.stderr)


def help_page(command: str) -> str:
    """The first comment of a command's file in conf/, and all of its keys; of ``train`` those of a sweep, too."""
    from mnist_scaling.config import SCHEMAS

    conf = Path(conf_dir())
    lines = (conf / f"{command}.yaml").read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("#").removeprefix(" ") for line in lines[: lines.index("")]]
    parts = [*head, "", "Keys, each as key=default:", ""]
    for key, value, meaning in described_keys(SCHEMAS[command]):
        wrapped = textwrap.fill(meaning, 94, break_on_hyphens=False)
        parts += [f"  {key}={_as_typed(value)}", textwrap.indent(wrapped, " " * 6)]
    if command == "train":
        groups = ("model", "data", "optim", "regime", "experiment", "scale", "hydra/launcher")
        options = {group: sorted(path.stem for path in (conf / group).glob("*.yaml")) for group in groups}
        parts += ["", "Groups:", "", *(f"  {group}={'|'.join(names)}" for group, names in options.items())]
        sweep = (conf / "hydra/sweeper/cells.yaml").read_text(encoding="utf-8")
        parts += ["", "With -m, hydra.sweeper.KEY=…:", "", sweep.rstrip()]
    return "\n".join(parts)


def described_keys(schema: type, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every dotted key of a schema that a person sets, its default, and what the text below its field says."""
    texts = _texts(schema)
    for one in fields(schema):
        key, value = f"{prefix}{one.name}", _default(one)
        if key in _SET_BY_SWEEPS:
            continue
        # A sweep's `model` is a mapping, because every family has keys of its own; those of all stand in its base.
        bases = [_default(f) for base in schema.__mro__[1:-1] for f in fields(base) if f.name == one.name]
        value = next((older for older in bases if is_dataclass(older)), value)
        if is_dataclass(value):
            yield from described_keys(type(value), f"{key}.")
        else:
            yield key, value, " ".join(texts.get(one.name, "").split())


def _default(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return None if one.default is MISSING else one.default


def _texts(schema: type) -> dict[str, str]:
    """Field to the string below it, which Python itself does not keep; a subclass's goes before its base's."""
    texts = {}
    for base in reversed([base for base in schema.__mro__ if is_dataclass(base)]):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(node, ast.ClassDef)
        for one, below in pairwise(node.body):
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(one, ast.AnnAssign) and is_text:
                texts[ast.unparse(one.target)] = str(ast.literal_eval(ast.unparse(below)))
    return texts


def _as_typed(value: Any) -> str:
    """A default as one types it."""
    if value is None:
        return "null"
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_as_typed, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


class _LastingFile(io.FileIO):
    """A pipe or terminal; once its reader has gone, what is written goes nowhere."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # so that programs started from now on have it too
            os.close(nowhere)
            return len(data)


def _lasting(stream: TextIO) -> TextIO:
    """A stream that costs no result: letters that it lacks are replaced, and its reader may leave."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="replace")
    if not isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO):
        return stream
    stream.flush()
    file: Any = _LastingFile(stream.fileno(), "w", closefd=False)
    unbuffered = stream.write_through
    buffer = file if unbuffered else io.BufferedWriter(file)
    return io.TextIOWrapper(buffer, stream.encoding, "replace", None, stream.line_buffering, unbuffered)


def environment() -> dict[str, str]:
    """The environment for a command that this one starts: as the user set it, not as `run` did."""
    return {**os.environ, _DEBUG: "1" if any(_wants_traceback) else "0"}


@contextlib.contextmanager
def user_errors(config_name: str) -> Iterator[None]:
    """Turn a user's error into one sentence on stderr and exit status 1.

    Any other error is a bug and keeps its traceback, and so does every error when the user sets
    ``HYDRA_FULL_ERROR=1``. A command's body is wrapped as well, because Hydra adds a line to exceptions that leave
    the body; it lets SystemExit pass.
    """
    try:
        yield
    except Exception as error:
        sentence = None if any(_wants_traceback) else explain(error, functools.partial(known_keys, config_name))
        if sentence is None:
            raise
        print(f"Error: {printable(sentence)}", file=sys.stderr)
        raise SystemExit(1) from None


def known_keys(config_name: str) -> list[str]:
    """Every dotted key of the command's configuration, for suggestions."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from mnist_scaling.config import flatten

    GlobalHydra.instance().clear()  # inside a command's body Hydra is still active; the command ends with this error
    with initialize_config_dir(conf_dir()):
        nodes = OmegaConf.to_container(compose(config_name, return_hydra_config=True), resolve=False)
    paths = [key.split(".") for key in flatten(nodes)]
    return list(dict.fromkeys(".".join(path[:n]) for path in paths for n in range(1, len(path) + 1)))
