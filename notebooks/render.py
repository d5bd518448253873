"""Write each notebook anew from its Markdown: its cells are run in order, and what they print and draw is kept.

    python notebooks/render.py                 all of them, as `make notebooks` does
    python notebooks/render.py 03_scaling_laws

They are run in an empty folder that has the data and the repository's own tables, so that outputs do not depend on
studies of your own. tests/test_notebooks.py runs them in the same way and compares.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
SHARED = ("data", "multirun/reference")
"""What a notebook reads, from the checkout."""

SECONDS = 600
"""Time for one cell, at most."""

QUIET = "ignore:IProgress not found"
"""What tqdm says, which Optuna imports, where Jupyter has no widgets."""


def sources() -> list[Path]:
    """The Markdown of every notebook, in their order."""
    return sorted(FOLDER.glob("[0-9]*.md"))


@contextmanager
def clean_folder() -> Iterator[Path]:
    """A folder to run notebooks in, gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in SHARED:
            (ROOT / place).mkdir(parents=True, exist_ok=True)
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).symlink_to(ROOT / place)
        yield folder


def execute(source: Path, folder: Path) -> nbformat.NotebookNode:
    """A notebook with outputs, run from its Markdown in a folder.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        When a cell fails.
    """
    notebook = jupytext.read(source)
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place:02d}"  # the same in every rendering, so that only what changed differs
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute(env={**os.environ, "PYTHONWARNINGS": QUIET})
    notebook.metadata.pop("language_info", None)  # the version of Python is no part of it
    return notebook


def main() -> None:
    """Render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="such as 03_scaling_laws; all by default")
    names = parser.parse_args().names
    with clean_folder() as folder:
        for source in sources():
            if not names or source.stem in names:
                target = source.with_suffix(".ipynb")
                nbformat.write(execute(source, folder), target)
                print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
