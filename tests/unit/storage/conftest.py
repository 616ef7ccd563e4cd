"""One open storage per test, closed afterwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.storage import Storage
from tests.support.storage_process import opened


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    held = opened(tmp_path / "data")
    yield held
    held.close()
