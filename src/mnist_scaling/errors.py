"""The exception that means "the input is at fault, not the program", and the sentences of all who raise it."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

PLAIN_NUMBER = "write a plain number such as 1234.5, without thousands separators, decimal comma, % or unit"
"""The fix where a field should hold a number and does not."""


class InputError(ValueError):
    """A rule that the user's input breaks.

    The message is one sentence that states the rule, the value that breaks it and the fix. Commands
    print it without a traceback and exit with status 1 (``cli.run``); libraries just raise it.
    """


def line_of(row: int) -> int:
    """Line of a row in a spreadsheet, which counts from 1 and begins with the header."""
    return int(row) + 2


def printable(text: str) -> str:
    """Text of a file or a user without characters that a terminal obeys, such as the escape that begins a colour."""
    return "".join(c if c.isprintable() or c in "\n \N{NO-BREAK SPACE}" else ascii(c)[1:-1] for c in text)


def nearest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Which known word is meant by one that is not known, as the end of a sentence; `otherwise` where none is near."""
    known = list(known)
    alike = [one for one in known if one.lower() == word.lower()]
    close = alike or get_close_matches(word, known, n=1, cutoff=0.65)
    return f"did you mean `{close[0]}`?" if close else otherwise or f"choose one of {', '.join(known)}."


def require(rule: bool, sentence: str) -> None:
    """Raise `InputError` with `sentence` unless `rule` holds."""
    if not rule:
        raise InputError(sentence)


def holds(rule: bool, text: str, value: object, fix: str) -> None:
    """Raise `InputError` unless `rule` holds, which `text` states."""
    shown = f"{value:g}" if isinstance(value, float) else value
    require(rule, f"`{text}` must hold, but got {shown}: {fix}")


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise `InputError` unless `value` is one of `allowed`."""
    require(value in allowed, f"`{key}` must be one of {', '.join(allowed)}, but got {value!r}.")


def explain(error: BaseException, known_keys: Callable[[], list[str]]) -> str | None:
    """The sentence to print for a user's error that a command raised, or None when the error is a bug.

    `known_keys` gives every dotted key of the command's configuration, for suggestions.
    """
    # Imported here, because parts of the package have nothing to do with Hydra.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_hydra(error, known_keys)
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


def _explain_hydra(error: BaseException, known_keys: Callable[[], list[str]]) -> str:
    """One sentence for an error that Hydra or OmegaConf explains in several lines."""
    text = f"{error}\n{error.__cause__ or ''}"
    key = getattr(error, "full_key", None) or getattr(error.__cause__, "full_key", None)
    if match := re.search(r"Could not override '([^']+)'", text):
        if "is not in struct" in text or "not in '" in text:
            return _unknown_key(match[1], known_keys())
        key = match[1]
    if match := re.search(r"In '(.+?)': ConfigKeyError raised while composing config:\s+Key '([^']+)' not in", text):
        return _unknown_key(str(key or match[2]), known_keys(), f"conf/{match[1]}.yaml has")
    if (match := re.search(r"Key '([^']+)' (?:is )?not in ", text)) and key:
        return _unknown_key(str(key), known_keys())
    if match := re.search(r"Value '(.*)' of type '.*' could not be converted to (\w+)", text):
        kind = _KINDS.get(match[2], match[2])
        name, fix = f"`{key}`" if key else "A value", PLAIN_NUMBER if kind == "a number" else "mend the value"
        return f"{name} must be {kind}, but got '{match[1]}': {fix}."
    if key and re.search(r"Incompatible value 'None'|is not Optional", text):
        return f"`{key}` must have a value, but got null: give one, or leave it out for its default."
    if match := re.search(
        r"Could not find '(.+)/([^/']+)'[\s\S]*?Available options in '[^']*':([\s\S]*?)Config search", text
    ):
        options = ", ".join(match[3].split())
        return f"`{match[1]}` must be one of {options}, but got '{match[2]}': choose one of them."
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        rule, fix = "is a sweep", "add `-m` to tune every cell"
        if "hydra.sweeper.n_trials" not in known_keys():  # a command that runs no sweep
            rule, fix = "must stand in brackets", f"write `{match[1].replace('=', '=[', 1)}]` where a list is meant"
        return f"A list of values {rule}, but got `{match[1]}` for a single run: {fix}, or give one value."
    if match := re.search(r"Error merging override ~(\S+)", text):
        return f"A run must have all of its keys, but `~{match[1]}` takes one away: leave it out, or give one."
    if match := re.search(r"Error merging override ([^=\s]+)=(.*)", text):
        key, value = match.groups()
        keys = [name for name in known_keys() if name.startswith(f"{key}.")]
        of = f"keys, such as {keys[0]}" if keys else "values of its own kind"
        return f"`{key}` must hold {of}, but got {value}: mend the value."
    if match := re.search(r"Error when parsing index: \d+, string: (.*?) out of ", text):
        word, (key, sign, value) = match[1], match[1].partition("=")
        fix = f"mend it, or quote text twice: `{key}='\"{value}\"'`." if sign else "mend it."
        fix = f"did you mean `name={word}`?" if word.isidentifier() else fix
        return f"An override must be written key=value in Hydra's grammar, but got `{word}`: {fix}"
    # OmegaConf's last lines locate a node inside its own objects, which does not help a user.
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not re.match(r"(full_key|object_type|reference_type):?", line))


def _unknown_key(key: str, known: Sequence[str], where: str = "got") -> str:
    ends = [name for name in known if name.endswith(f".{key}")]  # lr for optim.lr
    fix = nearest(ends[0] if ends else key, known, "`--cfg all` prints every key there is.")
    return f"Every key must exist in the configuration, but {where} `{key}`: {fix}"
