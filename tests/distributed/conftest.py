from __future__ import annotations

import pandas as pd
import pytest

from tests.distributed import study


@pytest.fixture(scope="session")
def undisturbed(data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The rows of the study without a cluster, made once for all of them."""
    return study.rows_of_one_machine(tmp_path_factory.mktemp("one_machine"), data_dir)
