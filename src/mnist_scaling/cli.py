"""What all commands share: where conf/ lies, and how an error reaches the user."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from mnist_scaling.errors import InputError, nearest, printable

_PACKAGE = Path(__file__).resolve().parent
_DEBUG = "HYDRA_FULL_ERROR"

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended, as shells have it."""

_RESUMES = "Every run that has ended is kept; the same command resumes the study."
_ANEW = "No file is half-written; the same command starts anew."
"""What an interrupted sweep has left, and what any other command has."""

_RUNS_STUDIES = ("ask",)
"""Commands that run studies without being told -m."""

_wants_traceback: list[bool] = []
"""Whether the user set `_DEBUG` for the running command; `run` always sets it for Hydra."""


def conf_dir() -> str:
    """Absolute path of conf/: inside the package when it is installed, else in the checkout.

    Hydra resolves a relative ``config_path`` against the calling *module*, which fails for an installed command. It
    uses an absolute path unchanged.

    Raises
    ------
    FileNotFoundError
        When neither place holds the configuration.
    """
    for folder in (_PACKAGE / "conf", _PACKAGE.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return str(folder)
    raise FileNotFoundError(f"No conf/ in {_PACKAGE} or {_PACKAGE.parents[1]}: reinstall mnist_scaling.")


def run(main: Callable[[], object], config_name: str) -> None:
    """Run a Hydra command, whose configuration is conf/<config_name>.yaml; a user's error becomes one sentence and exit
    status 1.
    """
    given = os.environ.get(_DEBUG)
    _wants_traceback.append(given not in (None, "", "0"))
    # With this variable set, Hydra re-raises what it catches, so one place decides what is printed.
    os.environ[_DEBUG] = "1"
    streams = sys.stdout, sys.stderr
    try:
        sys.stdout, sys.stderr = map(_lasting, streams)
        with user_errors(config_name):
            if {"--help", "-h"} & set(sys.argv[1:]):
                print(_help(config_name))
            else:
                note_repeated(sys.argv[1:])
                main()
    except KeyboardInterrupt:
        resumes = config_name in _RUNS_STUDIES or {"-m", "--multirun"} & set(sys.argv)
        print(f"\nInterrupted. {_RESUMES if resumes else _ANEW}", file=sys.stderr)
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


def _help(config_name: str) -> str:
    """What a command does, and all of its keys; of ``train`` also the groups, and the keys of a sweep."""
    from mnist_scaling.config.building import SCHEMAS, help_page

    conf = Path(conf_dir())
    text = help_page(SCHEMAS[config_name], conf / f"{config_name}.yaml")
    if config_name != "train":
        return text
    groups = ("model", "data", "optim", "regime", "experiment", "scale", "hydra/launcher")
    options = {group: sorted(path.stem for path in (conf / group).glob("*.yaml")) for group in groups}
    shown = [f"  {group}={'|'.join(names)}" for group, names in options.items()]
    sweep = (conf / "hydra/sweeper/cells.yaml").read_text(encoding="utf-8")
    return "\n".join([text, "", "Groups:", "", *shown, "", "With -m, hydra.sweeper.KEY=…:", "", sweep.rstrip()])


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
        sentence = None if any(_wants_traceback) else explain(error, config_name)
        if sentence is None:
            raise
        print(f"Error: {printable(sentence)}", file=sys.stderr)
        raise SystemExit(1) from None


def explain(error: BaseException, config_name: str) -> str | None:
    """The sentence to print for a user's error that a command raised, or None when the error is a bug."""
    # Imported here, because modules that need nothing of Hydra call `conf_dir` when they are imported.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_hydra(error, config_name)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk must have room for the results, but it is full: free some space, and the same command resumes."
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE and error.filename:
        return f"The output folder must be writable, but {error.filename} is not ({error.strerror}): mend or move it."
    if isinstance(error, ValueError) and "hydra" in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts:
        return f"The command line must be what Hydra understands, but it says: {error}."
    return None


_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
"""Errors of what can't be written: by permission, on a read-only disk, or because a folder is a file, or a file one."""

_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "String": "text"}


def _explain_hydra(error: BaseException, config_name: str) -> str:
    """One sentence for an error that Hydra or OmegaConf explains in several lines."""
    text = f"{error}\n{error.__cause__ or ''}"
    key = getattr(error, "full_key", None) or getattr(error.__cause__, "full_key", None)
    if found := re.search(r"Could not override '([^']+)'", text):
        if "is not in struct" in text or "not in '" in text:
            return _unknown_key(found.group(1), config_name)
        key = found.group(1)
    if found := re.search(r"In '(.+?)': ConfigKeyError raised while composing config:\s+Key '([^']+)' not in", text):
        return _unknown_key(str(key or found.group(2)), config_name, f"conf/{found.group(1)}.yaml has")
    if (found := re.search(r"Key '([^']+)' (?:is )?not in ", text)) and key:
        return _unknown_key(str(key), config_name)
    if found := re.search(r"Value '(.*)' of type '.*' could not be converted to (\w+)", text):
        kind = _KINDS.get(found.group(2), found.group(2))
        name = f"`{key}`" if key else "A value"
        return f"{name} must be {kind}, but got '{found.group(1)}': mend the value."
    if key and re.search(r"Incompatible value 'None'|is not Optional", text):
        return f"`{key}` must have a value, but got null: give one, or leave it out for its default."
    if found := re.search(
        r"Could not find '(.+)/([^/']+)'[\s\S]*?Available options in '[^']*':([\s\S]*?)Config search", text
    ):
        options = ", ".join(found.group(3).split())
        return f"`{found.group(1)}` must be one of {options}, but got '{found.group(2)}': choose one of them."
    if found := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return (
            f"A list of values is a sweep, but got `{found.group(1)}` for a single run: add `-m` to tune every cell, "
            "or give one value."
        )
    if found := re.search(r"Error merging override ~(\S+)", text):
        return f"A run must have all of its keys, but `~{found.group(1)}` takes one away: leave it out, or give one."
    if found := re.search(r"Error merging override ([^=\s]+)=(.*)", text):
        key, value = found.groups()
        keys = [name for name in _known_keys(config_name) if name.startswith(f"{key}.")]
        of = f"keys, such as {keys[0]}" if keys else "values of its own kind"
        return f"`{key}` must hold {of}, but got {value}: mend the value."
    if found := re.search(r"Error when parsing index: \d+, string: (.*?) out of ", text):
        word = found.group(1)
        fix = f"did you mean `name={word}`?" if word.isidentifier() else "quote or mend it."
        return f"An override must be written key=value in Hydra's grammar, but got `{word}`: {fix}"
    # OmegaConf's last lines locate a node inside its own objects, which does not help a user.
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not re.match(r"(full_key|object_type|reference_type):?", line))


def _unknown_key(key: str, config_name: str, where: str = "got") -> str:
    known = _known_keys(config_name)
    ends = [name for name in known if name.endswith(f".{key}")]  # lr for optim.lr
    fix = nearest(ends[0] if ends else key, known, "`--cfg all` prints every key there is.")
    return f"Every key must exist in the configuration, but {where} `{key}`: {fix}"


def _known_keys(config_name: str) -> list[str]:
    """Every dotted key of the command's configuration, for suggestions."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import DictConfig

    def walk(node: DictConfig, prefix: str) -> list[str]:
        keys: list[str] = []
        for key in node:
            keys.append(f"{prefix}{key!s}")
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
                keys += walk(child, f"{prefix}{key!s}.")
        return keys

    GlobalHydra.instance().clear()  # inside a command's body Hydra is still active; the command ends with this error
    with initialize_config_dir(conf_dir()):
        return walk(compose(config_name, return_hydra_config=True), "")
