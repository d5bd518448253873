"""Runs that share a device: the same losses as alone, whoever their neighbours are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, ReportsConfig, RunConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.vocabulary import COMPLETE, DIVERGED, PRUNED
from mnist_scaling.training import sharing
from mnist_scaling.training.fast import row_kernels
from mnist_scaling.training.fast.row_kernels import Rows, Steps
from mnist_scaling.training.loop import train_model

CPU = torch.device("cpu")
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs cuda")


@pytest.fixture
def runs(data_dir: str) -> list[RunConfig]:
    """Runs of two widths, with batches, lengths, rates, seeds, optimisers of their own; the last one diverges."""
    data = DataConfig(dir=data_dir, max_eval=500)
    narrow, wide = ModelConfig(width=4), ModelConfig(width=8, parametrization="mup", base_width=4)
    return [
        RunConfig(data=replace(data, fraction=0.01), model=narrow, optim=OptimConfig(lr=1e-2, batch_size=8)),
        RunConfig(data=replace(data, fraction=0.012), model=narrow, optim=OptimConfig(lr=1e-3, batch_size=13), seed=1),
        RunConfig(
            data=replace(data, fraction=0.005, label_noise=0.3), model=narrow, optim=OptimConfig(batch_size=16),
            regime=RegimeConfig("repeat", epochs=3),
        ),
        RunConfig(
            data=replace(data, fraction=0.01), model=wide,
            optim=OptimConfig("adamw", lr=1e-2, batch_size=40, weight_decay=0.1, clip=0.5),
        ),
        RunConfig(
            data=replace(data, fraction=0.01), model=wide,
            optim=OptimConfig("sgd", lr=0.1, batch_size=32, weight_decay=1e-3, nesterov=True),
        ),
        RunConfig(data=replace(data, fraction=0.01), model=narrow, optim=OptimConfig("sgd", lr=1e4, batch_size=9)),
    ]  # fmt: skip


def beside_each_other(runs: list[RunConfig], device: torch.device, report: object = None) -> list[TrainResult]:
    shared = sharing.Sharing(device)
    with ThreadPoolExecutor(len(runs)) as threads:
        return list(threads.map(lambda run: shared.start(run, report).result(60), runs))  # type: ignore[arg-type]


def test_runs_that_share_a_device_are_those_alone(runs: list[RunConfig]) -> None:
    runs = [replace(run, device="cpu") for run in runs]
    found = beside_each_other(runs, CPU)
    assert [result.state for result in found] == [COMPLETE] * 5 + [DIVERGED]
    for run, result in zip(runs, found, strict=True):
        alone = train_model(run)
        assert (result.state, result.steps, result.n_seen) == (alone.state, alone.steps, alone.n_seen)
        if result.state == COMPLETE:
            assert result.test_loss == pytest.approx(alone.test_loss, rel=1e-4)


def test_more_runs_of_one_shape_than_places_wait_for_their_turn(
    runs: list[RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "MOST_PLACES", 1)
    wide = [replace(runs[0], device="cpu", seed=seed, model=ModelConfig(width=64)) for seed in range(3)]
    assert sharing._places(wide[0], CPU) == 1
    found = beside_each_other(wide, CPU)
    assert len({result.val_loss for result in found}) == 3


def test_a_report_stops_one_run_and_leaves_its_neighbours_as_they_are(runs: list[RunConfig]) -> None:
    reports = ReportsConfig(points=3, cost=1.0, least=1)
    stopped, other = (replace(run, device="cpu", reports=reports) for run in runs[:2])
    with ThreadPoolExecutor(2) as threads:
        shared = sharing.Sharing(CPU)
        first = threads.submit(lambda: shared.start(stopped, lambda number, loss: number == 2).result(60))
        second = threads.submit(lambda: shared.start(other, lambda number, loss: False).result(60))
    assert (first.result().state, len(first.result().reports)) == (PRUNED, 2)
    assert first.result().steps == train_model(stopped, lambda number, loss: number == 2).steps
    alone = train_model(other, lambda number, loss: False)
    assert [share for share, _ in second.result().reports] == [share for share, _ in alone.reports]
    assert second.result().val_loss == pytest.approx(alone.val_loss, rel=1e-4)


def test_an_error_is_that_runs_own(runs: list[RunConfig]) -> None:
    def fail(number: int, loss: float) -> bool:
        raise RuntimeError("the storage is gone")

    shared = sharing.Sharing(CPU)
    bad = replace(runs[0], device="cpu", reports=ReportsConfig(points=3, cost=1.0, least=1))
    answers = [shared.start(bad, fail), shared.start(replace(runs[1], device="cpu"))]
    with pytest.raises(RuntimeError, match="the storage is gone"):
        answers[0].result(60)
    assert answers[1].result(60).state == COMPLETE


def test_a_device_that_fails_ends_the_runs_that_were_there_and_none_that_come_later(
    runs: list[RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of one shape arrive at once, of which one waits for a place when the device fails."""
    monkeypatch.setattr(sharing, "MOST_PLACES", 1)
    wide = [replace(runs[0], device="cpu", seed=seed, model=ModelConfig(width=64)) for seed in range(3)]
    assert sharing._places(wide[0], CPU) == 1
    shared = sharing.Sharing(CPU)
    launch = sharing._Places.launch

    def fail(places: sharing._Places) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(sharing._Places, "launch", fail)
    monkeypatch.setattr(shared, "_thread", threading.Thread())  # so that all three are there at the first turn
    answers = [shared.start(run) for run in wide]
    threading.Thread(target=shared._serve, daemon=True).start()
    for answer in answers:
        with pytest.raises(RuntimeError, match="the device is gone"):
            answer.result(60)
    monkeypatch.setattr(sharing._Places, "launch", launch)
    assert shared.start(wide[0]).result(60).state == COMPLETE


def test_a_lane_without_runs_makes_room_for_one_of_another_shape(
    runs: list[RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = sharing.Sharing(CPU)
    open_lane = shared._open

    def with_memory_for_one(run: sharing._Run) -> sharing.Lane:
        if shared._all():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return open_lane(run)

    monkeypatch.setattr(shared, "_open", with_memory_for_one)
    for run in (runs[0], runs[3], runs[0]):
        assert shared.start(replace(run, device="cpu")).result(60).state == COMPLETE


@NEEDS_CUDA
def test_a_run_on_a_gpu_has_the_same_bits_alone_and_in_company(runs: list[RunConfig]) -> None:
    device = torch.device("cuda")
    on_gpu = [replace(run, device="cuda", model=replace(run.model, dropout=0.2)) for run in runs]
    company = beside_each_other(on_gpu, device)
    assert company[0].val_loss == beside_each_other(on_gpu[:1], device)[0].val_loss
    assert company[4].val_loss == beside_each_other(on_gpu[4:5], device)[0].val_loss


@NEEDS_CUDA
def test_a_gpu_gives_the_losses_of_the_cpu(runs: list[RunConfig]) -> None:
    for run in runs[:5]:
        on_gpu, on_cpu = (train_model(replace(run, device=device)) for device in ("cuda", "cpu"))
        assert (on_gpu.device, on_cpu.device) == ("cuda", "cpu")
        assert on_gpu.val_loss == pytest.approx(on_cpu.val_loss, rel=1e-3)


@NEEDS_CUDA
@pytest.mark.parametrize("config", [
    OptimConfig("adam", weight_decay=0.01), OptimConfig("adamw", weight_decay=0.01, clip=0.1),
    OptimConfig("sgd", weight_decay=0.01), OptimConfig("sgd", nesterov=True),
], ids=str)  # fmt: skip
def test_the_kernel_of_a_step_is_its_formula(config: OptimConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(3, 5000, generator=generator).abs() for _ in range(4)]
    columns = [torch.rand(5000, generator=generator) for _ in range(2)]
    steps = [torch.tensor([1, 0, 5]), torch.tensor([0.1, 0.2, 0.3])]
    found = []
    for device in ("cpu", "cuda"):
        rows = Rows(*(tensor.clone().to(device) for tensor in (*drawn, *columns)))
        corrections = row_kernels.corrections(config, torch.tensor([1, 2, 700]))
        row_kernels.update(rows, Steps(*(tensor.to(device) for tensor in (*steps, *corrections))), config)
        found.append([tensor.cpu() for tensor in (rows.weights, rows.first, rows.second)])
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cpu, cuda, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[1][0][1], drawn[0][1])  # a row that takes no step


@NEEDS_CUDA
def test_masks_keep_the_share_they_should_and_follow_their_key() -> None:
    rates, keys = torch.tensor([0.0, 0.2, 0.5]).cuda(), torch.tensor([1, 2, 2**61]).cuda()
    mask, again = torch.empty(2, 3, 1568, 64, device="cuda")
    row_kernels.masks(mask, rates, keys)
    row_kernels.masks(again, rates.flip(0).contiguous(), keys.flip(0).contiguous())
    assert torch.equal(mask, again.flip(0))
    for share, row in zip(rates.tolist(), mask, strict=True):
        assert (row == 0).float().mean().item() == pytest.approx(share, abs=5 * (share / row.numel()) ** 0.5)
        assert row.mean().item() == pytest.approx(1, abs=0.02)


def test_one_step_of_rows_is_torchs_optimiser() -> None:
    generator = torch.Generator().manual_seed(0)
    for config, kind in (
        (OptimConfig("adam", weight_decay=0.01), torch.optim.Adam),
        (OptimConfig("adamw", weight_decay=0.01), torch.optim.AdamW),
    ):
        start = torch.randn(2, 7, generator=generator)
        zeros, ones = torch.zeros(2, 7), torch.ones(7)
        rows = Rows(start.clone(), torch.zeros(2, 7), zeros.clone(), zeros.clone(), ones, torch.full((7,), 0.01))
        parameter = torch.nn.Parameter(start[1].clone())
        optimizer = kind([parameter], lr=0.1, weight_decay=0.01)
        for step in range(1, 4):
            gradient = torch.randn(7, generator=generator)
            rows.gradients.copy_(gradient.expand(2, 7))
            parameter.grad = gradient
            numbers = torch.tensor([0, step]).clamp(min=1)
            takes, rates = torch.tensor([0, 1]), torch.tensor([0.1, 0.1])
            row_kernels.update(rows, Steps(takes, rates, *row_kernels.corrections(config, numbers)), config)
            optimizer.step()
        torch.testing.assert_close(rows.weights[1], parameter.detach())
        assert torch.equal(rows.weights[0], start[0])
