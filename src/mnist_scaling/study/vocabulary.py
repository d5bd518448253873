"""Values of the columns that are words: states and stages of runs, origins of settings."""

COMPLETE, PRUNED, DIVERGED, FAILED = "COMPLETE", "PRUNED", "DIVERGED", "FAILED"
STATES = (COMPLETE, PRUNED, DIVERGED, FAILED)
"""States of a run."""

DIVERGED_VALUE = 100.0
"""Told to Optuna for a diverged run: worse than any finished one, yet a value, so that the sampler
learns to stay away. As a failure the trial would be invisible to it. A loss of so much counts as diverged."""

SINGLE, TRIAL, REPEAT = "single", "trial", "repeat"
"""Stages: a run started by hand, a trial of the tuner, a re-training of a cell's selected setting."""

CONTROL, TRANSFER, SAMPLER = "control", "transfer", "sampler"
"""Origins of a trial's setting: the config's own values (untuned, the same in every cell), another cell's selected
setting, or the sampler."""

NOTES, RANGES = "notes", "ranges"
"""Keys of a trial's record: what sampler and pruner noted on the trial, and the ranges it was asked for in."""

YES, NO, NOTHING_TUNED = "yes", "no", "nothing tuned"
"""Whether a cell is tuned; the third where every key was fixed or an axis."""

NEIGHBOURS, INDEPENDENT = "neighbours", "independent"
TRANSFER_RULES = (NEIGHBOURS, INDEPENDENT)
"""Values of `hydra.sweeper.transfer`."""

OFF_DISTRIBUTION = ("rotated", "shifted", "noisy")
"""Members of `data.off_distribution`: the ways in which test images are changed for further scores."""
