"""What the sentences of a fit say of its records, word for word."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mnist_scaling.fitting.ahead import LossAhead
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.fitted import HoldOut
from mnist_scaling.fitting.headline import AskedLoss, Headline
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.fits_json import DataRecord, Fits, LawRecord, read_fits
from mnist_scaling.reporting.text import power_of_ten
from mnist_scaling.reporting.words.fit_sentences import asked, description, fit_summary
from mnist_scaling.reporting.words.fit_tables import beside, exponents_table, law_table, quoted_table
from mnist_scaling.reporting.words.in_short import answer
from mnist_scaling.study import flags

REFERENCE = Path(__file__).parents[2] / "multirun/reference"


def fits(rmse: float = 0.01, **headline: Any) -> Fits:
    """Kaplan's law is the nearest, and the model is of `coupled`."""
    quoted = {"misfit": Interval(0.001, 0.0005, 0.002), "noise": 0.01, "laws": ("coupled",), "settled": True} | headline
    laws = {"kaplan": LawRecord("…", inputs=("N", "D"), rmse_log=rmse, params={"E": Interval(0.1)})}
    return Fits(laws=laws, selected="kaplan", headline=Headline(**quoted))


def said(found: Fits) -> str:
    (text,) = description(found)
    return plain(text)


def plain(text: str | None) -> str:
    return str(text).replace("\N{NO-BREAK SPACE}", " ").replace("\u2060", "")


def test_the_misfit_is_said_of_the_law_that_it_is_of() -> None:
    assert "is the nearest, within 1.0 % (rms); the numbers rest on <b>coupled</b>: it may" in said(fits())
    assert "(rms), and <b>coupled</b> may miss" in said(fits(settled=False))
    own = replace(fits(), selected="coupled", laws={"coupled": fits().laws["kaplan"]})
    assert said(own).startswith("The law <b>coupled</b> describes these data within 1.0 % (rms); what it may miss is")


def test_a_law_through_the_losses_is_held_against_no_noise() -> None:
    assert said(fits(2e-10)) == "The law <b>kaplan</b> passes through these losses to rounding."


def test_no_table_shows_what_is_rounding() -> None:
    found = replace(fits(2e-16, misfit=Interval(7e-18, 3e-19, 9e-17)), settings={"bootstrap": {"level": 0.95}})
    rows = [row for table in (quoted_table(found), law_table(found)) for row in table.rows]
    assert not re.search("e−1[0-9]|10⁻", str(rows))
    assert "the law misses the loss by 0 %, noise apart" in plain(str(rows))


def test_what_has_compute_alone_has_no_best_size() -> None:
    loss = [LossAhead(reach=2.0, C=1e18, value=0.5, low=0.4, high=0.6)]
    found = replace(fits(slope_C=Interval(0.2, 0.1, 0.3), loss=loss), settings={"bootstrap": {"level": 0.95}})
    assert quoted_table(found, brief=True).note.replace("\xa0", " ") == "C_max = 5.0 × 10¹⁷ is the largest compute."
    names = [str(row[0]) for row in quoted_table(found).rows]
    assert names == ["−d ln L/d ln C", "misfit of ln L", "loss at 2 times the largest compute"]
    assert [plain(row[0]) for row in quoted_table(found, brief=True).rows][1:] == ["loss at 2 C<sub>max</sub>"]


def test_predicted_losses_say_at_which_sizes() -> None:
    both = [LossAhead(0.5, 0.4, 0.6, reach=r, C=1e18, N=1e6, D=1e7, optimal=r == 2) for r in (2, 4)]
    begins, settings = " is the largest compute; losses hold ", {"bootstrap": {"level": 0.95}}
    for losses, said in (
        (both[:1], "at the best size for it."),
        (both[1:], "if model and data grow together."),
        (both, "at the best size for it or, farther off, if model and data grow together."),
    ):
        found = replace(fits(loss=losses, slope_C=Interval(0.2, 0.1, 0.3)), settings=settings)
        note = quoted_table(found, brief=True).note
        assert note == f"C_max = {power_of_ten(1e18 / losses[0].reach)}{begins}{said}"
        assert [row[-1] for row in quoted_table(found).rows][-1] == said.split(", farther off, ")[-1].rstrip(".")


def test_exponents_are_told_apart() -> None:
    """The slope to quote comes first; a law's own numbers are named after it."""
    slopes = {key: Interval(0.2, 0.1, 0.3) for key in ("slope_N", "slope_D", "middle_slope_N", "middle_slope_D")}
    table = exponents_table(fits(**slopes))
    assert table is not None
    assert [str(row[0]) for row in table.rows][:2] == ["slope at the largest cell", "slope in the middle"]
    assert str(table.rows[0][3]).startswith("quote this")
    assert exponents_table(fits(slope_N=Interval(0.2, 0.1, 0.3))) is None
    exponents = {"alpha": Interval(0.7, 0.5, 0.9), "beta": Interval(0.3, 0.2, 0.5)}
    plane = LawRecord("…", inputs=("N", "D"), rmse_log=0.02, params=exponents)
    for laws, nearest, names in (
        ({"coupled": plane, "multiplicative": plane}, "coupled", ["law coupled", "a plane"]),
        ({"multiplicative": plane}, "multiplicative", ["a plane"]),
    ):
        table = exponents_table(replace(fits(**slopes), laws=laws, selected=nearest))
        assert table is not None
        assert [str(row[0]).split("the ")[-1].split("of ")[-1] for row in table.rows[2:]] == names
        assert "one slope for all cells" in str(table.rows[-1][3])


def trust(found: Fits) -> dict[str, str]:
    return {key: one.trust for key, one in answer(found).numbers.items()}


KNOWN: dict[str, Any] = {
    "slope_N": Interval(0.0, -0.002, 0.002),
    "slope_D": Interval(0.4, 0.38, 0.42),
    "N_exponent": Interval(0.5, 0.46, 0.54),
    "floor": Interval(0.1, 0.098, 0.102),
    "loss": [LossAhead(0.5, 0.48, 0.52, reach=r, C=1e18) for r in (8, 30)],
    "at": {"N": 1e3, "D": 1e4},
    "factors": {"N": Interval(1.0, 0.997, 1.003), "D": Interval(0.6, 0.58, 0.62)},
}
"""Numbers of which each is known to 10 % in what it says."""

EVERY = {"slope_N", "slope_D", "factor_N", "factor_D", "N_exponent", "floor", "loss_8"}
"""Their keys."""


def test_a_number_is_trusted_as_far_as_its_effect_is_known() -> None:
    """A slope near 0 says that the size does nothing, and is known; the widest losses and slopes are not."""
    high = dict.fromkeys(EVERY, "high")
    assert trust(fits(**KNOWN)) == high | {"loss_30": "fair"}
    assert answer(fits(**KNOWN)).trust == "high"
    shown = answer(fits(**KNOWN | {"slope_N": Interval(0.02, -0.03, 0.06)}))
    assert (shown.numbers["slope_N"].trust, shown.numbers["slope_N"].reasons) == ("fair", ["may be 0"])
    fair, low = Interval(0.4, 0.3, 0.5), Interval(0.4, 0.1, 0.7)  # 4^0.1 = 1.15, 4^0.3 = 1.52
    wide = fits(**KNOWN | {"slope_N": fair, "slope_D": low, "floor": Interval(0.1, 0, 0.2)})
    assert [trust(wide)[key] for key in ("slope_N", "slope_D", "floor")] == ["fair", "low", "low"]
    assert answer(wide).numbers["slope_N"].reasons == ["loss ± 15 % per 4 times N"]
    assert (answer(wide).trust, answer(wide).numbers["floor"].reasons) == ("high", ["may be 0"])
    few = replace(fits(**KNOWN), laws={"kaplan": replace(fits().laws["kaplan"], params={})})
    assert answer(few).numbers["floor"].reasons == ["too few cells for a law with a floor"]
    assert trust(few)["floor"] == "low"


def test_the_sentence_is_trusted_as_far_as_four_times_the_size_is_known() -> None:
    """Whatever the slopes at the largest cell are known to."""
    for ratio, trusted, reason in (
        (Interval(0.5, 0.45, 0.57), "fair", "loss ± 14 % at 4 times N"),
        (Interval(0.57, 0.4, 0.8), "low", "loss ± 42 % at 4 times N"),
        (Interval(0.97, 0.92, 1.02), "fair", "4 times N may change nothing"),
    ):
        said = answer(fits(**KNOWN | {"factors": KNOWN["factors"] | {"N": ratio}}))
        assert (said.trust, said.reasons) == (trusted, [reason])
        assert said.numbers["slope_N"].trust == "high"
        assert ("should cut" in said.sentence) == (ratio.high < 1)


def test_budgets_without_a_best_size_count_as_such() -> None:
    """They are not among `sizes`, so that their number alone would say that all best sizes are inside the grid."""
    best = LossAhead(0.5, 0.48, 0.52, reach=0.5, C=1e17, N=1e3, D=1e4, optimal=True, tried=True)
    few, most = (answer(fits(**KNOWN | {"sizes": [best] * number})).numbers["N_exponent"] for number in (2, 5))
    assert (few.trust, few.reasons) == ("fair", ["2 of 9 best sizes inside the grid"])
    assert most.trust == "high"


def cells(number: int) -> list[dict[str, Any]]:
    return [{"row": i, "N": 1e2, "D": 1e4} for i in range(number)]


def test_what_is_next_names_its_cell_where_it_is_one() -> None:
    said = {n: answer(replace(fits(**KNOWN), flags=[Flag(flags.UNCERTIFIED, "…", cells(n))])).next for n in (0, 1, 2)}
    assert said[0] == said[2] == flags.kind(flags.UNCERTIFIED).remedy
    assert said[1].startswith("Tune the cell of N 100, D 10,000 with more trials")


@pytest.mark.parametrize(
    ("flag", "fair"),
    [
        (Flag(flags.GRID_EDGE, "…"), set()),
        (Flag(flags.FAR_EXTRAPOLATION, "…", cells(9)), set()),
        (Flag(flags.FLOOR_NOT_IDENTIFIED, "…"), {"floor"}),
        (Flag(flags.LACK_OF_FIT, "…"), {"floor", "loss_8"}),
        (Flag(flags.SEARCH_EDGE, "…", cells(1)), set()),
        (
            Flag(flags.SEARCH_EDGE, "…", cells(6)),
            EVERY,
        ),
        (
            Flag(flags.SEARCH_EDGE, "…", [KNOWN["at"]]),
            EVERY,
        ),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_a_flag_lowers_what_it_concerns(flag: Flag, fair: set[str]) -> None:
    found = replace(fits(**KNOWN), flags=[flag], data=DataRecord(n=56))
    assert {key for key, word in trust(found).items() if word == "fair"} - {"loss_30"} == fair
    assert answer(found).trust == ("fair" if "slope_N" in fair else "high")


def test_what_concerns_all_numbers_lowers_all() -> None:
    bad = Flag(flags.CONSTANT_LOSS, "…")
    missed = {"kaplan": replace(fits().laws["kaplan"], holdout=HoldOut(0.05, 5))}
    known = fits(**KNOWN)
    for changed, word in (
        (replace(known, flags=[bad]), "low"),
        (replace(known, data=DataRecord(certified=0.8)), "fair"),
        (replace(known, laws=missed), "fair"),
        (fits(**KNOWN | {"settled": False}), "fair"),
    ):
        assert {*trust(changed).values()} == {word}
        assert answer(changed).trust == word
        assert answer(changed).reasons


@pytest.mark.parametrize("study", ["quickstart", "width_x_data"])
def test_the_short_form_fits_a_terminal(study: str) -> None:
    """24 lines of 80 characters, the line that names the file among them; every number has a value and its trust."""
    kept = read_fits(REFERENCE / study)
    out = io.StringIO()
    found = replace(kept, answer=replace(answer(kept), next=kept.answer.next))
    terminal.show(fit_summary(found, details=False), Console(file=out, width=80, highlight=False))
    lines = out.getvalue().splitlines()
    assert len(lines) < 24
    assert f"`python -m mnist_scaling.plan name={study}`" in " ".join(out.getvalue().split())
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if re.search(r"\d  +\[.*\]  +(high|fair|low)", line)]) == 10


def test_a_small_loss_has_its_digits_as_its_interval_has() -> None:
    """Other problems have losses of 1e-4, which three decimals would call 0.000."""
    kept = read_fits(REFERENCE / "quickstart")
    small = replace(kept, headline=replace(kept.headline, loss=[LossAhead(2e-4, 1.1e-4, 3e-4, reach=8, C=1e18)]))
    (row,) = [row for row in quoted_table(small).rows if "loss at 8" in str(row[0])]
    assert row[1:3] == ["<b>0.0002</b>", "[0.00011,\xa00.0003]"]


def test_a_size_is_named_by_the_models_beside_it() -> None:
    found = replace(fits(**KNOWN), data=DataRecord(sizes={"width 2": 1e3, "width 4": 4e3}))
    assert [beside(found, n) for n in (5e2, 1.005e3, 2e3, 5e3)] == [
        "below width 2", "width 2", "between width 2 and width 4", "above width 4",
    ]  # fmt: skip
    assert beside(fits(**KNOWN), 2e3) == ""


def test_a_size_far_beyond_the_models_is_said_to_be_read_off_their_costs() -> None:
    found = replace(
        fits(**KNOWN),
        data=DataRecord(sizes={"width 2": 1e3, "width 4": 4e3}),
        settings={"bootstrap": {"level": 0.95}},
    )
    far = "above width 4, N read off the costs of the table, perhaps far off"
    assert [beside(found, n, read_off=True) for n in (1.5e4, 1.7e4)] == ["above width 4", far]
    assert beside(found, 1.7e4) == "above width 4", "a size that somebody gives"

    def said(**at: float) -> str:
        return asked(replace(found, headline=replace(found.headline, asked=AskedLoss(0.1, 0.09, 0.11, at=at))))

    assert f"N = 17,000 ({far})" in said(C=1e12, N=1.7e4, D=5e4)
    assert "N = 17,000 (above width 4)" in said(N=1.7e4, D=5e4)
