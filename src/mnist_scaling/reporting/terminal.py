"""fits.json as tables for a terminal; it computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from mnist_scaling.fitting.headline import conflict_sentence

COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def show(record: Mapping[str, Any], path: Path, console: Console | None = None) -> None:
    """Print laws, frontier, flags and the path of fits.json; for a table of several arms, those of each.

    Parameters
    ----------
    record : mapping
        What `fits_json.document` or `fits_json.of_arms` made.
    path : Path
        Where it was written.
    console : rich.console.Console, optional
    """
    console = console or Console(highlight=False)
    if record["data"].get("unfinished"):
        console.print(record["data"]["unfinished"], style="yellow")
    for arm in record.get("arms", [record]):
        if "name" in arm:
            console.print(Text(f"\nArm {arm['name']}", style="bold reverse"))
        _analysis(arm, console)
    if "arms" in record:
        console.print(_overview(record["arms"]))
    console.print(f"\nWritten: {path}")


def _analysis(record: Mapping[str, Any], console: Console) -> None:
    """All that was found in one table, or in one of its arms."""
    if record.get("why"):
        console.print(f"Not fitted. {record['why']}", style="yellow")
        return
    _rows(record, console)
    console.print(_laws(record))
    console.print(_selection(record))
    _frontier(record, console)
    _outlook(record, console)
    _tuning_change(record.get("tuning_change"), console)
    settings_laws(record.get("settings_laws"), console)
    if "sensitivity" in record:
        console.print(_sensitivity(record))
    if "coverage" in record:
        console.print(_coverage(record))
    _flags(record, console)
    console.print(_quoted(record))


def _overview(arms: Sequence[Mapping[str, Any]]) -> Grid:
    """The exponents to quote, one row per arm."""
    shown = {"slope_N": "-dlnL/dlnN", "slope_D": "-dlnL/dlnD", "N_exponent": "N* in C"}
    grid = _grid("Arms side by side", ("arm", "law", *shown.values()))
    grid.columns[0].no_wrap = False
    for arm in arms:
        numbers = [_interval(arm["headline"][key]) for key in shown]
        grid.add_row(Text(arm["name"]), arm["selected"] or "none selected", *numbers)
    return grid


def _quoted(record: Mapping[str, Any]) -> Text:
    """What to quote, over which laws, and whether the frontier methods contradict each other."""
    found = record["headline"]
    shown = {
        "slope_N": "-dlnL/dlnN",
        "slope_D": "-dlnL/dlnD",
        "slope_C": "-dlnL/dlnC",
        "N_exponent": "N* in C",
        "floor": "floor",
        "loss": "loss at the point asked for",
    }
    known = [f"{name} {_interval(found[key])}" for key, name in shown.items() if found[key]["value"] is not None]
    if known:
        laws = found["laws"]
        over = laws[0] if len(laws) == 1 else f"the average over {', '.join(laws[:-1])} and {laws[-1]}"
        text = Text(f"\nQuote {over}, at the largest cell: {', '.join(known)}.", style="bold")
    else:
        text = Text(f"\nQuote no single exponent. {found['slope_N']['why']}", style="bold")
    if known and found["N_exponent"]["value"] is None:
        text.append(f"\nN*: {found['N_exponent']['why']}", style="not bold")
    conflict = conflict_sentence(record)
    if conflict:
        text.append(f"\n{conflict}", style="not bold yellow")
    return text


def _rows(record: Mapping[str, Any], console: Console) -> None:
    """What is not in the fit, before what is."""
    data = record["data"]
    for note in data["notes"]:
        console.print(note, style="yellow")
    if data["masked"]:
        console.print(f"{len(data['masked'])} rows at chance are left out (mask_chance=true)", style="yellow")
    left_out = data.get("left_out", [])
    if left_out:
        reasons = ", ".join(sorted({row["why"] for row in left_out}))
        console.print(f"{len(left_out)} of {len(left_out) + data['n']} rows are left out: {reasons}", style="yellow")


def _interval(i: Mapping[str, Any] | None) -> str:
    """0.347 [0.318, 0.377]; an em dash where there is no number."""
    if i is None or i["value"] is None:
        return "—"
    text = _number(i["value"])
    return text if i["low"] is None else f"{text} [{_number(i['low'])}, {_number(i['high'])}]"


def _number(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:.3f}" if 1e-2 <= abs(value) < 1e3 or value == 0 else f"{value:.3g}"


def _grid(title: str, columns: tuple[str, ...], right: tuple[str, ...] = ()) -> Grid:
    grid = Grid(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 0),
    )
    for name in columns:
        grid.add_column(name, no_wrap=True, justify="right" if name in right else "left")
    return grid


def _laws(record: Mapping[str, Any]) -> Grid:
    level = 100 * record["settings"]["bootstrap"]["level"]
    numbers = ("n", "rmse", "AICc", "hold-out")
    grid = _grid(f"Laws, with {level:g} % intervals", ("law", "floor and exponents", *numbers), numbers)
    for name, law in record["laws"].items():
        if law["objective"] is None:
            continue
        shown = {k: v for k, v in law["params"].items() if law["units"][k] in ("1", "loss")}
        text = Text("\n".join(f"{k} {_interval(v)}" for k, v in shown.items()))
        if law["status"] != "ok":
            text.append(f"\n{law['status']}", style="yellow")
        grid.add_row(
            f"{name} *" if name == record["selected"] else name,
            text,
            str(law["n"]),
            f"{law['rmse_log']:.3f}",
            "—" if law["aicc"] is None else f"{law['aicc']:.1f}",
            "—" if law["held_out_rmse_log"] is None else f"{law['held_out_rmse_log']:.3g}",
        )
    return grid


def _selection(record: Mapping[str, Any]) -> Text:
    if record["selected"]:
        text = Text(f"* selected: {record['selected']} ({record['selection']['reason']})")
        simplest = record["selection"].get("simplest")
        if simplest and simplest != record["selected"]:
            text.append(f"\nThe simplest law that the data do not reject is {simplest}.")
    else:
        text = Text(f"No law is selected: {record['selection']['reason']}.", style="yellow")
    for name, law in record["laws"].items():
        if law["objective"] is None:
            text.append(f"\n{name}: {law['status']}", style="dim")
    return text


def _frontier(record: Mapping[str, Any], console: Console) -> None:
    exponents = ("N_exponent", "D_exponent", "loss_exponent")
    grid = _grid("Compute-efficient frontier: exponents in C", ("method", "N*", "D*", "loss"))
    for name, found in record["frontier"].items():
        grid.add_row(name, *(_interval(found[k]) for k in exponents))
    console.print(grid)
    for name, found in record["frontier"].items():
        notes = [found["status"]] if found["status"] != "ok" else []
        notes += [f"average over {', '.join(found['laws'])}"] if found.get("laws") else []
        notes += ["corrected for its bias on the fitted laws"] if "as_read" in found else []
        notes += list(found["flags"])
        if notes:
            console.print(f"{name}: {', '.join(notes)}", style="dim")


def _tuning_change(record: Mapping[str, Any] | None, console: Console) -> None:
    """Exponents of one plane through all cells; the slices stand in fits.json."""
    if record is None:
        return
    if record["status"] != "ok":
        console.print(f"\nWhat tuning changed: {record['status']}", style="dim")
        return
    grid = _grid("What tuning changed: L = k N^-alpha D^-beta through all cells", ("validation loss", "alpha", "beta"))
    names = {"untuned": "untuned, one run", "tuned": "tuned, repeats", "change": "tuned - untuned"}
    for source, name in names.items():
        grid.add_row(name, *(_interval(record["plane"][source].get(k)) for k in ("N", "D")))
    console.print(grid)


def settings_laws(record: Mapping[str, Any] | None, console: Console) -> None:
    """How each tuned key's best value moves with the size of the cell; one row per key and law."""
    if record is None:
        return
    if record["status"] != "ok":
        console.print(f"\nBest settings against size: {record['status']}", style="dim")
        return
    grid = _grid(
        "Best settings against size: exponents (log keys), else change per unit of ln size",
        ("key", "against", "cells", "beyond"), ("cells", "beyond"),
    )  # fmt: skip
    grid.columns[1].no_wrap = False
    for name, key in record["keys"].items():
        beyond = str(sum(key["censored"].values()))
        for law in key["laws"]:
            text = "  ".join(f"{size} {_interval(i)}" for size, i in law["exponents"].items())
            grid.add_row(name, text, str(law["n"]), beyond)
        if not key["laws"]:
            grid.add_row(name, Text(key["status"], style="dim"), str(key["cells"]), beyond)
    console.print(grid)
    known = record["predicted"]
    if known and known["settings"]:
        at = " and ".join(f"{size} = {value:.3g}" for size, value in known["at"].items())
        best = ", ".join(
            f"{k} {v['value']:.3g} [{v['low']:.3g}, {v['high']:.3g}]" for k, v in known["settings"].items()
        )
        console.print(f"A new cell with {at} should have its best settings at {best}")


def _outlook(record: Mapping[str, Any], console: Console) -> None:
    if record["predictions"]:
        grid = _grid("Predicted loss", ("law", "loss", "beyond the largest compute"))
        for p in record["predictions"]:
            grid.add_row(p["law"], _interval(p["loss"]), f"x {p['reach']:.3g}")
        console.print(grid)
    life = record["lifetime"]
    if life:
        console.print(
            f"\nFor {life['queries']:.3g} queries, by {life['law']} at loss {life['loss']:.3g}: "
            f"{_interval(life['size_ratio'])} times the compute-efficient size, trained on "
            f"{_interval(life['data_ratio'])} times its data, saves {_interval(life['saved'])} of all FLOPs."
        )


def _sensitivity(record: Mapping[str, Any]) -> Grid:
    """One row a variant: the law's own exponents, and N* by three methods."""
    methods = ("N* hull", "N* isoflop", "N* parametric")
    short = tuple(m.replace("parametric", "param.") for m in methods)
    grid = _grid("Sensitivity", ("choice", "floor and exponents", *short), short)
    for column in grid.columns[:2]:
        column.no_wrap = False
    for v in record["sensitivity"]:
        own = "  ".join(f"{k} {_number(x)}" for k, x in v["exponents"].items() if k not in methods)
        setting = v["setting"] if v["group"] in ("base", "rows") else f"{v['group']}: {v['setting']}"
        grid.add_row(setting, own or v["note"], *(_number(v["exponents"].get(m)) for m in methods))
    return grid


def _coverage(record: Mapping[str, Any]) -> Grid:
    level = 100 * record["settings"]["bootstrap"]["level"]
    found = record["coverage"]
    grid = _grid(
        f"Coverage of {level:g} % intervals on simulated tables that obey {found['law']}",
        ("quantity", "truth", "held", "tables", "width"),
        ("truth", "held", "tables", "width"),
    )
    for c in found["quantities"]:
        held = "—" if c["share"] is None else f"{100 * c['share']:.0f} %"
        grid.add_row(c["quantity"], _number(c["truth"]), held, str(c["tables"]), _number(c["width"]))
    return grid


def _flags(record: Mapping[str, Any], console: Console) -> None:
    if not record["flags"]:
        console.print("\nNo flags.", style="green")
        return
    console.print("\n[bold]Flags[/bold]")
    for flag in record["flags"]:
        text = Text(f"{flag['code']}: ", style=COLOURS[flag["severity"]])
        text.append(f"{flag['message']} {flag['remedy']}", style="default")
        console.print(text)
        if flag["cells"]:
            console.print(f"  cells: {_cells(flag['cells'])}", style="dim")


def _cells(cells: list[Mapping[str, Any]], most: int = 6) -> str:
    shown = ["(" + ", ".join(f"{k} {v:.4g}" for k, v in c.items() if k in ("N", "D", "C")) + ")" for c in cells[:most]]
    more = f" and {len(cells) - most} more" if len(cells) > most else ""
    return " ".join(shown) + more
