"""What the sentences of a fit say of its records, word for word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mnist_scaling.reporting.documents.fits_json import Fits, HeadlineRecord, LawRecord, Quoted
from mnist_scaling.reporting.words.fit_sentences import description


def fits(rmse: float = 0.01, **headline: Any) -> Fits:
    """Kaplan's law is the nearest, and the model is of `coupled`."""
    quoted = {"misfit": Quoted(0.001, 0.0005, 0.002), "noise": 0.01, "laws": ("coupled",), "settled": True} | headline
    laws = {"kaplan": LawRecord("…", inputs=("N", "D"), rmse_log=rmse)}
    return Fits(laws=laws, selected="kaplan", headline=HeadlineRecord(**quoted))


def said(found: Fits) -> str:
    (text,) = description(found)
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\u2060", "")


def test_the_misfit_is_said_of_the_law_that_it_is_of() -> None:
    assert said(fits()).startswith("The law <b>kaplan</b> is the nearest, within 1.0 % (rms); <b>coupled</b> describes")
    assert "(rms), and <b>coupled</b> may miss" in said(fits(settled=False))
    own = replace(fits(), selected="coupled", laws={"coupled": fits().laws["kaplan"]})
    assert said(own).startswith("The law <b>coupled</b> describes these data within 1.0 % (rms); what it may miss is")


def test_a_law_through_the_losses_is_held_against_no_noise() -> None:
    assert said(fits(2e-10)) == "The law <b>kaplan</b> passes through these losses to rounding."
