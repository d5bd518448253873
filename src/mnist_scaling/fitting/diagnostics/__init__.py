"""What can be wrong with a table or a fit, one function per flag; `study.flags` says what each flag means."""

from mnist_scaling.fitting.diagnostics.found import Flag
from mnist_scaling.fitting.diagnostics.of_cells import carried, duplicate_rows, non_monotone, seed_outlier, usual_noise
from mnist_scaling.fitting.diagnostics.of_frontier import far_extrapolation, grid_edge
from mnist_scaling.fitting.diagnostics.of_laws import (
    FEWEST_SETTLED,
    floor_not_identified,
    forms_disagree,
    lack_of_fit,
    not_converged,
    other_laws,
    parameter_at_bound,
    se_suspect,
    too_few_cells,
)
from mnist_scaling.fitting.diagnostics.of_losses import (
    chance_level,
    chance_rows,
    constant_loss,
    double_softmax_floor,
    unit_suspect,
)

__all__ = [
    "FEWEST_SETTLED",
    "Flag",
    "carried",
    "chance_level",
    "chance_rows",
    "constant_loss",
    "double_softmax_floor",
    "duplicate_rows",
    "far_extrapolation",
    "floor_not_identified",
    "forms_disagree",
    "grid_edge",
    "lack_of_fit",
    "non_monotone",
    "not_converged",
    "other_laws",
    "parameter_at_bound",
    "se_suspect",
    "seed_outlier",
    "too_few_cells",
    "unit_suspect",
    "usual_noise",
]
