"""Every flag: what it means, how grave it is, what to do, and what the data do not show where it is raised.

A flag is a soft problem of a run, a cell, a table or a fit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

INFO, WARNING, ERROR = "info", "warning", "error"
"""Severities, from worth knowing to don't use the numbers."""

SEVERITIES = (ERROR, WARNING, INFO)
"""The gravest first."""

SORTS = SLOPES, EXPONENTS, FLOOR, LOSSES = ("slopes", "exponents", "floor", "losses")
"""Sorts of numbers that `fit` quotes: slopes, a and b and c of the frontier, the floor, losses ahead."""


@dataclass(frozen=True)
class Kind:
    """One kind of flag."""

    code: str
    severity: str
    """Unless what was seen is graver, or milder, than usual."""
    seen_when: str
    """Completes "raised when"."""
    remedy: str
    """What to do, as sentences; a flag may bring a more precise one."""
    not_shown: str = ""
    """What a reader must not take from such data, for the report's list "What these data do not show"."""
    concerns: tuple[str, ...] = SORTS
    """Sorts of quoted numbers that are to be trusted less where it is raised."""


UNDERTRAINED, REPEATED_DATA = "undertrained", "repeated_data"
"""Set by a run's regime."""

SEARCH_EDGE, REPEAT_LOST, UNCERTIFIED = "search_edge", "repeat_lost", "uncertified"
"""Set by the tuner for a cell."""

MIXED_CODE = "mixed_code"
"""Found by `fit` in the records of a study."""

NOT_CONVERGED, PARAMETER_AT_BOUND, FLOOR_NOT_IDENTIFIED = "not_converged", "parameter_at_bound", "floor_not_identified"
MISFIT, FORMS_DISAGREE, COLLINEAR, TOO_FEW_CELLS = "misfit", "forms_disagree", "collinear", "too_few_cells"
GRID_EDGE, FAR_EXTRAPOLATION = "grid_edge", "far_extrapolation"
NON_MONOTONE, SEED_OUTLIER, CHANCE_LEVEL = "non_monotone", "seed_outlier", "chance_level"
DOUBLE_SOFTMAX_FLOOR, UNIT_SUSPECT = "double_softmax_floor", "unit_suspect"
INPUT_SUSPECT, MIXED_COLUMN = "input_suspect", "mixed_column"
DUPLICATE_ROWS, CONSTANT_LOSS = "duplicate_rows", "constant_loss"
LACK_OF_FIT, SE_SUSPECT, OTHER_LAWS = "lack_of_fit", "se_suspect", "other_laws"
"""Found by `fit`."""

NOT_PAIRED, CELLS_LEFT_OUT, NO_COMMON_LOSS, NOISE_UNKNOWN = (
    "not_paired", "cells_left_out", "no_common_loss", "noise_unknown",
)  # fmt: skip
ARM_UNFINISHED, OTHER_DATA, OTHER_EFFORT = "arm_unfinished", "other_data", "other_effort"
"""Found by `compare`."""

FEWEST_ROWS = 3
"""Rows of different sizes, with a loss, that a fit needs; with fewer it is refused."""


def _grow(what: str = "the command that goes on with the study") -> str:
    """A remedy that a study carries out itself, keeping all that was run."""
    return f"`python -m mnist_scaling.plan name=STUDY resolve=true` writes {what}"


def for_study(remedy: str, named: str) -> str:
    """A remedy with `named`, the argument that names the study, in its command; without the command where it is empty.

    Only a study of one's own goes on: tables from elsewhere, and those that come with the repository, do not.
    """
    if named:
        return remedy.replace("name=STUDY", named)
    return re.sub(r"(: | \()`python -m mnist_scaling\.plan name=[^`]*`[^;.)]*\)?", "", remedy)


KINDS = (
    Kind(
        UNDERTRAINED, WARNING, "a run ended at its cap before it had converged",
        f"Raise regime.max_epochs: {_grow('the command that takes the best run and its repeats on in this study')}; "
        "or leave these cells out of the fit: where=\"flags != 'undertrained'\".",
        "What the longest runs would reach: some were cut by a cap before they had converged.",
    ),
    Kind(
        REPEATED_DATA, INFO, "images were seen more than once (isoFLOP runs beyond one pass), by design",
        "An image seen again is worth less than a fresh one: compare with where='epochs <= 1'.",
        "What fresh images would give in the cells that saw theirs more than once.",
    ),
    Kind(
        SEARCH_EDGE, WARNING, "a selected value lies on the edge of its search range",
        f"Widen the range on the side of the selected value: {_grow('the wider range, more trials of these cells')}, "
        "and the command that goes on with the study.",
        "How good some cells can get: their best setting lies at the edge of the search range, so a better one may "
        "lie beyond.",
    ),
    Kind(
        UNCERTIFIED, WARNING, "a selected value lies on an edge, or ten more trials should gain more than the noise",
        f"Tune these cells with more trials: {_grow()}.",
        "How good some cells can get: they are not certified as tuned.", concerns=(SLOPES,),
    ),
    Kind(
        REPEAT_LOST, WARNING, "a repeat diverged or failed, so the cell's mean comes from the others",
        "Look at these repeats in trials.csv; raise hydra.sweeper.n_repeats, which adds fresh seeds, or tune in a "
        "lower learning-rate range under another name.",
        "The typical loss of some cells: a repeat of theirs diverged or failed, and the mean holds only those that "
        "did not.",
    ),
    Kind(
        MIXED_CODE, WARNING, "runs of a study were made by different commits, or versions of torch",
        "Check what changed between them: if it moves losses, run the study again under another name.",
        "That all losses compare: the study's runs were made by different code.",
    ),
    Kind(
        NOT_CONVERGED, ERROR, "no optimum, no second start agrees, or most draws wander along a ridge",
        "Don't quote this law's parameters; fit a law with fewer.",
        "The parameters of laws whose fit did not converge.",
    ),
    Kind(
        PARAMETER_AT_BOUND, WARNING, "the optimum lies at a bound",
        "Use a law without these terms, or add cells that show them.", concerns=(FLOOR,),
    ),
    Kind(
        FLOOR_NOT_IDENTIFIED, WARNING, "the interval of the floor holds 0",
        "Quote no floor; larger models on more data, where the loss flattens, would show one.",
        "Whether the loss has a floor. The data agree with none at all, so exponents of laws with a floor rest on "
        "an assumption.", concerns=(FLOOR,),
    ),
    Kind(
        MISFIT, WARNING, "what the law misses is more than a cell's noise",
        "Quote the numbers of the first table, which allow for it, and no parameter of a law; `residuals` of "
        "each law in fits.json show where it misses.",
        "That any of the laws holds: what the best of them misses is larger than the noise.",
    ),
    Kind(
        FORMS_DISAGREE, INFO, "laws that fit about equally well have slopes outside the quoted intervals",
        "Quote the numbers of the first table, not the slope of one of these laws, or add cells at larger compute.",
        "Which joint law holds: several fit, and the exponents of any one of them are conditional on its form.",
    ),
    Kind(
        COLLINEAR, WARNING, "sizes and amounts of data move together, as on a ladder at a fixed ratio",
        "Quote the exponent along the ladder (`ray`), or add cells off it: whole axes instead of a list of cells.",
        "How the loss goes with model size or with data alone: N and D moved together in every run.", concerns=(),
    ),
    Kind(
        LACK_OF_FIT, WARNING, "residuals vary more than the repeats' standard errors explain (F test, 1 %)",
        "Ask for a law with more parameters, see in `residuals` of fits.json where it misses, and check what the "
        "standard errors hold: repeats that share a subset of the data, or a tuned setting, don't show that part of "
        "the noise.",
        "That the law's form is right. The residuals are larger than the noise of the repeats.",
        concerns=(FLOOR, LOSSES),
    ),
    Kind(
        SE_SUSPECT, WARNING, "the standard errors are far larger than the residuals of the best law (F test, 0.5 %)",
        "Check a column of standard errors: it should hold that of the row's mean loss, not a standard deviation, a "
        "percentage or a confidence interval. Where rows of one cell were averaged, they may differ in more than their "
        "seed: name that column with by=. The intervals rest on the residuals alone.",
        "How large the noise of a row is: its standard errors and the residuals contradict each other.",
    ),
    Kind(
        OTHER_LAWS, INFO, "flags concern laws that are not quoted; `laws.<law>.flags` has them",
        "There is nothing to do unless you quote these laws.",
    ),
    Kind(
        TOO_FEW_CELLS, WARNING, "a law lacks rows or distinct sizes",
        "Add cells (4 sizes x 5 amounts of data is the least that serves a joint law), or ask for simpler laws.",
        "Laws with more parameters than the grid has cells for; they were not fitted.",
    ),
    Kind(
        GRID_EDGE, WARNING, "an isoFLOP minimum lies at the smallest or the largest size",
        "Add sizes beyond the edge at these budgets, or quote a in N* ~ C^a, which is not read off these curves.",
        "Where the compute-optimal size lies at some budgets: the best size there is the smallest or largest that "
        "was tried.", concerns=(),
    ),
    Kind(
        FAR_EXTRAPOLATION, WARNING, "the hold-out or `predict` reaches beyond 10 times the fitted range",
        "Add cells in between, and don't read its error as that of an interpolation.",
        "Anything far beyond the grid: the stated extrapolation is longer than the data carry.", concerns=(),
    ),
    Kind(
        NON_MONOTONE, WARNING, "the loss rises with N or D beyond noise (1 % over all steps)",
        f"Tune and repeat these cells more: {_grow()}.",
        "A smooth law everywhere: somewhere more data or a larger model gives a worse loss than noise explains.",
    ),
    Kind(
        SEED_OUTLIER, WARNING, "repeats scatter far more than is usual there, or the row lies far off the best law",
        f"Repeat these cells with fresh seeds: {_grow()}.",
        "Whether some cells are typical: they stand out by their repeats or from the best law.",
    ),
    Kind(
        CHANCE_LEVEL, WARNING, "the loss is above 95 % of ln(classes)",
        f"Tune these cells more ({_grow()}), or leave them out with "
        "mask_chance=true.",
        "A law for cells that have learned next to nothing: their loss is that of guessing.",
    ),
    Kind(
        DOUBLE_SOFTMAX_FLOOR, ERROR, "losses level off at ln(e + classes − 1) − 1",
        "Give the cross-entropy logits, not probabilities, and train again.",
        "Any law: the losses level off where a softmax applied twice puts them, which is a bug to find first.",
    ),
    Kind(
        UNIT_SUSPECT, WARNING, "the loss looks like bits, percent or an accuracy",
        "Convert the loss to nats per example.",
    ),
    Kind(
        INPUT_SUSPECT, WARNING, "a column of N, D or C looks like logarithms of counts",
        "Give the counts themselves, 10 ** x where the column holds log10.",
    ),
    Kind(
        MIXED_COLUMN, WARNING,
        "a column that nobody named has several values in rows of one N and D; info where N and D differ",
        "Tell them apart with by=COLUMN, or keep one value with where=….",
        "Which law rows of one kind would have: rows of several kinds were fitted together.",
    ),
    Kind(
        DUPLICATE_ROWS, INFO, "rows agree in every input; a warning where they agree in the loss, too",
        "Average repeats into one row with a standard error, drop copies, or keep one kind of run with where=….",
    ),
    Kind(
        CONSTANT_LOSS, ERROR, "the loss does not vary",
        "Check which column holds the loss.",
    ),
    Kind(
        NOT_PAIRED, WARNING, "two arms share fewer than four cells, or their N and D differ in every cell",
        "Run both arms on the same grid, or give the columns that agree in both, such as columns.D=n_train.",
    ),
    Kind(
        CELLS_LEFT_OUT, INFO, "one of two arms lacks a cell that the other has",
        "Run the cells that are missing, if the range matters.",
    ),
    Kind(
        NO_COMMON_LOSS, WARNING, "two arms reach no loss in common inside the compute that they cover",
        "Give the worse arm more compute, or the better one less.",
    ),
    Kind(
        NOISE_UNKNOWN, ERROR, "two arms share so few cells, without repeats, that no noise can be measured",
        "Add cells or repeats: without them no difference has an interval.",
    ),
    Kind(
        ARM_UNFINISHED, WARNING, "a study that is compared is not finished",
        "Start its sweep again, which goes on with the cells that are missing, and compare again.",
    ),
    Kind(
        OTHER_DATA, WARNING, "two arms were trained on different data, which allow=data permits",
        "Read the offset as a difference of data and of training together.",
    ),
    Kind(
        OTHER_EFFORT, WARNING, "two arms have different numbers of trials (where both were tuned) or repeats per cell",
        "More trials find better settings, so a part of the difference may be that of tuning: give the other study as "
        "many (hydra.sweeper.n_trials, hydra.sweeper.n_repeats), which it adds to what it has.",
    ),
)  # fmt: skip
"""In the order of the documentation: from runs over cells to fits."""

_BY_CODE = {kind.code: kind for kind in KINDS}


def kind(code: str) -> Kind:
    """The kind of a code; a warning without a meaning of its own where someone else's table brings a code."""
    unknown = Kind(code, WARNING, "", "Look at these cells, or leave them out and compare.")
    return _BY_CODE.get(code, unknown)
