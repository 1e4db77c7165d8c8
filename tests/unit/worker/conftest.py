from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.mastersend import MastersEnd


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[MastersEnd]:
    end = MastersEnd(tmp_path)
    await end.start()
    yield end
    await end.stop()
