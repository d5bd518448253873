"""Measure scaling laws: tune every cell, repeat, fit, and say what the data do not show.

The pipeline reads from top to bottom: ``train`` (Hydra and Optuna) writes trials.csv and
cells.csv, ``fit`` turns the cells into fits.json, ``report`` draws both. ``results`` holds the
tables they exchange; ``training``, ``tuning``, ``fitting`` and ``reporting`` are the libraries.
"""

__version__ = "0.1.0"
