from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from mnist_scaling.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    RegimeConfig,
    ReportsConfig,
    RunConfig,
    TrialConfig,
)
from mnist_scaling.config.family import MLPConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import COMPLETE, DIVERGED, PRUNED
from mnist_scaling.training import loop, model_size, models, regimes, scoring, seeding
from mnist_scaling.training.cost import pick_device
from mnist_scaling.training.data import splits
from mnist_scaling.training.run import CHECK_EVERY


@pytest.fixture
def run(data_dir: str) -> RunConfig:
    """A run of a second on real images: 3,125 of them, width 4."""
    return RunConfig(
        device="cpu",
        model=ModelConfig(width=4, dropout=0.1),
        data=DataConfig(fraction=1 / 16, dir=data_dir, max_eval=2000),
        optim=OptimConfig(lr=1e-2, batch_size=32),
    )


def test_a_run_learns_and_counts(run: RunConfig) -> None:
    result = loop.train_model(run)
    assert result.state == COMPLETE
    assert result.n_train == result.n_seen == 3125
    assert result.epochs == 1
    assert result.steps == 98  # 97 full batches and one of 21
    assert result.flops == 3125 * (2 * 9 * 4 * 196 * 2 + 3 * (2 * 9 * 32 * 49 + 20 * 392))
    assert result.n_params == 40 + 296 + 3930
    assert result.val_loss is not None
    assert result.test_loss is not None
    assert 0.1 < result.val_loss < 0.7  # chance is 2.30
    assert abs(result.val_loss - result.test_loss) < 0.2
    assert result.test_error is not None
    assert result.test_error < 0.2


def test_the_same_seed_gives_the_same_bits_and_another_does_not(run: RunConfig) -> None:
    torch.manual_seed(1)
    first = loop.train_model(run)
    torch.manual_seed(2)  # the global generator must not matter
    assert loop.train_model(run) == first
    assert loop.train_model(replace(run, seed=1)).val_loss != first.val_loss


def test_a_run_leaves_the_global_generator_alone(run: RunConfig) -> None:
    before = torch.get_rng_state()
    loop.train_model(run)
    assert torch.equal(before, torch.get_rng_state())


def test_a_trial_does_not_see_the_test_images(run: RunConfig) -> None:
    result = loop.train_model(replace(run, trial=TrialConfig(stage="trial")))
    assert result.val_loss is not None
    assert (result.test_loss, result.test_error, result.train_loss) == (None, None, None)


@pytest.mark.parametrize("lr", [1e3, 1e30])
def test_divergence_ends_the_run_with_empty_losses(run: RunConfig, lr: float) -> None:
    result = loop.train_model(replace(run, optim=replace(run.optim, lr=lr, schedule="constant", name="sgd")))
    assert result.state == DIVERGED
    assert (result.val_loss, result.test_loss, result.train_loss) == (None, None, None)
    assert result.steps == CHECK_EVERY  # at the first look, not at the end
    assert result.n_seen == result.steps * 32
    assert result.flops == result.n_seen * (loop.train_model(run).flops // 3125)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_every_optimiser_and_schedule_learns(run: RunConfig, name: str, schedule: str) -> None:
    lr = 0.1 if name == "sgd" else 1e-2
    result = loop.train_model(replace(run, optim=OptimConfig(name=name, lr=lr, schedule=schedule)))
    assert result.val_loss is not None
    assert result.val_loss < 1.0


def test_evaluation_is_the_mean_over_all_images(data_dir: str) -> None:
    part = splits.load(DataConfig(dir=data_dir), torch.device("cpu")).validation.head(2345)
    model = models.build(ModelConfig(width=2, dropout=0.5), (1, 28, 28), 10)
    loss, error = scoring.evaluate(model, part)
    model.eval()
    with torch.no_grad():
        log_p = model(part.pictures(part.rows)).double().log_softmax(1)
    assert loss == pytest.approx(-log_p[torch.arange(2345), part.labels].mean().item(), rel=1e-6)
    assert error == pytest.approx((log_p.argmax(1) != part.labels).double().mean().item())


def test_one_step_of_sgd_by_hand(data_dir: str) -> None:
    """A single step: w - lr * g, with the gradient from an independent forward pass."""
    config = RunConfig(
        device="cpu",
        data=DataConfig(fraction=1e-6, dir=data_dir, max_eval=10),
        optim=OptimConfig(name="sgd", lr=0.5, batch_size=10, momentum=0.0, schedule="constant", warmup=0.0),
    )
    dataset = splits.load(DataConfig(dir=data_dir), torch.device("cpu"))
    part = dataset.train.take(splits.subset(dataset.train.labels, 10, config.seed))
    with seeding.global_stream(config.seed, "init", torch.device("cpu")):
        model = models.build(config.model, (1, 28, 28), 10)
    log_p = model(part.pictures(part.rows)).log_softmax(1)
    (-log_p[torch.arange(10), part.labels].mean()).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.5 * parameter.grad  # type: ignore[operator]
    expected = scoring.evaluate(model, part)[0]
    assert loop.train_model(config).train_loss == pytest.approx(expected, rel=1e-5)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"`regime.name` must be one of single_epoch, .*, but got 'forever'"):
        regimes.build(RunConfig(regime=RegimeConfig("forever")), 1)
    with pytest.raises(InputError, match=r"`model.name` must be one of .*cnn.*, but got 'vit'"):
        models.build(ModelConfig("vit"), (1, 28, 28), 10)


def test_streams_of_a_seed_are_independent() -> None:
    seeds = {seeding.stream_seed(s, p) for s in range(50) for p in ("init", "order", "subset", "dropout")}
    assert len(seeds) == 200


def test_reports_are_paced_by_the_run_and_change_no_bit_of_it(run: RunConfig) -> None:
    run = replace(run, data=replace(run.data, fraction=0.25), reports=ReportsConfig(points=3, cost=0.1))
    silent = loop.train_model(run)
    for batch_size in (32, 100):
        told: list[tuple[int, float]] = []
        sized = replace(run, optim=replace(run.optim, batch_size=batch_size))

        def listen(number: int, loss: float, told: list[tuple[int, float]] = told) -> bool:
            told.append((number, loss))
            return False

        result = loop.train_model(sized, listen)
        assert [number for number, _ in told] == [1, 2, 3]
        assert [loss for _, loss in result.reports] == [loss for _, loss in told]
        assert [share for share, _ in result.reports] == pytest.approx([0.25, 0.5, 0.75], abs=1.5 / result.steps)
        assert told[0][1] > told[2][1]
        if batch_size == 32:
            assert replace(result, reports=()) == silent


def test_a_run_stops_where_its_report_says_so(run: RunConfig) -> None:
    run = replace(run, data=replace(run.data, fraction=0.25), reports=ReportsConfig(points=3, cost=0.1))
    whole = loop.train_model(run)
    result = loop.train_model(run, lambda number, loss: number == 2)
    assert result.state == PRUNED
    assert (result.val_loss, result.test_loss) == (None, None)
    assert len(result.reports) == 2
    assert result.steps == math.ceil(whole.steps / 2)
    assert result.n_seen == 32 * result.steps
    assert result.flops == result.n_seen * (whole.flops // whole.n_seen)  # what was spent, not what was planned


def test_reports_cost_no_more_than_they_may(run: RunConfig) -> None:
    sizes: list[int] = []
    size = model_size.measure(run.model, (1, 28, 28), 10)
    dataset = splits.load(run.data, torch.device("cpu"))
    for n_seen, cost in ((50_000, 0.03), (12_500, 0.1), (3125, 0.03)):
        config = replace(run, reports=ReportsConfig(cost=cost), data=replace(run.data, max_eval=None))
        part = scoring.ReportSlice(dataset.validation, config, size, n_seen).part
        sizes.append(0 if part is None else len(part))
        assert 3 * sizes[-1] * size.forward <= cost * n_seen * size.training
    assert sizes[0] > 1000
    assert sizes[2] == 0  # 3 % of so short a run buys too few images to judge it by


def test_the_slice_is_a_fair_sample(data_dir: str) -> None:
    validation = splits.load(DataConfig(dir=data_dir), torch.device("cpu")).validation
    part = splits.fair_sample(validation, 500)
    shares = validation.labels.bincount() / len(validation)
    assert (part.labels.bincount() - 500 * shares).abs().max() <= 1


def test_auto_takes_cuda_where_it_is_faster_than_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", functools.cache(lambda: True))  # wrapped, as torch's own is
    narrow, wide = (RunConfig(model=MLPConfig(width=width)) for width in (8, 2048))
    for available, expected in ((True, ("cpu", "cuda")), (False, ("cpu", "cpu"))):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert (pick_device(narrow).type, pick_device(wide).type) == expected
    assert pick_device(replace(narrow, device="mps")).type == "mps"


@pytest.mark.slow
def test_what_makes_cuda_repeatable_is_set_without_one() -> None:
    """In a process of its own, because it is for good; a GPU's bits are tested below."""
    script = (
        "import os, torch; from mnist_scaling.training import cost; cost._make_repeatable();"
        "print(os.environ['CUBLAS_WORKSPACE_CONFIG'], torch.are_deterministic_algorithms_enabled(),"
        " torch.is_deterministic_algorithms_warn_only_enabled(), torch.utils.deterministic.fill_uninitialized_memory)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CUBLAS_WORKSPACE_CONFIG"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [":4096:8", "True", "True", "False"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs cuda: would train on it twice, and beside the CPU")
@pytest.mark.parametrize("model", [ModelConfig(width=8), MLPConfig(width=16)], ids=["cnn", "mlp"])
def test_a_gpu_gives_the_same_bits_again_and_the_losses_of_the_cpu(run: RunConfig, model: ModelConfig) -> None:
    run = replace(run, model=model)
    on_gpu = replace(run, device="cuda")
    assert loop.train_model(on_gpu).val_loss == pytest.approx(loop.train_model(run).val_loss, rel=1e-2)
    with_dropout = replace(on_gpu, model=replace(model, dropout=0.2))
    assert loop.train_model(with_dropout) == loop.train_model(with_dropout)
