"""What every command shares: where conf/ lies, and how an error reaches the user."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from mnist_scaling.errors import InputError

_PACKAGE = Path(__file__).resolve().parent
_DEBUG = "HYDRA_FULL_ERROR"


def conf_dir() -> str:
    """Absolute path of conf/: inside the package when installed, else in the checkout.

    Hydra resolves a relative ``config_path`` against the calling *module*, which fails for an
    installed command; an absolute path is taken as it is.

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
    """Run a Hydra command; turn an error that is the user's into one sentence and exit status 1.

    Anything else keeps its traceback, because it is a bug of ours. ``HYDRA_FULL_ERROR=1`` shows
    every traceback.

    Parameters
    ----------
    main : callable
        A function decorated with ``hydra.main``; it reads ``sys.argv``.
    config_name : str
        The command's file in conf/, without ``.yaml``: where a misspelt key's suggestion comes from.
    """
    wants_traceback = os.environ.get(_DEBUG, "0") not in ("", "0")
    # With this set Hydra re-raises what it catches, so that one place decides what is printed.
    os.environ[_DEBUG] = "1"
    try:
        main()
    except KeyboardInterrupt:
        print("\nInterrupted. What was measured is kept; the same command resumes.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        sentence = explain(error, config_name)
        if sentence is None or wants_traceback:
            raise
        print(f"Error: {sentence}", file=sys.stderr)
        sys.exit(1)
    finally:
        os.environ[_DEBUG] = "1" if wants_traceback else "0"


def explain(error: BaseException, config_name: str) -> str | None:
    """The sentence to print for a user's error, or None when the error is a bug.

    Parameters
    ----------
    error : BaseException
        What a command raised.
    config_name : str
        The command's file in conf/.
    """
    # Imported here: `conf_dir` is used at import time by modules that do not need Hydra's internals.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_hydra(error, config_name)
    return None


def _explain_hydra(error: BaseException, config_name: str) -> str:
    """Hydra's several lines as one, with the nearest spelling of an unknown key."""
    text = str(error)
    for cause in (error.__cause__, error.__context__):
        if cause is not None and str(cause) not in text:
            text += "\n" + str(cause)
    unknown = re.search(r"Could not override '([\w.@/]+)'", text)
    if unknown and "is not in struct" in text:
        return _unknown_key(unknown.group(1), config_name)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # OmegaConf's trailers locate a node inside its own objects; they say nothing to a user.
    lines = [line for line in lines if not re.match(r"(full_key|object_type|reference_type):?", line)]
    return " ".join(lines)


def _unknown_key(key: str, config_name: str) -> str:
    close = difflib.get_close_matches(key, _known_keys(config_name), n=1, cutoff=0.6)
    fix = f"did you mean `{close[0]}`?" if close else "`--cfg job` prints every key there is."
    return f"Every key must exist in the configuration, but got `{key}`: {fix}"


def _known_keys(config_name: str) -> list[str]:
    """Every dotted key that the command's own configuration has, for the suggestion."""
    from hydra import compose, initialize_config_dir
    from omegaconf import DictConfig

    def walk(node: DictConfig, prefix: str) -> list[str]:
        keys: list[str] = []
        for key in node:
            keys.append(f"{prefix}{key}")
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none():
                keys += walk(child, f"{prefix}{key}.")
        return keys

    with initialize_config_dir(conf_dir()):
        return walk(compose(config_name), "")
