"""How fast a run trains: beside the loops people copy, beside other seeds, and beside what the core can do.

    python benchmarks/training.py --json training.json
    python benchmarks/training.py --quick
    python benchmarks/training.py --tried               what was tried and doesn't pay, with its numbers

One process, one thread. Contenders take turns inside a table (ABAB…), because a machine's speed drifts; a
number is the median over the turns, with the least and the most beside it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import loops
import torch
from rich.console import Console
from rich.table import Table as Grid
from torch.profiler import ProfilerActivity, profile

from mnist_scaling.config import DataConfig, ModelConfig
from mnist_scaling.training import model_size, small_cnn
from mnist_scaling.training.data import splits

ROOT = str(Path(__file__).resolve().parents[1] / "data")
CONSOLE = Console(width=140)
Times = dict[str, list[float]]


def alternate(contenders: Mapping[str, loops.Step], seconds: float, turns: int) -> Times:
    """Seconds a step of each contender, one number a turn; a turn lasts about `seconds`."""
    steps, times = {}, {name: [] for name in contenders}
    for name, step in contenders.items():
        for _ in range(3):
            step()
        start = time.perf_counter()
        for _ in range(3):
            step()
        steps[name] = max(2, round(seconds * 3 / (time.perf_counter() - start)))
    for _ in range(turns):
        for name, step in contenders.items():
            start = time.perf_counter()
            for _ in range(steps[name]):
                step()
            times[name].append((time.perf_counter() - start) / steps[name])
    return times


def ratio(slow: list[float], fast: list[float], factor: float = 1.0) -> dict[str, float]:
    """How many times faster, turn by turn: median, least and most."""
    found = [factor * a / b for a, b in zip(slow, fast, strict=True)]
    return {"median": median(found), "min": min(found), "max": max(found)}


def text(r: dict[str, float]) -> str:
    return f"{r['median']:.2f} ({r['min']:.2f} to {r['max']:.2f})"


def grid(title: str, *columns: str) -> Grid:
    table = Grid(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def one_trial(dataset: splits.Dataset, quick: bool) -> dict:
    """Ours against the DataLoader loop and against in-memory tensors."""
    table = grid("One trial, times faster", "width, batch", "µs a step", "DataLoader loop", "in-memory tensors")
    found = {}
    shapes = [(8, 64), (32, 64), *((w, b) for w in (2, 4, 8, 11, 16, 32) for b in (8, 32))]
    for width, batch in shapes if not quick else [(8, 64), (32, 64), (2, 32), (4, 32), (8, 32), (8, 8)]:
        contenders = {
            "ours": loops.ours(dataset.train, width, batch),
            "tensors": loops.tensors(dataset.train, width, batch),
        }
        if batch == 64:
            contenders["dataloader"] = loops.dataloader(ROOT, width, batch)
        times = alternate(contenders, 0.15, 5 if quick else 7)
        row = {name: ratio(t, times["ours"]) for name, t in times.items() if name != "ours"}
        row["step_us"] = 1e6 * median(times["ours"])
        found[f"w{width}_b{batch}"] = row
        loader = text(row["dataloader"]) if "dataloader" in row else ""
        table.add_row(f"{width}, {batch}", f"{row['step_us']:.0f}", loader, text(row["tensors"]))
    CONSOLE.print(table)
    return found


def seeds(dataset: splits.Dataset, quick: bool) -> dict:
    """Models a second of stacks by torch.func.vmap, against the same models one after another.

    One after another they are plain tensors, or our step, which is what a sweep has.
    """
    table = grid(
        "Seeds together by torch.func.vmap, throughput over one after another", "width, batch, models",
        "µs a model's step", "over plain loops", "over our step",
    )  # fmt: skip
    found = {}
    widths, batches, counts = ((4, 8), (8, 32), (4,)) if quick else ((2, 4, 8, 11), (8, 32, 64), (4, 8))
    for width in widths:
        for batch in batches:
            contenders = {"tensors": loops.tensors(dataset.train, width, batch)}
            contenders["ours"] = loops.ours(dataset.train, width, batch)
            contenders |= {str(k): loops.stacked(dataset.train, width, batch, k) for k in counts}
            times = alternate(contenders, 0.06, 5)
            for count in counts:
                each = [t / count for t in times[str(count)]]
                row = {
                    "step_us": 1e6 * median(each),
                    "over_plain": ratio(times["tensors"], each),
                    "over_alone": ratio(times["ours"], each),
                }
                found[f"w{width}_b{batch}_s{count}"] = row
                table.add_row(
                    f"{width}, {batch}, {count}", f"{row['step_us']:.0f}", text(row["over_plain"]),
                    text(row["over_alone"]),
                )  # fmt: skip
    CONSOLE.print(table)
    return found


def peaks() -> dict[str, float]:
    """GFLOP/s of a 1024 matrix product: MKL as torch.mm has it, and oneDNN."""
    a, b = torch.randn(2, 1024, 1024)
    c = torch.empty_like(a)
    work = {"mkl": lambda: torch.mm(a, b, out=c)}
    if small_cnn.ONEDNN:
        work["onednn"] = lambda: small_cnn.ONEDNN(a, b, None, "none", [], "")  # type: ignore[misc]
    with torch.no_grad():
        times = alternate(work, 0.1, 7)
    return {name: 2 * 1024**3 / min(t) / 1e9 for name, t in times.items()}


KINDS = {
    "products": ("aten::bmm", "aten::baddbmm", "mkldnn::_linear_pointwise", "aten::addmm", "aten::mm"),
    "convolution": ("aten::mkldnn_convolution", "aten::convolution_backward", "aten::_slow_conv2d_forward"),
    "optimiser": ("aten::_fused_adam_",),
    "indexing": ("aten::index_select", "aten::index", "aten::gather", "aten::scatter_add_"),
    "copies": ("aten::copy_",),
}


def shares(step: loops.Step, seconds: float) -> dict[str, float]:
    """Where a step's time goes, by torch's profiler; `other` is what no operation claims: Python and dispatch."""
    for _ in range(10):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(30):
            step()
    own = {event.key: event.self_cpu_time_total / 30 for event in record.key_averages()}
    # The profiler's own time is in every operation; what is left of a step without it is scaled to the real one.
    found = {kind: sum(own.pop(name, 0.0) for name in names) for kind, names in KINDS.items()}
    found["elementwise"] = sum(value for name, value in own.items() if name.startswith("aten::"))
    total = max(sum(found.values()), 1e6 * seconds)
    return {kind: value / total for kind, value in found.items()} | {"other": 1 - sum(found.values()) / total}


def limit(dataset: splits.Dataset, quick: bool) -> dict:
    """GFLOP/s of whole steps at batch 64 against the core's peak, and the profile of each."""
    peak = peaks()
    best = max(peak.values())
    floor = alternate({"floor": loops.ours(dataset.train, 1, 1)}, 0.1, 5)["floor"]
    title = f"Near the limit, batch 64; matrix product {', '.join(f'{k} {v:.0f}' for k, v in peak.items())} GFLOP/s; "
    table = grid(
        title + f"a step of width 1, batch 1: {1e6 * median(floor):.0f} µs", "width, engine", "µs", "GFLOP/s",
        "of peak", *KINDS, "elementwise", "Python",
    )  # fmt: skip
    found: dict = {"peak": peak, "floor_us": 1e6 * median(floor)}
    for width in (2, 8, 32) if quick else (2, 4, 8, 11, 16, 23, 32):
        contenders = {
            "by hand": loops.ours(dataset.train, width, 64),
            "autograd": loops.ours(dataset.train, width, 64, by_hand=False),
        }
        times = alternate(contenders, 0.1, 5)
        flops = 64 * model_size.measure(ModelConfig(width=width), (1, 28, 28), 10).training
        for name, step in contenders.items():
            seconds = median(times[name])
            where = shares(step, seconds)
            found[f"w{width} {name}"] = where | {"step_us": 1e6 * seconds, "gflops": flops / seconds / 1e9}
            table.add_row(
                f"{width}, {name}", f"{1e6 * seconds:.0f}", f"{flops / seconds / 1e9:.1f}",
                f"{100 * flops / seconds / 1e9 / best:.0f} %", *(f"{100 * share:.0f} %" for share in where.values()),
            )  # fmt: skip
    CONSOLE.print(table)
    return found


def evaluation(dataset: splits.Dataset, quick: bool) -> dict:
    """A pass over the 10,000 validation images."""
    table = grid("Evaluation of 10,000 images", "width", "ms by hand", "times faster than torch's layers, batch 1,000")
    found = {}
    for width in (8,) if quick else (2, 8, 16, 32):
        times = alternate(loops.evaluations(dataset.validation, width), 0.2, 5)
        found[f"w{width}"] = {"ms": 1e3 * median(times["ours"]), "over_plain": ratio(times["plain"], times["ours"])}
        table.add_row(str(width), f"{1e3 * median(times['ours']):.0f}", text(found[f"w{width}"]["over_plain"]))
    CONSOLE.print(table)
    return found


MEMORY = """
import json, sys, torch
def kb():
    lines = open("/proc/self/smaps_rollup").read().splitlines()[1:]
    of = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {"rss": of["Rss"], "pss": of["Pss"], "uss": of["Private_Clean"] + of["Private_Dirty"]}
torch.set_num_threads(1)
found = {"import torch": kb()}
from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from mnist_scaling.training.loop import train_model
train_model(RunConfig(device="cpu", data=DataConfig(dir=sys.argv[1]), model=ModelConfig(width=int(sys.argv[2])),
                      optim=OptimConfig(batch_size=64)))
found["a full run"] = kb()
print(json.dumps(found))
"""


def memory(quick: bool) -> dict:
    """Resident, proportional and private memory of a process of its own that trains one full-size run."""
    table = grid("Memory, MB", "width, after", "RSS", "PSS", "USS")
    found = {}
    for width in (8,) if quick else (8, 32):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, ROOT, str(width)], capture_output=True, text=True, check=True
        )
        found[f"w{width}"] = json.loads(done.stdout)
        for when, kb in found[f"w{width}"].items():
            table.add_row(f"{width}, {when}", *(f"{kb[k] / 1024:.0f}" for k in ("rss", "pss", "uss")))
    CONSOLE.print(table)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--quick", action="store_true", help="fewer shapes, about a minute")
    parser.add_argument("--tried", action="store_true", help="only what was tried and doesn't pay")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = splits.load(DataConfig(dir=ROOT), torch.device("cpu"))
    if arguments.tried:
        import tried

        tried.main(dataset, ROOT)
        return
    quick = arguments.quick
    trial, together = one_trial(dataset, quick), seeds(dataset, quick)
    found = {
        "dataloader_ratio_w8": trial["w8_b64"]["dataloader"]["median"],
        "dataloader_ratio_w32": trial["w32_b64"]["dataloader"]["median"],
        "tensor_loop_ratio_w8": trial["w8_b64"]["tensors"]["median"],
        # Stacks against our own step, one run after another, and against the plain loop.
        "stacked_seeds_ratio_w8": together["w8_b32_s4"]["over_alone"]["median"],
        "stacked_over_plain_loop_w8": together["w8_b32_s4"]["over_plain"]["median"],
        "stacked_seeds_ratio_w4_b8": together["w4_b8_s4"]["over_alone"]["median"],
        "one_trial": trial,
        "seeds": together,
        "limit": limit(dataset, quick),
        "evaluation": evaluation(dataset, quick),
        "memory": memory(quick),
        "machine": {"cpu": platform.processor(), "torch": torch.__version__, "quick": quick},
    }
    CONSOLE.print({key: round(value, 2) for key, value in found.items() if isinstance(value, float)})
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
