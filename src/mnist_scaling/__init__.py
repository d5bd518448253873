"""Measure scaling laws: tune every cell, repeat, fit, and say what the data do not show.

The pipeline reads from top to bottom: ``train`` (Hydra and Optuna) writes trials.csv and cells.csv, ``fit`` turns the
cells into fits.json, ``report`` draws both. ``study`` is what lies on disk between them; ``training``, ``tuning``,
``fitting`` and ``reporting`` are the libraries. ``cell_task`` and ``Study`` let other programs in.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_scaling.app.application import cell_task
    from mnist_scaling.app.python_study import PythonStudy as Study

__all__ = ["Study", "cell_task"]


def __getattr__(name: str) -> Any:
    """What others import from here; the commands don't pay for it."""
    if name in __all__:
        from mnist_scaling.app import application, python_study

        return python_study.PythonStudy if name == "Study" else application.cell_task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
