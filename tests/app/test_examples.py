"""The worked examples of examples/, each as its own command, with few cells and few runs."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Command

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
FEW = ("-m", "hydra/sweeper=cells", "name=few", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_repeats=1")


@pytest.mark.parametrize(
    ("script", "sweep", "losses"),
    [
        (
            "char_lm/train.py",
            ("model.width=8,16", "data.tokens=16384", "optim.lr=tag(nuisance,choice(3e-3,1e-2))"),
            4.2,
        ),
        ("digits/train.py", ("units=4,16", "n=400", "alpha=tag(nuisance,log,interval(1e-5,1))"), 1.9),
    ],
)
def test_an_application_is_tuned_cell_by_cell(
    script: str, sweep: tuple[str, ...], losses: float, tmp_path: Path, command: Command
) -> None:
    done = command(str(EXAMPLES / script), *FEW, *sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = pd.read_csv(tmp_path / "multirun/few/cells.csv")
    assert cells["n_repeats"].tolist() == [1, 1]
    assert cells["n_params"].is_monotonic_increasing
    assert cells["test_loss"].max() < losses
    assert cells["test_loss"].is_monotonic_decreasing


def test_a_plain_function_is_tuned_without_hydra(tmp_path: Path, command: Command) -> None:
    code = (
        "import plain_function\nif __name__ == '__main__':\n    study = plain_function.study()\n"
        "    study.axes = {'terms': [4, 6, 8], 'n': [400]}\n    study.effort.update(n_trials=2, n_repeats=1)\n"
        "    print(study.run(workers=1)['test_loss'].tolist())\n"
    )
    (tmp_path / "few.py").write_text(code, encoding="utf-8")
    path = f"{EXAMPLES}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = command("few.py", PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    small, _, large = eval(done.stdout.splitlines()[-1])
    assert 0.0003 < large < small < 0.01
    # It measures no FLOPs, and neither command may need them.
    for program, *more in (("fit", "laws=[power_N]", "bootstrap.draws=20"), ("report",)):
        done = command(f"mnist_scaling.{program}", "name=plain_function", *more)
        assert done.returncode == 0, done.stdout + done.stderr
