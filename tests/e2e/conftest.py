"""One master and one worker for the tests of a module, and Debian's software packed once a session."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.debian import nginx_folder, redis_folder
from tests.fakes.fleet import Fleet, free_port, pack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    """A running master and a worker `w1`."""
    with Fleet(tmp_path_factory.mktemp("fleet")) as running:
        running.start_master()
        running.start_worker("w1")
        yield running


@pytest.fixture
def node_id(fleet: Fleet) -> str:
    return next(node["id"] for node in fleet.get("/nodes")["items"] if node["name"] == "w1")


@pytest.fixture(scope="session")
def needs_debian() -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get: Debian's own software cannot be fetched here")


@pytest.fixture(scope="session")
def redis_zip(needs_debian, tmp_path_factory) -> tuple[Path, int]:
    """Debian's redis as a package, and the port it listens on."""
    scratch = tmp_path_factory.mktemp("redis")
    port = free_port()
    return pack(redis_folder(scratch, port=port), scratch / "redis.zip"), port


@pytest.fixture(scope="session")
def nginx_zip(needs_debian, tmp_path_factory) -> tuple[Path, int]:
    """Debian's nginx as a package, and the port it listens on."""
    scratch = tmp_path_factory.mktemp("nginx")
    port = free_port()
    return pack(nginx_folder(scratch, port=port), scratch / "nginx.zip"), port


@pytest.fixture(scope="session")
def example_zips(tmp_path_factory) -> dict[str, Path]:
    """The three examples as packages."""
    scratch = tmp_path_factory.mktemp("examples")
    folders = [folder for folder in sorted((ROOT / "examples").iterdir()) if (folder / "service.json").is_file()]
    return {folder.name: pack(folder, scratch / f"{folder.name}.zip") for folder in folders}


@contextlib.contextmanager
def fresh_fleet(folder: Path) -> Iterator[Fleet]:
    with Fleet(folder) as running:
        running.start_master()
        yield running
