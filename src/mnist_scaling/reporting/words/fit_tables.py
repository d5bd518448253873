"""Tables of a fit: what to quote, laws, frontier, settings, arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from mnist_scaling.fitting.fitted import EXACT
from mnist_scaling.fitting.frontier.methods import OF_MODEL
from mnist_scaling.fitting.fronts import METHODS
from mnist_scaling.fitting.laws.power import Multiplicative
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.comparison_json import Pair
from mnist_scaling.reporting.documents.fits_json import Fits, LawRecord
from mnist_scaling.reporting.documents.tuning_records import OK, SettingsRecord, TuningRecord
from mnist_scaling.reporting.text import (
    DASH,
    NB,
    TextTable,
    bracket,
    count,
    decimals,
    digits,
    estimate,
    formula,
    number,
    one_decimal,
    power_of_ten,
    spaced,
    symbol,
    three_digits,
)
from mnist_scaling.reporting.words.in_short import HIGH, SIZES, in_table
from mnist_scaling.settings.tuning_change import CHANGE
from mnist_scaling.study.columns import label

_SLOPE = {
    "slope_N": Markup("−∂ ln L/∂ ln N"), "slope_D": Markup("−∂ ln L/∂ ln D"), "slope_C": Markup("−d ln L/d ln C"),
}  # fmt: skip


QUOTED = {
    **_SLOPE,
    "N_exponent": Markup("a in N* ∝ C<sup>a</sup>"), "D_exponent": Markup("b in D* ∝ C<sup>b</sup>"),
    "loss_exponent": Markup("c in L* ∝ C<sup>−c</sup>"), "floor": Markup("floor E"), "misfit": Markup("misfit of ln L"),
    "asked": Markup("loss"),
}  # fmt: skip
"""The keys of the headline, and what they are called."""


OF_ARMS = ("slope_N", "slope_D", "N_exponent", "D_exponent", "floor")
"""What is quoted of arms side by side."""


_WORDS = {
    "N_exponent": (10, 1, "ten times the compute is best spent on {} times the parameters"),
    "D_exponent": (10, 1, "ten times the compute is best spent on {} times the data"),
    "loss_exponent": (10, -1, "ten times the compute, spent like that, leaves {} of the loss"),
}
"""What an exponent says: how many times as much, its sign, and what comes of that."""


def _in_words(key: str, interval: Interval) -> str:
    """What a number says, or why there is none."""
    if key == "floor" and interval.low <= 0:
        return "no floor is shown"
    if key == "misfit":
        return f"the law misses the loss by {number(100 * interval.value, 2)} %, noise apart"
    if key in _SLOPE and interval.known:
        return f"with 1 % more {SIZES[key[-1]]} the loss changes by {number(-interval.value, 2)} %"
    times, sign, text = _WORDS.get(key, (1, 1, ""))
    return text.format(number(times ** (sign * interval.value), 2)) if interval.known else interval.why


def quoted_table(fits: Fits, brief: bool = False) -> TextTable:
    """The first table of the page: the headline, with trust; where there is none, no row and the reason as its note.

    A terminal has it in brief: what is known, with the first reason for no more trust, and without the words.
    """
    headline = fits.headline
    if not headline.laws:
        return TextTable([], [], headline.slope_N.why)
    last = headline.examples_last
    point = ", ".join(f"{k} = {count(v)}" for k, v in headline.asked.at.items())
    cell = ", ".join(f"{k} = {count(v)}" for k, v in headline.at.items() if k in "ND") or "its largest C"
    places = {"slope": f"at {cell}", "asked": f"at {point}"}
    line = f"along {headline.ray.line}" if headline.ray else ""
    rows: list[tuple[str, str | Markup, Interval, str]] = [
        (f"ray_{x}", Markup("−d ln L/d ln {}").format(x), getattr(headline.ray, x), line) for x in "CN" if headline.ray
    ]
    # Of a model of one variable, the row of that variable says all; the other rows would only say that there is none.
    single = sum(getattr(headline, key).known for key in _SLOPE) < 2
    for key, name in QUOTED.items():
        quoted: Interval = getattr(headline, key)
        quoted = -quoted if key == "loss_exponent" else quoted  # positive where the loss falls
        quoted = Interval(0.0, 0.0, 0.0) if key == "misfit" and quoted.high < EXACT else quoted  # all rounding
        along = headline.ray is not None and "slope" in key
        if along or (not quoted.known and (single or key not in ("N_exponent", "floor"))):  # else one reason says all
            continue
        until = f"up to C = {power_of_ten(last)}, where the examples end" if last and "_exponent" in key else ""
        words = [places.get(key.split("_")[0], ""), until, _in_words(key, quoted)]
        rows.append((key, name, quoted, ": ".join(filter(None, words))))
    for one in headline.loss:
        where = line or (one.way if one.N is not None else "")
        times = Markup("C<sub>max</sub>") if brief else "times the largest compute"
        rows.append((f"loss_{one.reach:g}", Markup("loss at {:g} {}").format(one.reach, times), one, where))
    ahead = dict.fromkeys(words for *_, words in rows[len(rows) - len(headline.loss) :] if words)
    sizes = " or, farther off, ".join(ahead)
    last = last if headline.loss_exponent.known else 0.0
    unlimited = f", a, b and c while there are more, up to C = {power_of_ten(last)}" if last else ""
    held = "the noise, and luck in tuning that neighbouring cells share" if fits.data.tuned else "and the noise"
    note = (
        "Medians and intervals of one model: a law and a smooth misfit, whose size is learnt from the rows. The "
        f"intervals hold what the law leaves open, what it may miss, {held}; they widen with the distance. Trust is "
        "high at most where what a number says is known to 10 %, and fair to 30 %; an exponent says what four times "
        "the size, data or compute changes."
    ) + (f" Losses hold {sizes}{unlimited}." if unlimited else "")
    head = ["number", "value", f"{fits.level} interval", "trust", "in words"]
    if brief:
        hold = f"; losses hold {sizes}{unlimited}" if sizes else ""
        top = power_of_ten(headline.loss[0].C / headline.loss[0].reach) if headline.loss else ""
        counted = ", with C = 6 N D" if {*headline.at} == {"N", "D"} else ""
        note = f"C_max = {top} is the largest compute{counted}{hold}." if headline.loss else ""
        rows = [row for row in rows if row[2].known and row[0] not in ("misfit", "asked")]
        return TextTable(head[:4], [[name, *_shown(one), trust_in(fits, key, 1)] for key, name, one, _ in rows], note)
    return TextTable(head, [[name, *_shown(one), trust_in(fits, key), words] for key, name, one, words in rows], note)


def trust_in(of: Fits | Pair, key: str, most: int | None = None) -> str:
    """How far to trust a number, and at most so many of the reasons, with "…" for more; empty where nothing is said."""
    one = of.answer.numbers.get(key)
    why = "see Trust" if one and most and one.trust != HIGH and not one.reasons else ""
    more = ", …" if one and most and len(one.reasons) > most else ""
    return in_table(one.trust, why or "; ".join(one.reasons[:most]) + more) if one else ""


_IN_FORMULA = "numbers in a formula, not slopes of the loss: compare them with none of another law"
_PLANE = "one slope for all cells, by the law multiplicative; `compare` and `ask` give nearly the same (least squares)"


def exponents_table(fits: Fits) -> TextTable | None:
    """What goes by the name of an exponent of N or D in one study, and what each one is; None where one is unknown."""
    headline, change = fits.headline, fits.tuning_change
    if not (headline.slope_N.known and headline.slope_D.known):
        return None
    rows: list[list[Any]] = [
        ["slope at the largest cell", headline.slope_N, headline.slope_D, "quote this: what larger runs start from"],
        ["slope in the middle", headline.middle_slope_N, headline.middle_slope_D, "the same in the middle of the grid"],
    ]
    for name in dict.fromkeys([fits.selected or "", Multiplicative.name]):
        law, is_plane = fits.laws.get(name), name == Multiplicative.name
        own = [value for key, value in law.shown.items() if key.startswith(("alpha", "beta"))] if law else []
        if len(own) == 2:
            called = "α and β of a plane" if is_plane else Markup("α and β of the law {}").format(spaced(name))
            rows.append([called, *own, _PLANE if is_plane else _IN_FORMULA])
    if change is not None and change.status == OK:
        what = "those of a plane, of validation losses: with it the tuned grid is compared to the untuned one"
        rows.append(["α and β, validation losses", *(change.plane["tuned"].get(k) for k in "ND"), what])
    return TextTable(["", "of N", "of D", "what it is"], rows, title="Which exponent is which", aside=3)


FAR = 4.0
"""Times the largest N from which on it is said that the N of a compute is read off a line through the table's costs."""


def beside(fits: Fits, n: float, read_off: bool = False) -> str:
    """Which models that were run a size, given or read off costs, is between: "between width 2 and width 4", or ""."""
    sizes = fits.data.sizes
    below, above = [k for k in sizes if sizes[k] <= 1.01 * n], [k for k in sizes if sizes[k] >= n / 1.01]
    if not (below and above):
        far = (
            ", N read off the costs of the table, perhaps far off"
            if below and read_off and n > FAR * max(sizes.values())
            else ""
        )
        return f"above {below[-1]}{far}" if below else f"below {above[0]}" if above else ""
    return below[-1] if below[-1] == above[0] else f"between {below[-1]} and {above[0]}"


def sizes_table(fits: Fits) -> TextTable | None:
    """Which model for which compute, and whether the rows reach there; None where that is unknown."""
    rows = []
    for one in fits.headline.sizes:
        ends = f" [{count(one.N_low)}, {count(one.N_high)}]" if one.N_low and one.N_high else ""
        sizes = f"{count(one.N or 0.0)}{ends}", count(one.D or 0.0)
        way = ", ".join(filter(None, [beside(fits, one.N or 0.0, read_off=True), one.way]))
        rows.append([power_of_ten(one.C), *sizes, estimate(one), way, "yes" if one.tried else "no"])
    note = (
        "Read off the model's surfaces, as the exponents of N* and D* are, which hold while there are examples. "
        "The budgets are nine over the range of C, and larger ones; isoFLOP curves have others. A model of just "
        "that N need not exist; `plan … target.flops=2e10` says which one does as programs count, and its settings. "
        "Trust counts rows that are both at the best size and inside the grid."
    )
    head = ["C", f"N, {fits.level} interval", "D", "loss", "what it is", "inside the grid?"]
    return TextTable(head, rows, note, "Which model for which compute?") if rows else None


def in_use_table(fits: Fits) -> TextTable | None:
    """Which model for a compute that pays for its use, too; None where that is unknown."""
    rows = []
    for one in fits.headline.in_use:
        used = f"{count(one.examples)} examples ({one.times:g} times D)" if one.examples else "none"
        size = f"{count(one.N)} [{count(one.N_low)}, {count(one.N_high)}]"
        d = count(one.D) + (", more than there are" if one.too_few else "")
        rows.append([used, power_of_ten(one.C), size, d, estimate(one), "yes" if one.tried else "no"])
    total = power_of_ten(fits.headline.in_use[0].C) if rows else ""
    note = (
        f"{total} FLOPs pay for training and for use, in which an example costs a third of what it costs in training. "
        "The more a model is used, the smaller it should be, and the more data it should see (Sardana and others 2024)."
    )
    head = ["used on", "C of training", f"N, {fits.level} interval", "D", "loss", "inside the grid?"]
    return TextTable(head, rows, note, "Which model if it is used, too?") if rows else None


def counts_table(fits: Fits) -> TextTable | None:
    """What N is: the same exponents with sizes counted otherwise; None where that changes nothing."""
    rows = [
        [
            f"N ({label(fits.settings['columns']['N'])})" if one.count == "N" else one.count,
            f"{number(one.grows, 2)} times", one.N_exponent, one.slope_N, one.middle_slope_N, one.why,
        ]
        for one in fits.headline.counts
    ]  # fmt: skip
    slopes = (f"{_SLOPE['slope_N']}, {place}" for place in ("largest cell", "middle"))
    head = ["sizes counted as", "from smallest to largest", QUOTED["N_exponent"], *slopes, ""]
    note = (
        "The same models, budgets and losses: what grows faster from the smallest to the largest model has the larger "
        "exponent in C, and the loss falls more slowly in it. Compare exponents of one count only."
    )
    return TextTable(head, rows, note, "What is N?", aside=5) if rows else None


def _shown(interval: Interval) -> tuple[str, str]:
    """The value in bold, and its interval: two cells."""
    value = Markup("<b>{}</b>").format(digits(interval)(interval.value)) if interval.known else DASH
    return value, bracket(interval) or DASH


def arms_table(
    arms: Sequence[Fits], names: Sequence[str], cells: Sequence[int], keys: Sequence[str] = OF_ARMS
) -> TextTable:
    """Arms side by side: what to quote of each, by names as the first column has them, and `keys` of the headline."""
    rows = [
        [name, n, arm.why or spaced(arm.selected or "none"), *(getattr(arm.headline, key) for key in keys)]
        for arm, name, n in zip(arms, names, cells, strict=True)
    ]
    note = (
        "Each arm is fitted alone; its own page has its figures, laws and flags. Intervals of two arms that overlap do "
        "not show that the arms are equal."
    )
    head = ["arm", "cells", "nearest law", *(QUOTED[key] for key in keys)]
    return TextTable(head, rows, note, "Arms side by side", right=(1,))


def law_table(fits: Fits) -> TextTable:
    """Every law of fits.json; the ones that were refused say why."""
    values = f"floor and exponents, {fits.level} interval"
    head = ["law", values, "n", "rmse of ln L", "AICc", "hold-out rmse", "status"]
    rows = [_law_row(name, law, name == fits.selected) for name, law in fits.laws.items()]
    return TextTable(head, rows, title="Laws", right=(2, 3, 4, 5), aside=6)


def _law_row(name: str, law: LawRecord, selected: bool) -> list[Any]:
    values = Markup("<br>").join(Markup("{} = {}").format(symbol(k), estimate(p)) for k, p in law.shown.items())
    called = Markup("<b>{}</b> (nearest)" if selected else "{}").format(spaced(name))
    return [
        Markup("{}<br><span class=formula>{}</span>").format(called, formula(law.formula)),
        values if law.fitted else None,
        law.n,
        number(0.0 if law.rmse_log < EXACT else law.rmse_log),
        one_decimal(law.aicc),
        three_digits(law.holdout.rmse_log),
        law.status,
    ]


def frontier_table(fits: Fits) -> TextTable:
    """The frontier's exponents in C by every method."""
    rows = []
    for name, front in fits.frontier.items():
        status = "; ".join([front.status, *map(spaced, front.flags)])
        exponents = [front.N_exponent, front.D_exponent, front.loss_exponent]
        own = front.extra.get(OF_MODEL, {}).get("N_exponent")
        rows.append([METHODS[name].replace(" ", NB), *exponents, DASH if own is None else decimals(own), status])
    head = [f"exponent of {s}" for s in ("N*", "D*", "L*")]
    note, title = f"Exponents in C with {fits.level} intervals. {BIAS}", "Compute-efficient frontier: exponents in C"
    return TextTable(["method", *head, "N*, the model's losses", "status"], rows, note, title, aside=5)


BIAS = (
    "“N*, the model's losses” is what a method makes of the quoted model's own losses of these cells, without noise: "
    "as far as it is from the model's exponent, in the last row, the method is biased."
)


def future_table(fits: Fits) -> TextTable | None:
    """Rows above a budget as the rows below it foresaw them, where `fit` has worked that out."""
    foreseen = fits.leave_future_out or []
    rows = [
        [
            f"1/{one.reach:g} ({one.seen} rows)", ", ".join(f"{k} {count(v)}" for k, v in one.at.items() if k in "ND"),
            one.predicted, digits(Interval(one.measured))(one.measured), "yes" if one.inside else "NO",
        ]
        for one in foreseen
    ]  # fmt: skip
    held = f"{sum(one.inside for one in foreseen)} of {len(foreseen)} losses lie inside of their {fits.level} intervals"
    head = ["learnt up to this share of the largest C", "row", "predicted loss", "measured", "inside"]
    return TextTable(head, rows, f"{held}.", f"Leave-future-out: {held}", right=(3,)) if rows else None


def plane_table(record: TuningRecord) -> TextTable:
    """Exponents of one plane through all cells, untuned and tuned."""
    names = {"untuned": "untuned", "tuned": "tuned", CHANGE: "tuned − untuned"}
    rows = [[name, *(record.plane[source].get(k) for k in "ND")] for source, name in names.items()]
    title = "What tuning changed: L = k N^-alpha D^-beta through all cells"
    return TextTable(["validation loss", "α", "β"], rows, title=title)


def settings_table(record: SettingsRecord | None) -> TextTable | None:
    """How the best value of each tuned key moves with the size of the cell; None where fits.json has nothing of it."""
    if record is None or record.status != OK:
        return None
    rows: list[list[Any]] = []
    for name, key in record.keys.items():
        for law in key.laws:
            shown = ", ".join(f"{size} {estimate(exponent)}" for size, exponent in law.exponents.items())
            rows.append([label(name), shown, law.n, key.at_edge])
        if not key.laws:
            rows.append([label(name), key.status, key.cells, key.at_edge])
    note = (
        "Least squares over the cells, each with its best trial's value. For a key on a log scale the numbers are "
        "exponents (the best learning rate goes as N to this power), else changes per unit of ln size."
    )
    title = "Best settings against size: exponents (log keys), else change per unit of ln size"
    head = ["key", "best value against size", "cells", "exactly at an end of the range"]
    return TextTable(head, rows, note, title, right=(2, 3))
