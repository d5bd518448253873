"""Known answers of every regime: what is trained on, when it stops, which weights count, what is recorded."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import ceil, cos, pi
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mnist_scaling.config import (
    CurveConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    RegimeConfig,
    ReportsConfig,
    RunConfig,
    TrialConfig,
)
from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import COMPLETE, PRUNED
from mnist_scaling.training import cost, loop, model_size, models, regimes, scoring, seeding
from mnist_scaling.training.data import splits
from mnist_scaling.training.regimes.early_stopping import EarlyStopping
from mnist_scaling.training.regimes.passes import fall
from mnist_scaling.training.regimes.wsd import in_stretches
from mnist_scaling.training.run import Run
from tests.training.engines import chosen

CPU = torch.device("cpu")
REGIMES = {
    "single_epoch": RegimeConfig(),
    "repeat": RegimeConfig("repeat", epochs=3),
    "isoflop": RegimeConfig("isoflop", flops=1e8),
    "early_stopping": RegimeConfig("early_stopping", patience=2, max_epochs=4),
    "wsd": RegimeConfig("wsd", branches=(0.25, 0.5, 1.0)),
}


@pytest.fixture
def run(data_dir: str) -> RunConfig:
    """A run of half a second on real images: 781 of them, width 2."""
    return RunConfig(
        device="cpu",
        model=ModelConfig(width=2, dropout=0.1),
        data=DataConfig(fraction=1 / 64, dir=data_dir, max_eval=500),
        optim=OptimConfig(lr=1e-2, batch_size=32),
    )


def under(run: RunConfig, name: str, **optim: Any) -> RunConfig:
    """The run in another regime, with a schedule that suits it."""
    schedule = "wsd" if name in ("early_stopping", "wsd") else "cosine"
    return replace(run, regime=REGIMES[name], optim=replace(run.optim, **{"schedule": schedule} | optim))


def positions(regime: Any, n: int, batch_size: int) -> list[torch.Tensor]:
    return list(regime.batches(n, batch_size, torch.Generator().manual_seed(0)))


# What to train on


def test_single_epoch_sees_every_example_once() -> None:
    regime = regimes.build(RunConfig(), 1)
    batches = positions(regime, 103, 10)
    assert [len(b) for b in batches] == [10] * 10 + [3]
    assert sorted(torch.cat(batches).tolist()) == list(range(103))
    assert regime.n_seen(103) == 103


@pytest.mark.parametrize("epochs", [1, 2, 4, 64])
def test_repeat_sees_every_example_so_often_in_fresh_orders(epochs: int) -> None:
    regime = regimes.build(RunConfig(regime=RegimeConfig("repeat", epochs=epochs)), 1)
    batches = positions(regime, 103, 10)
    seen = torch.cat(batches)
    assert regime.n_seen(103) == len(seen) == 103 * epochs
    assert {len(b) for b in batches[:-1]} == {10}
    assert len(batches) == ceil(103 * epochs / 10)
    passes = seen.view(epochs, 103)
    assert all(sorted(p.tolist()) == list(range(103)) for p in passes)
    assert len({tuple(p.tolist()) for p in passes}) == epochs


def test_repeat_once_is_single_epoch_bit_for_bit(run: RunConfig) -> None:
    assert loop.train_model(replace(run, regime=RegimeConfig("repeat", epochs=1))) == loop.train_model(run)


def test_repeat_records_unique_and_seen_examples_apart(run: RunConfig) -> None:
    result = loop.train_model(under(run, "repeat"))
    assert (result.n_train, result.n_seen, result.epochs) == (781, 3 * 781, 3.0)
    assert result.steps == ceil(3 * 781 / 32)
    assert result.flops == 3 * loop.train_model(run).flops


@pytest.mark.parametrize("width", [1, 2, 8, 32])
@pytest.mark.parametrize("budget", [1e9, 3.7e9, 2e10])
def test_isoflop_meets_its_budget(width: int, budget: float) -> None:
    config = RunConfig(model=ModelConfig(width=width), regime=RegimeConfig("isoflop", flops=budget))
    size = model_size.measure(config.model, (1, 28, 28), 10)
    regime = regimes.build(config, size.training)
    for available in (100, 50_000):
        n_train = regime.n_train(available)
        seen = regime.n_seen(n_train)
        assert abs(seen * size.training / budget - 1) < 0.01
        assert n_train == min(seen, available)
        counts = Counter(torch.cat(positions(regime, n_train, 32)).tolist())
        assert sum(counts.values()) == seen
        assert max(counts.values()) - min(counts.values()) <= 1  # passes, the last one cut


def test_isoflop_marks_repeated_data(run: RunConfig) -> None:
    results = {budget: loop.train_model(replace(run, regime=RegimeConfig("isoflop", flops=budget)))
               for budget in (2e7, 1e8)}  # fmt: skip
    short, long = results.values()
    for budget, result in results.items():
        assert abs(result.flops / budget - 1) < 0.01
    assert (short.n_train, short.epochs, short.flags) == (short.n_seen, 1.0, "")
    assert (long.n_train, long.flags) == (781, "repeated_data")
    assert long.epochs == long.n_seen / 781 > 2


def test_a_budget_of_few_batches_is_refused() -> None:
    config = RunConfig(model=ModelConfig(width=4), regime=RegimeConfig("isoflop", flops=1e7))
    with pytest.raises(InputError, match=r"must pay for 4 batches and 50 examples, which is 1.75e\+07 at width 4 and "
                       r"batch size 32, but got 1e\+07: raise"):  # fmt: skip
        cost.cost(config)  # which a sweep asks before it starts
    # What the tuner tries later is a poor trial, not an error.
    regimes.build(replace(config, trial=TrialConfig(stage="trial")), 136_416)
    with pytest.raises(InputError, match="50 examples"):
        regimes.build(replace(config, trial=TrialConfig(stage="trial")), 10**7)


@pytest.mark.parametrize(
    ("regime", "message"),
    [
        (RegimeConfig("repeat"), "`regime.epochs` must be given with regime=repeat, but got none: give"),
        (RegimeConfig("isoflop"), "`regime.flops` must be given with regime=isoflop, but got none: give"),
        (RegimeConfig("wsd"), "`regime.branches` must be given with regime=wsd, but got none: give"),
        (RegimeConfig("early_stopping", patience=3), "`regime.max_epochs` must be given with regime=early_stopping"),
        (RegimeConfig("wsd", branches=(0.5, 1.0), last=0.1), "`regime.last` must be at least the first of"),
    ],
)
def test_what_a_regime_needs_is_asked_for(regime: RegimeConfig, message: str) -> None:
    schedule = "wsd" if regime.name in ("wsd", "early_stopping") else "cosine"
    with pytest.raises(InputError, match=message):
        regimes.build(RunConfig(regime=regime, optim=OptimConfig(schedule=schedule)), 1)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [("early_stopping", "cosine"), ("early_stopping", "linear"), ("wsd", "cosine"), ("wsd", "constant")],
)  # fmt: skip
def test_a_schedule_that_a_regime_cant_follow_is_refused(name: str, schedule: str) -> None:
    config = RunConfig(regime=REGIMES[name], optim=OptimConfig(schedule=schedule))
    with pytest.raises(
        InputError, match=f"`optim.schedule` must be one of .* with regime={name}, but got '{schedule}'"
    ):
        regimes.build(config, 1)


# When to stop, and which weights count


class Scripted(Run):
    """A run whose validation losses are written down beforehand; the training is real."""

    script: tuple[float, ...]

    def evaluate(self, phase: str) -> float:
        super().evaluate(phase)
        return self.script[len(self.curve.points) - 1]


def scripted(run: RunConfig, losses: tuple[float, ...], max_epochs: int = 20, **optim: Any) -> tuple[Run, Any]:
    """Early stopping on those losses: the run and its outcome."""
    limits = RegimeConfig("early_stopping", patience=3, max_epochs=max_epochs)
    run = replace(run, regime=limits, optim=replace(run.optim, **{"schedule": "constant"} | optim))
    dataset = splits.load(run.data, CPU)
    part = dataset.train.take(splits.subset(dataset.train.labels, 100, run.seed))
    with seeding.global_stream(run.seed, "init", CPU):
        model = models.build(run.model, (1, 28, 28), 10)
    with seeding.global_stream(run.seed, "dropout", CPU):
        size = model_size.measure(run.model, (1, 28, 28), 10)
        trained = Scripted(run, chosen(model, part, run.optim), dataset, size, 100)
        trained.script = losses
        return trained, EarlyStopping(run, 1).train(trained)


def test_it_stops_exactly_when_the_losses_say_so(run: RunConfig) -> None:
    trained, outcome = scripted(run, (5.0, 4.0, 4.5, 3.0, 3.1, 3.0, 3.2, 1.0))
    assert trained.spent == 700  # three evaluations after the best, the fourth; the eighth never comes
    assert (outcome.n_seen, outcome.steps, outcome.flags) == (400, 4 * 4, ())
    # The weights are those after the fourth pass: the same run cut there has them, too.
    cut, at_cap = scripted(run, (5.0, 4.0, 4.5, 3.0), max_epochs=4)
    assert at_cap.flags == ("undertrained",)
    for key, value in trained.engine.model.state_dict().items():
        assert torch.equal(value, cut.engine.model.state_dict()[key])


def test_the_cap_marks_a_run_undertrained_even_if_it_got_worse(run: RunConfig) -> None:
    trained, outcome = scripted(run, (5.0, 4.0, 4.5, 4.6), max_epochs=4)
    assert outcome.flags == ("undertrained",)
    assert (outcome.n_seen, trained.spent) == (200, 400)


def test_the_decay_starts_at_the_best_weights_and_counts_if_it_is_better(run: RunConfig) -> None:
    losses = (5.0, 3.0, 4.0, 4.0, 4.0)
    decay = {"schedule": "wsd", "decay": 0.5}
    trained, better = scripted(run, (*losses, 2.9, 2.8), **decay)
    assert trained.spent == 700  # 2 passes, 3 of patience, and as many again as the best had: 2
    assert better.n_seen == 400
    trained, worse = scripted(run, (*losses, 3.1, 3.2), **decay)
    assert (worse.n_seen, trained.spent) == (200, 700)


def test_early_stopping_on_real_images(run: RunConfig) -> None:
    run = replace(under(run, "early_stopping"), data=replace(run.data, max_eval=None))
    result = loop.train_model(replace(run, regime=replace(run.regime, max_epochs=60)))
    once = loop.train_model(replace(run, regime=RegimeConfig()))
    assert result.val_loss is not None
    assert once.val_loss is not None
    assert result.val_loss < 0.8 * once.val_loss
    assert result.flags == ""
    best = min(result.curve, key=lambda point: point[1])
    assert result.n_seen == best[0] == round(result.epochs * 781)
    assert result.val_loss == pytest.approx(best[1], rel=1e-5)  # the weights that were scored are the best ones
    assert result.epochs_spent is not None
    assert result.epochs_spent >= result.epochs + 2
    assert result.flops_spent == round(result.epochs_spent * 781) * (once.flops // 781)
    assert {point[3] for point in result.curve} == {"constant", "decay"}


# One run, many data sizes


def test_a_branch_is_the_run_that_was_decayed_alone(run: RunConfig) -> None:
    """Every branch against a model trained by hand on its D images alone, with dropout: the same bits."""
    run = under(run, "wsd", decay=0.3, warmup=0.2)
    result = loop.train_model(run)
    assert [b["branch"] for b in result.branches] == [0.25, 0.5, 1.0]
    sizes = [195, 390, 781]
    dataset = splits.load(run.data, CPU)
    warm = 0.2 * ceil(195 / 32)
    for size, branch in zip(sizes, result.branches, strict=True):
        # The nested subset of this size, in the order that the run had.
        part = dataset.train.take(splits.subset(dataset.train.labels, size, run.seed))
        order = in_stretches(sizes, seeding.generator(run.seed, "order"))[:size]
        assert sorted(order.tolist()) == list(range(size))
        with seeding.global_stream(run.seed, "init", CPU):
            model = models.build(run.model, (1, 28, 28), 10)
        with seeding.global_stream(run.seed, "dropout", CPU):
            engine = chosen(model.train(), part, run.optim)
            batches = order.split(32)
            for i, rows in enumerate(batches):
                progress = (i + 0.5) / len(batches)
                factor = min(1.0, (i + 0.5) / warm)
                if progress > 1 - 0.3:
                    factor = fall((progress - (1 - 0.3)) / 0.3, "sqrt")
                engine.step(rows, run.optim.lr * factor)
        assert scoring.evaluate(model, dataset.validation.head(500))[0] == branch["val_loss"]
        assert (branch["n_train"], branch["n_seen"], branch["steps"]) == (size, size, len(batches))
        assert branch["flops"] == size * (result.flops // result.n_seen)


def test_what_branches_cost_adds_up_to_what_was_run(run: RunConfig) -> None:
    result = loop.train_model(under(run, "wsd"))
    assert sum(b["flops_spent"] for b in result.branches) == result.flops_spent
    expected = regimes.build(under(run, "wsd"), 1).n_seen(781)
    assert result.flops_spent is not None
    assert result.flops_spent / (result.flops // result.n_seen) == pytest.approx(expected, rel=0.1)  # whole batches
    assert result.flops_spent < 0.8 * sum(b["flops"] for b in result.branches)
    assert result.val_loss == pytest.approx(torch.tensor([b["val_loss"] for b in result.branches]).log().mean().exp())


def test_a_run_to_an_earlier_branch_gives_the_same_branches(run: RunConfig) -> None:
    whole = loop.train_model(under(run, "wsd"))
    config = under(run, "wsd")
    short = loop.train_model(replace(config, regime=replace(config.regime, last=0.5)))
    assert short.branches == whole.branches[:2]
    assert short.n_train == 390


# What every regime shares


@pytest.mark.parametrize("name", REGIMES)
def test_pruning_stops_any_regime(run: RunConfig, name: str) -> None:
    run = replace(under(run, name), reports=ReportsConfig(cost=1.0, least=10), trial=TrialConfig(stage="trial"))
    told: list[int] = []

    def stop(number: int, loss: float) -> bool:
        told.append(number)
        return number == 2

    result = loop.train_model(run, stop)
    assert (result.state, result.val_loss, told) == (PRUNED, None, [1, 2])
    assert result.flops_spent is not None
    whole = loop.train_model(run)
    assert 0 < result.flops_spent < (whole.flops_spent or 0)
    if name == "wsd":
        assert result.branches == whole.branches[:2]  # what was finished before is kept


@pytest.mark.parametrize("name", REGIMES)
def test_reports_and_curves_change_no_bit(run: RunConfig, name: str) -> None:
    run = under(run, name)
    silent = loop.train_model(run)
    watched = replace(run, reports=ReportsConfig(cost=1.0, least=10), curve=CurveConfig(points=4, images=50))
    result = loop.train_model(watched, lambda number, loss: False)
    assert result.reports
    assert result.curve
    assert replace(result, reports=(), curve=()) == replace(silent, curve=())


@pytest.mark.parametrize("name", REGIMES)
def test_mup_works_in_any_regime(run: RunConfig, name: str) -> None:
    run = under(replace(run, model=replace(run.model, width=4, base_width=4)), name)
    standard = loop.train_model(run)
    assert standard.state == COMPLETE
    # At the base width the two are one computation; elsewhere they are not.
    assert loop.train_model(replace(run, model=replace(run.model, parametrization="mup"))) == standard
    other = loop.train_model(replace(run, model=replace(run.model, parametrization="mup", base_width=2)))
    assert other.val_loss != standard.val_loss


def test_a_curve_is_log_spaced_to_the_end(run: RunConfig) -> None:
    run = replace(run, optim=replace(run.optim, schedule="constant", batch_size=4), curve=CurveConfig(points=7))
    curve = loop.train_model(run).curve
    assert [point[0] for point in curve] == pytest.approx([781 * 2 ** (k - 6) for k in range(7)], abs=4)
    assert [point[3] for point in curve] == ["warmup"] * 2 + ["constant"] * 5
    assert curve[-1][0] == 781
    assert curve[-1][1] < curve[0][1]


def test_cost_grows_with_what_a_regime_runs(run: RunConfig) -> None:
    costs = {name: cost.cost(under(run, name)) for name in REGIMES}
    assert costs["single_epoch"] < costs["wsd"] < costs["repeat"] < costs["early_stopping"]


def test_a_step_has_the_rate_of_its_middle() -> None:
    """Four steps of a cosine, whose factors at 1/8, 3/8, 5/8 and 7/8 of the run are (1 + cos(pi p)) / 2."""
    rates: list[float] = []
    optim = OptimConfig(schedule="cosine", warmup=0.0, batch_size=16)
    run: Any = SimpleNamespace(
        n_train=64, batch_size=16, device=CPU, seen=64, steps=4, order=torch.Generator, check=lambda: None,
        step=lambda rows, rate: rates.append(rate), report_if_due=lambda *_: None,
        add_curve_point_if_due=lambda *_: None,
    )  # fmt: skip
    regimes.build(RunConfig(optim=optim), 1).train(run)
    assert rates == pytest.approx([(1 + cos(pi * p)) / 2 for p in (1 / 8, 3 / 8, 5 / 8, 7 / 8)])
