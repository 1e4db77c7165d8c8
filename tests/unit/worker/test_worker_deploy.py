import os
from pathlib import Path

import aiohttp
import msgspec
import pytest

from ops_system.model.instances import ConfigFile, InstanceSpec
from ops_system.model.manifest import Manifest
from ops_system.processes.spec import PrepareFailed, RunSpec
from ops_system.runtime.config import build
from ops_system.worker.config import SCHEMA
from ops_system.worker.deploy import Deployer, NodeFacts
from ops_system.worker.fetch import PackageStore
from ops_system.worker.policy import Policy, is_root
from ops_system.worker.transfer import Source
from tests.fakes.mastersend import MastersEnd
from tests.fakes.packages import SLEEPER, make_zip, service_json
from tests.fakes.wishes import wish

FILES = {"run.sh": SLEEPER, "bin/stop": "#!/bin/sh\n"}


async def token() -> str:
    return "session"


@pytest.fixture
async def deployer(master: MastersEnd, tmp_path: Path) -> Deployer:
    url = master.url
    packages = PackageStore(tmp_path, Source(lambda: aiohttp.ClientSession(url), token), master.signing_public_key)
    policy = Policy(build(SCHEMA).policy)
    facts = NodeFacts("node_1", "n1", "192.0.2.7")
    return Deployer(tmp_path, packages, policy, facts=lambda: facts)


def spec(master: MastersEnd, config: tuple[ConfigFile, ...] = (), **manifest: object) -> InstanceSpec:
    ref = master.add_package("web", "1.0.0", make_zip(FILES))
    service = msgspec.convert(service_json(**manifest), Manifest)
    return wish(package=ref, service=service, config_files=config)


async def prepare(deployer: Deployer, run: RunSpec):
    return await deployer.prepare(run, lambda _progress: None)


async def test_every_placeholder_has_its_value(master: MastersEnd, deployer: Deployer, tmp_path: Path) -> None:
    words = "${port.http} ${instance.id} ${instance.dir} ${node.id} ${node.name} ${node.ip} ${env.MODE} $$x"
    run = deployer.resolve(spec(master, args=[words], ports={"http": 8080}, env={"MODE": "on-${node.name}"}))
    folder = tmp_path / "instances/inst_1"
    prepared = await prepare(deployer, run)
    assert prepared.argv == (
        str(folder / "run.sh"),
        f"8080 inst_1 {folder} node_1 n1 192.0.2.7 on-n1 $x",
    )
    assert prepared.env == {"MODE": "on-n1"}
    assert prepared.version == "1.0.0"
    assert Path(prepared.log_dir).is_dir()
    assert os.access(folder / "run.sh", os.X_OK)


async def test_an_unknown_placeholder_is_told_when_it_is_prepared(master: MastersEnd, deployer: Deployer) -> None:
    run = deployer.resolve(spec(master, args=["${port.nope}"]))
    with pytest.raises(PrepareFailed) as failed:
        await prepare(deployer, run)
    assert failed.value.reason.code == "unknown_placeholder"
    assert failed.value.reason.params == {"name": "port.nope"}
    await prepare(deployer, deployer.resolve(spec(master)))  # mended by a better wish


async def test_an_unknown_placeholder_in_a_config_file(master: MastersEnd, deployer: Deployer, tmp_path: Path) -> None:
    run = deployer.resolve(spec(master, config=(ConfigFile("app.ini", "x=${env.NOPE}"),)))
    with pytest.raises(PrepareFailed, match=r"app\.ini") as failed:
        await prepare(deployer, run)
    assert failed.value.reason.params == {"name": "env.NOPE"}
    assert not (tmp_path / "instances/inst_1/app.ini").exists()


async def test_the_stop_entrypoint_is_checked_and_made_executable(
    master: MastersEnd, deployer: Deployer, tmp_path: Path
) -> None:
    prepared = await prepare(deployer, deployer.resolve(spec(master, stop_entrypoint="./bin/stop", stop_args=["now"])))
    assert prepared.stop_argv == (str(tmp_path / "instances/inst_1/bin/stop"), "now")
    assert os.access(prepared.stop_argv[0], os.X_OK)
    with pytest.raises(PrepareFailed) as failed:
        await prepare(deployer, deployer.resolve(spec(master, stop_entrypoint="/bin/sh")))
    assert failed.value.reason.code == "entrypoint_missing"


async def test_preparing_again_keeps_what_the_service_changed(
    master: MastersEnd, deployer: Deployer, tmp_path: Path
) -> None:
    run = deployer.resolve(spec(master))
    await prepare(deployer, run)
    changed = tmp_path / "instances/inst_1/bin/stop"
    changed.write_text("edited by the service")
    await prepare(deployer, run)
    assert changed.read_text() == "edited by the service"
    assert len(master.ranges) == 1


async def test_removal_takes_the_packages_nobody_needs_along(
    master: MastersEnd, deployer: Deployer, tmp_path: Path
) -> None:
    run = deployer.resolve(spec(master))
    await prepare(deployer, run)
    await deployer.remove(run)
    await deployer.remove(run)
    assert not (tmp_path / "instances/inst_1").exists()


def test_root_is_told_from_others() -> None:
    assert is_root("root")
    assert not is_root("nobody")
    assert not is_root("no-such-user")
    assert is_root("") is (os.geteuid() == 0)
