from ops_system.model.ids import InstanceId, ModuleId, SystemId
from ops_system.model.instances import Desired, InstanceSpec
from ops_system.model.manifest import Manifest
from ops_system.processes.base import Launch
from ops_system.processes.spec import PreparedInstance, resolve

SECRET = "hush-81"


def test_no_environment_stands_in_a_log_line():
    """What is logged of a wish, in whatever shape, names it and tells neither environment nor arguments."""
    manifest = Manifest(
        name="web", version="1", entrypoint="run", args=("--key", "${env.API_KEY}"), env={"API_KEY": SECRET}
    )
    spec = InstanceSpec(InstanceId("i1"), 3, Desired.RUNNING, SystemId("s1"), ModuleId("m1"), "web", None, manifest)
    run = resolve(spec, {})
    assert run.args == ("--key", SECRET)
    prepared = PreparedInstance("/w/i1", ("/w/i1/run", *run.args), run.env, "/w/i1/logs")
    launch = Launch(InstanceId("i1"), 1, prepared.argv, prepared.env, "/w/i1", "/w/run", "/w/out", "/w/err")
    told = f"{spec} {run!r} {prepared} {launch}"
    assert SECRET not in told
    assert told.count("i1") >= 4
