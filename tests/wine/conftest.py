"""The Wine lane for the tests here: made once, held alone, emptied at the end."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def lane() -> Iterator[ModuleType]:
    """packaging/wine.py with the lane ready."""
    sys.path.insert(0, str(ROOT / "packaging"))
    try:
        module = importlib.import_module("wine")
    finally:
        sys.path.remove(str(ROOT / "packaging"))
    module.LANE.mkdir(parents=True, exist_ok=True)
    with module.alone():
        try:
            module.prepare()
        except module.NoLane as why:
            pytest.skip(str(why))
        yield module
        module.end_server()
