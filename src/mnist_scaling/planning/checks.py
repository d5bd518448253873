"""Irregularities of a study or table: every check as a function that gives a card, and flags of `fit` as checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtr

from mnist_scaling.fitting.estimation.estimate import fit_problem
from mnist_scaling.fitting.fitted import EXACT, Fitted
from mnist_scaling.fitting.slices import is_joint
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study import flags, layout
from mnist_scaling.study.columns import NO, YES
from mnist_scaling.study.tables.csv_table import read_study_table

PASS, INFO, WARNING, FAIL, NOT_APPLICABLE = "PASS", "INFO", "WARNING", "FAIL", "N/A"
"""Statuses of a card."""

TRIALS, REPEATS, RANGE, LONGER = "trials", "repeats", "range", "longer"
"""What a card asks for: more trials or repeats of its cells, a wider range of what is at its edge, a higher cap on the
length of runs."""

Asks = tuple[str, ...]
LATE, GAIN = 0.75, 0.98
"""Share of a run after which a training loss below this factor on its lowest before says that it still fell."""

FAR, ABOVE = 4.0, 0.05
"""Validation loss over training loss from which a model knows its examples by heart (up to 2.2 in one pass, 27 in
several); share by which a training loss must exceed the validation loss, because they are of other images."""

DECIDES, SPARE = 1.0, 3
"""Cook's distance from which a row moves the estimates by as much as they are uncertain (Cook 1977); rows beside the
law's parameters with fewer of which every row at an end decides."""

UNLIKELY, SMALL = 0.01, 0.02
"""Chance below which a bend is none of noise, and the relative deviation below which it does not matter."""


@dataclass(frozen=True)
class Card:
    """What one check has found: its likely cause in sentences, or why it does not apply; the rows by their number in
    the file; what `growth.resolve` is to do about it, if a run of this study can; and the name of the check or flag."""

    status: str
    cause: str
    cells: tuple[int, ...] = ()
    remedy: str = ""
    asks: Asks = ()
    code: str = ""


NO_LAW = Card(NOT_APPLICABLE, "No law of N and D, with rows to spare, describes this table.")


def _card(rows: Iterable[int], passed: str, cause: str, remedy: str, asks: Asks = (), status: str = WARNING) -> Card:
    """A card that passes where no row is concerned."""
    cells = tuple(map(int, rows))
    return Card(status, cause, cells, remedy, asks) if cells else Card(PASS, passed)


def uncertified(studied: Studied) -> Card:
    """The column `tuned` of the certificate."""
    said = studied.cells.reindex(columns=["tuned"])["tuned"]
    judged, rows = int(said.isin([YES, NO]).sum()), said.index[said == NO]
    if not judged:
        return Card(NOT_APPLICABLE, "Nothing was tuned here, or no cell has a certificate of it.")
    edges, gain, noise = studied.cells.reindex(rows, columns=["edges", "expected_gain", "noise"]).T.to_numpy()
    at_edge = sum(isinstance(edge, str) and bool(edge) for edge in edges)
    others = len(rows) - at_edge
    size = f" ({100 * gain[0]:.2g} % against {100 * noise[0]:.2g} %)" if others == len(rows) == 1 else ""
    why = [f"{at_edge} with a value at an edge"] * bool(at_edge)
    why += [f"{others} that should gain more than a cell's noise by further trials{size}"] * bool(others)
    cause = f"Not certified as tuned: {len(rows)} of {judged} cells: {', '.join(why)}."
    remedy = flags.kind(flags.UNCERTIFIED).remedy
    return _card(rows, f"All {judged} cells are certified as tuned.", cause, remedy, (TRIALS,))


def search_edge(studied: Studied) -> Card:
    """The column `edges` of the certificate, which leaves limits out: beyond an edge may lie a better value."""
    if not studied.source.tuned or "edges" not in studied.cells:
        return Card(NOT_APPLICABLE, "Nothing was tuned here, or nobody knows in which ranges.")
    edges = studied.cells["edges"].dropna().astype(str)
    edges = edges[edges != ""]
    keys = Counter(key for text in edges for key in text.split(";"))
    said = ", ".join(f"{key} in {n} cell{'s' * (n != 1)}" for key, n in keys.items())
    cause = f"Selected values lie at the edge of their range: {said}."
    passed = "No selected value lies at an edge of its range, or the edge is a limit."
    return _card(edges.index, passed, cause, flags.kind(flags.SEARCH_EDGE).remedy, (RANGE, TRIALS))


def _ended(studied: Studied) -> tuple[pd.Series, pd.Series]:
    """Whether each row's runs were to end when their loss had stopped falling, and whether a cap came first."""
    of = studied.cells.reindex(columns=["epochs", "epochs_spent", "flags"])
    cut = of["flags"].astype(str).str.contains(flags.UNDERTRAINED)
    return (of["epochs_spent"].astype(float) > of["epochs"].astype(float)) | cut, cut


def still_falling(studied: Studied) -> Card:
    """Runs that a cap ended; a run whose length is given sees what it was to see, whatever its loss still does."""
    stopping, cut = _ended(studied)
    if not stopping.any():
        why = "The length of these runs is given, and is what D is: a loss that still falls at their end is the law."
        return Card(NOT_APPLICABLE, why)
    passed = f"All {stopping.sum()} cells ended because their validation loss had stopped falling."
    many = f"{cut.sum()} of {stopping.sum()}"
    cause = f"In {many} cells a run ended at its cap, before its validation loss had stopped falling."
    return _card(cut.index[cut], passed, cause, flags.kind(flags.UNDERTRAINED).remedy, (LONGER,))


def lowest_training_loss(studied: Studied) -> Card:
    """The training loss at the weights that count against the lowest of its run, by the curves of the repeats."""
    stopping, cut = _ended(studied)
    rows, path = stopping.index[stopping & ~cut], studied.folder / layout.CURVES
    if not len(rows) or not path.is_file():
        return Card(NOT_APPLICABLE, "No run here has a learning curve that ended because its loss had stopped falling.")
    falling, above = set(), []
    curves = read_study_table(path).sort_values("n_seen", kind="stable")
    for (cell, _), curve in curves[curves["cell"].isin(rows)].groupby(["cell", "seed"]):
        train, best = curve["train_loss"].to_numpy(float), int(np.argmin(curve["val_loss"]))
        if late := int(LATE * len(train)):
            above.append(train[best] / train.min())
            if train[late:].min() < GAIN * train[:late].min():
                falling.add(cell)
    if not above:
        return Card(NOT_APPLICABLE, "The learning curves are too short to tell.")
    said = f"At the weights that count the training loss is {np.median(above):.2f} times the lowest of its run (median)"
    cause = f"{said}; in {len(falling)} of {len(rows)} cells it still fell when validation loss ended the run."
    remedy = "These are the best weights by validation; a larger regime.patience, under another name, trains on."
    return _card(sorted(falling), f"{said}, which no run lowered in its last quarter.", cause, remedy, status=INFO)


def training_gap(studied: Studied) -> Card:
    """ln(validation loss / training loss) of the repeats, against the dropout that the tuner has selected."""
    cells = studied.cells.reindex(columns=["train_loss", "repeat_val_loss", "dropout", "edges", "limits"])
    gap = np.log(cells["repeat_val_loss"].astype(float) / cells["train_loss"].astype(float))
    if not gap.notna().any():
        return Card(NOT_APPLICABLE, "No training loss is known.")
    memorised, above = (gap.index[where] for where in (gap > np.log(FAR), gap < -np.log1p(ABOVE)))
    if len(above):
        cause = f"In {len(above)} of {len(gap)} cells the training loss is above the validation loss: wrong labels or "
        remedy = "With data.label_noise this is to be expected; else tune dropout down to 0, and look at the data."
        return _card(above, "", f"{cause}changed images in training, or too much dropout.", remedy)
    ends = f"Validation loss is {np.exp(gap.min()):.2f} to {np.exp(gap.max()):.2f} times the training loss"
    far = f"{ends}, more than {FAR:g} times in {len(memorised)} cells: they know their examples by heart."
    if memorised.empty or "dropout" not in studied.source.tuned:
        return _card(memorised, f"{ends}.", f"{far} Dropout was not tuned.", "Tune model.dropout, under another name.")
    at = cells.loc[memorised]
    chosen = at["dropout"].astype(float)
    ended = sum("dropout" in f"{e};{n}".split(";") for e, n in zip(at["edges"], at["limits"], strict=True))
    said = f"{far} Tuning weighed that and selected a dropout of {chosen.min():.2f} to {chosen.max():.2f}"
    if not ended:
        remedy = "More data, not more dropout, closes this gap."
        return _card(memorised, "", f"{said}, inside its range.", remedy, status=INFO)
    remedy = "More trials tell whether the end of the range is right."
    return _card(memorised, "", f"{said}, at an end of its range in {ended}.", remedy, (TRIALS,))


def _joint_law(studied: Studied) -> Fitted | None:
    """The law that describes the table, where it is one of N and D."""
    found = studied.result.fitted.get(studied.result.selected or "")
    return found if found is not None and is_joint(found.law) else None


def leverage(studied: Studied) -> Card:
    """Single cells that decide the law, by Cook's distance r^2 h / (p s^2 (1 - h)^2)."""
    found = _joint_law(studied)
    if found is None or found.fit.n < found.fit.free + SPARE:
        return NO_LAW
    fit, h = found.fit, np.minimum(found.fit.leverage, 1 - 1e-9)
    variance = max(float((fit.residual**2).sum()) / (fit.n - fit.free), EXACT**2)
    distance = fit.residual**2 * h / (fit.free * variance * (1 - h) ** 2)
    of = f"{found.law.name} (largest Cook's distance {distance.max():.2f})."
    rows = studied.table.rows[found.part.rows[distance > DECIDES]]
    said, remedy = f"{len(rows)} of {fit.n} cells", "Make sure of these cells first: more repeats and trials."
    passed, cause = f"No cell decides alone about {of}", f"{said}, each alone, would move {of}"
    return _card(rows, passed, cause, remedy, (REPEATS, TRIALS))


def small_models_bend(studied: Studied) -> Card:
    """Chow's test of a forecast: t = mean deviation of the k smallest models from the law of the others, over
    sqrt(s^2 / k + s^2 g (J J')^-1 g')."""
    found = _joint_law(studied)
    if found is None:
        return NO_LAW
    table, fit = studied.table.take(found.part.rows), found.fit
    small = next(iter(table.by_level("N").values()))
    rest = np.setdiff1d(np.arange(fit.n), small)
    free = len(rest) - fit.law.size
    if free < 1 or len(table.levels("N")) <= fit.law.levels:
        return Card(NOT_APPLICABLE, "Without its smallest models the table is too small for the law.")
    again = fit_problem(fit.problem.rows(rest), fit.delta, fit.theta[None])
    off = float(fit.problem.rows(small).residual(again.theta[None])[0].mean())
    g, seen = fit.jacobian[:, small].mean(axis=1), fit.jacobian[:, rest]
    variance = float((again.residual**2).sum()) / free
    spread = variance * (1 / len(small) + float(g @ np.linalg.pinv(seen @ seen.T) @ g))
    chance = 2 * float(stdtr(free, -abs(off) / np.sqrt(max(spread, 1e-300))))
    n = table.inputs["N"][small].max()
    side = "above" if off > 0 else "below"
    said = f"Models of up to {n:,.0f} parameters lie {100 * abs(np.expm1(off)):.1f} % {side} the law of the larger ones"
    rows = () if chance > UNLIKELY or abs(off) < SMALL else table.rows[small]
    remedy = f"Tune these cells further; if they stay off, fit the larger ones: where='n_params > {n:.0f}'."
    passed = f"{said}, which noise or the doubt of the law explains."
    return _card(rows, passed, f"{said} (p = {chance:.1g}).", remedy, (TRIALS,))


CHECKS: tuple[Callable[[Studied], Card], ...] = (
    uncertified, search_edge, still_falling, lowest_training_loss, training_gap, leverage, small_models_bend,
)  # fmt: skip

FLAGGED: Mapping[str, tuple[str, Asks]] = {
    flags.CHANCE_LEVEL: ("No loss is known to be near that of guessing.", (TRIALS,)),
    flags.COLLINEAR: ("N and D move apart from each other, or are not both known.", ()),
    flags.NON_MONOTONE: ("No loss rises with N or D by more than its noise, where one is known.", (TRIALS, REPEATS)),
    flags.GRID_EDGE: ("On few isoFLOP curves is the best model the smallest or the largest one tried.", ()),
    flags.TOO_FEW_CELLS: ("Every law that was asked for has rows enough.", ()),
    flags.SEED_OUTLIER: ("No repeats scatter more than others, and no cell is far off the law.", (REPEATS, TRIALS)),
    flags.FLOOR_NOT_IDENTIFIED: ("No floor is quoted that the data do not show.", ()),
    flags.FORMS_DISAGREE: ("Laws that describe the table about as well agree in their slopes.", ()),
}
"""Flags of `fit` that are checks: what is true where the flag is not raised, and what it asks for."""


def _flagged(studied: Studied, code: str) -> Card:
    """The card of a flag, which passes where it is not raised."""
    absent, asks = FLAGGED[code]
    raised = [flag for flag in studied.result.flags if flag.code == code]
    if not raised:
        return Card(PASS, absent)
    cells = tuple(int(cell["row"]) for flag in raised for cell in flag.cells if "row" in cell)
    status = {flags.INFO: INFO, flags.WARNING: WARNING, flags.ERROR: FAIL}[raised[0].severity]
    return Card(status, " ".join(flag.message for flag in raised), cells, raised[0].remedy, asks)


def cards(studied: Studied) -> list[Card]:
    """The card of every check, the gravest first."""
    found = {check.__name__: check(studied) for check in CHECKS} | {code: _flagged(studied, code) for code in FLAGGED}
    own = layout.name_argument(studied.folder) if studied.can_grow else ""
    named = [replace(found[code], code=code, remedy=flags.for_study(found[code].remedy, own)) for code in sorted(found)]
    # Nobody can run more of a table from elsewhere.
    named = [card if studied.can_grow and card.cells else replace(card, asks=()) for card in named]
    return sorted(named, key=lambda card: (FAIL, WARNING, INFO, PASS, NOT_APPLICABLE).index(card.status))
