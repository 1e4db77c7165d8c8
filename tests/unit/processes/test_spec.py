import msgspec
import pytest

from ops_system.model.errors import Invalid
from ops_system.model.ids import InstanceId, ModuleId, SystemId
from ops_system.model.instances import ConfigFile, Desired, InstanceSpec
from ops_system.model.manifest import Health, Hooks, Limits, Manifest, Restart, Stop
from ops_system.processes.spec import needs_new_files, needs_new_start, resolve
from tests.fakes.processes import make_spec, rewish

VALUES = {"port.http": "8080", "instance.dir": "/w/i1", "node.name": "n1"}


def instance(**service):
    manifest = Manifest(name="web", version="1.0", entrypoint="bin/app", **service)
    return InstanceSpec(InstanceId("i1"), 1, Desired.RUNNING, SystemId("s"), ModuleId("m"), "web", None, manifest)


def test_placeholders_are_expanded_and_quantities_read():
    run = resolve(
        instance(
            args=("--port", "${port.http}", "--mode", "${env.MODE}"),
            env={"MODE": "on-${node.name}"},
            health=Health("http", "http://127.0.0.1:${port.http}/", "250ms", "1s", 2, "1m"),
            restart=Restart(delay="2s", window="1h"),
            stop=Stop("SIGINT", "30s"),
            limits=Limits(memory="50MiB", nofile=100),
            hooks=Hooks(pre_start=("sh", "-c", "echo ${HOME}")),
        ),
        VALUES,
    )
    assert run.args == ("--port", "8080", "--mode", "on-n1")
    assert run.env == {"MODE": "on-n1"}
    assert (run.probe.target, run.probe.interval_s, run.probe.start_timeout_s) == ("http://127.0.0.1:8080/", 0.25, 60)
    assert (run.restart.delay_s, run.restart.window_s, run.stop.timeout_s) == (2, 3600, 30)
    assert run.limits.memory_bytes == 50 * 1024 * 1024
    assert run.pre_start == ("sh", "-c", "echo ${HOME}")


def test_all_faults_are_told_at_once_with_their_paths():
    bad = instance(
        args=("${port.nope}",),
        env={"A": "${nope}"},
        stop=Stop(timeout="soon"),
        limits=Limits(memory="much"),
        health=Health("command", "sh -c 'open"),
    )
    with pytest.raises(Invalid) as caught:
        resolve(bad, VALUES)
    paths = [problem.partition(":")[0] for problem in caught.value.details["problems"]]
    assert paths == ["env.A", "args[0]", "health.target", "stop.timeout", "limits.memory"]


def test_only_what_is_launched_needs_a_new_start():
    spec = make_spec()
    assert not needs_new_start(spec, rewish(spec, Desired.STOPPED, restart_seq=4))
    assert needs_new_start(spec, make_spec(env={"A": "1"}))
    assert needs_new_start(spec, make_spec(argv=("/bin/true",)))


def test_files_alone_need_no_new_start_where_there_is_a_reload_command():
    files = {"config_files": (ConfigFile("a.yaml", "a: 1"),)}
    plain, reloadable = instance(), instance(hooks=Hooks(reload=("true",)))
    for spec, needs in ((plain, True), (reloadable, False)):
        before, after = (resolve(one, VALUES) for one in (spec, msgspec.structs.replace(spec, **files)))
        assert needs_new_start(before, after) is needs
        assert needs_new_files(before, after)
    other = msgspec.structs.replace(instance(hooks=Hooks(reload=("true",)), env={"A": "2"}), **files)
    assert needs_new_start(resolve(reloadable, VALUES), resolve(other, VALUES))
