"""Files that are replaced as a whole, and JSON that is checked when it is read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnist_scaling.errors import InputError


def write_atomically(path: Path, text: str) -> None:
    """Replace the file at `path` atomically: a reader, or a crash, sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes files private, but everyone may read a table
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as JSON, atomically; NaN and infinities are refused, they are not JSON."""
    write_atomically(path, json.dumps(content, allow_nan=False, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no file.

    Raises
    ------
    InputError
        When the file holds anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} must be JSON, but is damaged ({error}): delete it and run the step that writes it again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, but holds {type(content).__name__}: make it again.")
    return content
