"""Fit scaling laws to any table of N, D, C and loss. Plain arrays in, plain objects out; no torch, no files."""

from mnist_scaling.fitting.analysis import Result, analyse
from mnist_scaling.fitting.estimation.estimate import Fit, Settings, fit_law
from mnist_scaling.fitting.fitted import Options
from mnist_scaling.fitting.laws import ALL, get_law
from mnist_scaling.fitting.rows import Table, make_table

__all__ = ["ALL", "Fit", "Options", "Result", "Settings", "Table", "analyse", "fit_law", "get_law", "make_table"]
