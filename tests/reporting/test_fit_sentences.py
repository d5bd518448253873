"""What the sentences of a fit say of its records, word for word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mnist_scaling.fitting.ahead import LossAhead
from mnist_scaling.fitting.headline import Headline
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.fits_json import Fits, LawRecord
from mnist_scaling.reporting.words.fit_sentences import ahead, description, quote
from mnist_scaling.reporting.words.fit_tables import exponents_table, quoted_table


def fits(rmse: float = 0.01, **headline: Any) -> Fits:
    """Kaplan's law is the nearest, and the model is of `coupled`."""
    quoted = {"misfit": Interval(0.001, 0.0005, 0.002), "noise": 0.01, "laws": ("coupled",), "settled": True} | headline
    laws = {"kaplan": LawRecord("…", inputs=("N", "D"), rmse_log=rmse)}
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


def test_slopes_alone_are_at_a_cell() -> None:
    found = plain(quote(fits(slope_N=Interval(0.2, 0.1, 0.3), floor=Interval(0.5, 0.4, 0.6))))
    assert found.endswith(": −∂ ln L/∂ ln N 0.200 [0.100, 0.300] at the largest cell; floor E 0.500 [0.400, 0.600].")


def test_what_has_compute_alone_has_no_best_size() -> None:
    loss = [LossAhead(reach=2.0, C=1e18, value=0.5, low=0.4, high=0.6)]
    found = replace(fits(slope_C=Interval(0.2, 0.1, 0.3), loss=loss), settings={"bootstrap": {"level": 0.95}})
    assert ahead(found).startswith("Predicted loss at 2 times the largest compute: 0.5")
    names = [str(row[0]) for row in quoted_table(found).rows]
    assert names == ["−d ln L/d ln C", "misfit of ln L", "loss at 2 times the largest compute"]


def test_predicted_losses_say_at_which_sizes() -> None:
    both = [LossAhead(0.5, 0.4, 0.6, reach=r, C=1e18, N=1e6, D=1e7, optimal=r == 2) for r in (2, 4)]
    begins = "Predicted loss at {} times the largest compute, "
    assert ahead(fits(loss=both[:1])).startswith(begins.format(2) + "at the best size for it: 0.5")
    assert ahead(fits(loss=both[1:])).startswith(begins.format(4) + "if model and data grow together: 0.5")
    said = "at the best size for it (at 4 times, if model and data grow together): 0.5"
    assert ahead(fits(loss=both)).startswith(begins.format("2 and 4") + said)


def test_exponents_are_told_apart() -> None:
    """The slope to quote comes first; a law's own numbers are named after it."""
    slopes = {key: Interval(0.2, 0.1, 0.3) for key in ("slope_N", "slope_D", "middle_slope_N", "middle_slope_D")}
    table = exponents_table(fits(**slopes))
    assert table is not None
    assert [str(row[0]) for row in table.rows][:2] == ["slope at the largest cell", "slope in the middle"]
    assert str(table.rows[0][3]).startswith("quote this")
    assert exponents_table(fits(slope_N=Interval(0.2, 0.1, 0.3))) is None
