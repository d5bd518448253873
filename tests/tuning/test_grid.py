from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import column_of
from mnist_scaling.tuning.cell import partitioning

from .helpers import make_cells

pytestmark = pytest.mark.slow

SPACE = {"optim.lr", "optim.batch_size", "model.dropout"}


@pytest.mark.parametrize(
    ("argument", "role"),
    [
        ("model.width=8,11,16", {"axes": {"model.width": ("8", "11", "16")}}),
        ("data.fraction=1,0.5", {"axes": {"data.fraction": ("1", "0.5")}}),
        ("model.width=range(4,10,2)", {"axes": {"model.width": ("4", "6", "8")}}),
        ("model.width=choice(4,8)", {"axes": {"model.width": ("4", "8")}}),
        ("optim=adam,sgd", {"axes": {"optim": ("adam", "sgd")}}),
        ("+model.new=1,2", {"axes": {"+model.new": ("1", "2")}}),
        ("model.width=8", {"fixed": ("model.width=8",)}),
        ("optim=sgd", {"fixed": ("optim=sgd",)}),
        ("~search_space.model.dropout", {"fixed": ("~search_space.model.dropout",)}),
        # a plain value takes a tuned key out of the space
        ("optim.lr=3e-3", {"fixed": ("optim.lr=3e-3",), "space": {"optim.lr": None}}),
        # any sweep over a key of the space is a range, never an axis
        ("optim.lr=interval(1e-3,1e-1)", {"space": {"optim.lr": "interval(1e-3,1e-1)"}}),
        ("optim.lr=tag(log,interval(1e-3,1e-1))", {"space": {"optim.lr": "tag(log,interval(1e-3,1e-1))"}}),
        ("optim.batch_size=16,32", {"space": {"optim.batch_size": "16,32"}}),
        # the tag adds a dimension
        (
            "optim.momentum=tag(nuisance,choice(0.8,0.9))",
            {"space": {"optim.momentum": "tag(nuisance,choice(0.8,0.9))"}},
        ),
        (
            "optim.momentum=tag(nuisance,interval(0.8,0.9))",
            {"space": {"optim.momentum": "tag(nuisance,interval(0.8,0.9))"}},
        ),
    ],
)
def test_role_of_an_override(argument: str, role: dict[str, object]) -> None:
    parts = partitioning.partition([argument], SPACE)
    assert {"fixed": parts.fixed, "axes": parts.axes, "space": parts.space} == {
        "fixed": (),
        "axes": {},
        "space": {},
    } | role


def test_the_last_override_of_a_key_counts() -> None:
    parts = partitioning.partition(
        ["model.width=8,16", "optim.lr=1e-3", "model.width=4", "optim.lr=interval(1,2)"], SPACE
    )
    assert parts == partitioning.Partition(("model.width=4",), {}, {"optim.lr": "interval(1,2)"})


@pytest.mark.parametrize("argument", ["model.width=interval(4,32)", "data.fraction=tag(log,interval(0.1,1))"])
def test_an_interval_on_an_axis_is_refused_with_both_ways_out(argument: str) -> None:
    key = argument.split("=")[0]
    with pytest.raises(InputError, match=rf"takes a list of values, but got `{key}=.*`{key}=a,b,c`.*nuisance"):
        partitioning.partition([argument], SPACE)


def test_cells_are_the_product_with_readable_names() -> None:
    cells = make_cells("data.fraction=1,0.25", "model.width=8,16")
    assert [cell.name for cell in cells] == [
        "width=8 data_fraction=1",
        "width=16 data_fraction=1",
        "width=8 data_fraction=0.25",
        "width=16 data_fraction=0.25",
    ]
    assert str(cells[0].folder) == "width=8/data_fraction=1"
    assert cells[3].values["model.width"] == 16
    assert cells[3].values["data.fraction"] == 0.25
    assert cells[3].axes == {"width": 16, "data_fraction": 0.25}


def test_order_and_spelling_on_the_command_line_do_not_make_new_cells() -> None:
    one = make_cells("model.width=8,16", "data.fraction=1,0.5")
    other = make_cells("data.fraction=0.50,1.0,1", "model.width=16,8")
    assert {cell.name for cell in one} == {cell.name for cell in other}
    assert len(other) == 4


def test_each_optimiser_brings_its_own_ranges() -> None:
    adam, sgd = make_cells("optim=adam,sgd")
    assert (adam.name, sgd.name) == ("optimizer=adam", "optimizer=sgd")
    assert adam.space["optim.lr"] == FloatDistribution(1e-3, 5e-2, log=True)
    assert sgd.space["optim.lr"] == FloatDistribution(5e-3, 1.0, log=True)
    assert (adam.values["optim.name"], sgd.values["optim.name"]) == ("adam", "sgd")


def test_the_space_follows_the_command_line() -> None:
    (cell,) = make_cells(
        "optim.lr=3e-3",
        "optim.batch_size=16,64",
        "optim.warmup=tag(nuisance,interval(0.0,0.2))",
        "model.depth=tag(nuisance,interval(1,3))",
    )
    assert cell.space == {
        "model.dropout": FloatDistribution(0.0, 0.3),
        "optim.batch_size": CategoricalDistribution((16, 64)),
        "optim.warmup": FloatDistribution(0.0, 0.2),
        "model.depth": IntDistribution(1, 3),
    }
    assert cell.values["optim.lr"] == 3e-3


def test_a_key_of_the_space_can_be_made_an_axis() -> None:
    space = SPACE - {"optim.lr"}  # as `search_space.optim.lr=null` leaves it
    parts = partitioning.partition(["search_space.optim.lr=null", "optim.lr=1e-3,1e-2"], space)
    assert parts.axes == {"optim.lr": ("0.001", "0.01")}
    cells = make_cells("search_space.optim.lr=null", "model.width=4,8")
    assert all("optim.lr" not in cell.space for cell in cells)


def test_axes_are_thinned_with_both_ends() -> None:
    cells = make_cells("model.width=4,6,8,11,16", most=2)
    assert [cell.axes["width"] for cell in cells] == [4, 16]
    cells = make_cells("model.width=4,6,8,11,16", most=3)
    assert [cell.axes["width"] for cell in cells] == [4, 8, 16]


def test_bad_values_are_found_before_anything_runs() -> None:
    with pytest.raises(InputError, match="`model.width >= 1` must hold, but got 0"):
        make_cells("model.width=0,8")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("search_space.optim.lr=0.1", "`search_space.optim.lr` must be a Hydra sweep.*plain value `0.1`"),
        ("search_space.optim.lr='interval(1'", "`search_space.optim.lr` must be a Hydra sweep.*got `interval"),
        ("+search_space.optim.lrr='interval(1,2)'", "`optim.lrr` is not"),
    ],
)
def test_a_broken_search_space_is_explained(argument: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_cells(argument)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("curve.images=10,20", "trial.stage=trial,repeat"), "`trial.stage` would fill `stage`"),
        (("regime.name=single_epoch,repeat", "regime=single_epoch,repeat"), "`regime` and `regime.name` would both"),
        (("model.width=4,8", "seed=tag(nuisance,choice(0,1))"), "`seed` would fill `seed`"),
        (("optim.name=adam,sgd", "+search_space.optimizer=null", "optim=adam,sgd"), "would both fill `optimizer`"),
    ],
)
def test_two_keys_of_one_column_are_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_cells(*arguments)


def test_a_key_named_like_a_measured_column_has_a_column_of_its_own() -> None:
    keys = {"steps": 10, "train.steps": 20, "epochs": 3, "n_params": 5, "seed": 0}
    partitioning.check_axes(keys, ["flops"])
    columns = [column_of(key) for key in keys]
    assert columns == ["config_steps", "train_steps", "config_epochs", "config_n_params", "seed"]


def test_axes_whose_keys_end_alike_have_columns_of_their_own() -> None:
    (cell, *_) = make_cells("optim.name=adam,sgd", "regime.name=single_epoch", "curve.points=0,4", "reports.points=2,3")
    assert set(cell.axes) == {"optimizer", "curve_points", "report_points"}


READ = "data.dir=d${tag}"
"""What reads a key that + adds: one that nothing reads is refused."""


@pytest.mark.parametrize(
    ("arguments", "folders"),
    [
        (["data.dir=../x,/tmp/y"], ["dir=..%2Fx", "dir=%2Ftmp%2Fy"]),
        (["data.dir='a b','a=b','a,b'"], ["dir=a%20b", "dir=a%3Db", "dir=a%2Cb"]),
        (["data.dir='it\\'s','say \"x\"','back\\slash'"], ["dir=it%27s", "dir=say%20%22x%22", "dir=back%5Cslash"]),
        (["data.dir='größe','50%',.,.."], ["dir=gr%C3%B6%C3%9Fe", "dir=50%25", "dir=.", "dir=.."]),
        (["+tag=null,a", READ], ["tag=None", "tag=a"]),
        (["data.max_train=null,1000"], ["max_train=None", "max_train=1000"]),
        (["scale=full,smoke"], ["scale=full", "scale=smoke"]),
    ],
)
def test_any_value_is_one_folder_of_its_own(arguments: list[str], folders: list[str], tmp_path: Path) -> None:
    cells = make_cells(*arguments)
    assert [str(cell.folder) for cell in cells] == folders
    assert [cell.name for cell in cells] == folders
    for cell in cells:  # its name gives the value back, and leads nowhere else
        assert unquote(cell.folder.name.split("=", 1)[1]) == str(*cell.axes.values())
        assert (tmp_path / cell.folder).resolve().parent == tmp_path.resolve()


def test_names_of_two_axes_do_not_run_together() -> None:
    """The values 'x data=y' and 'z' once made the name of 'x' and 'y data=z'."""
    names = {cell.name for cell in make_cells("data.dir='x data=y',x", "data.name=mnist")}
    assert names == {"dir=x%20data%3Dy", "dir=x"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["regime.branches=[0.5],[0.25,0.5]"], "must be a finite number, a word, .* one of `regime.branches` is"),
        (["+tag={a:1},{a:2}", READ], "must be a finite number, a word, .* one of `tag` is"),
        (
            ["data.dir=" + "x" * 300 + ",y"],
            "must be short enough for the name of a folder, 200 bytes, but `dir=xxx.*304",
        ),
        (["data.dir='" + "ß" * 50 + "',y"], "must be short enough for the name of a folder, 200 bytes, but `dir=%C3"),
        (["+tag=a,A", READ], "must differ by more than upper and lower case"),
        (["+tag=1,'1'", READ], "or the type of a value"),
        (["+tag=nan,1", READ], "must be a finite number, .* one of `tag` is nan"),
        (["+tag='NA',a", READ], "must not read as an empty field of a table, but one of `tag` is 'NA'"),
        (["+tag='',a", READ], "must not read as an empty field of a table, but one of `tag` is ''"),
        (
            ["hydra.sweeper.n_trials=1,2"],
            "must be a key of a run, but `hydra.sweeper.n_trials` is one of the whole sweep",
        ),
        (["name=a,b"], "must be a key of a run, but `name` is one of the whole sweep"),
    ],
)
def test_a_value_that_no_table_or_folder_takes_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_cells(*arguments)


def test_settings_hold_what_matters_and_nothing_else() -> None:
    def shared(*arguments: str) -> dict[str, object]:
        (cell,) = make_cells(*arguments)
        return {**cell.settings, **cell.ranges}

    assert make_cells()[0].settings == {}
    assert shared() == shared("data.dir=/elsewhere", "trial.stage=trial")
    assert shared() != shared("threads=2")
    assert shared() != shared("optim.schedule=linear")
    assert make_cells("seed=1")[0].settings == {"seed": 1}
    assert shared() != shared("optim.lr=interval(1e-3,1e-2)")
    assert shared("optim.lr=1e-3") != shared("optim.lr=2e-3")


def test_a_limit_belongs_to_the_ranges_that_a_resume_compares() -> None:
    free, bound = (make_cells(f"optim.batch_size=tag({tags},interval(8,64))")[0] for tags in ("log", "log,limit_low"))
    assert free.space == bound.space
    assert free.ranges != bound.ranges


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("model.dropout=interval(0,1.5)", "`search_space.model.dropout` holds 1.5: `0 <= model.dropout < 1` must hold"),
        ("optim.batch_size=choice(16,sixteen)", "`search_space.optim.batch_size` holds sixteen: it is of another type"),
        ("model.width=range(4,4)", "An axis must have a value, but `model.width=range(4,4)` has none"),
    ],
)
def test_a_value_that_no_run_may_have_is_refused_before_any_trial(argument: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        make_cells(argument)


def test_minus_zero_is_zero() -> None:
    assert [cell.name for cell in make_cells("data.label_noise=0.1,0.0,-0.0")] == ["label_noise=0.1", "label_noise=0"]
