import msgspec
import pytest

from ops_system.master.systems.rules import (
    ModulePatch,
    NewModule,
    check_module,
    check_system_name,
    find_cycle,
    new_module,
    patched_module,
    resolve,
    start_waves,
)
from ops_system.model.errors import Invalid
from ops_system.model.systems import ConfigMount


def module(name, order=0, depends_on=(), **fields):
    made = new_module(f"mod_{name}", "sys_1", NewModule(name, "web", "1", start_order=order, **fields), [], None)
    return msgspec.structs.replace(made, depends_on=tuple(f"mod_{other}" for other in depends_on))


def test_dependencies_are_named_or_by_id():
    siblings = [module("db"), module("cache")]
    assert resolve(["db", "mod_cache", "mod_db"], siblings) == ("mod_db", "mod_cache")
    with pytest.raises(Invalid, match="'queue'"):
        resolve(["queue"], siblings)


def test_a_circle_is_shown_by_names():
    a, b, c = module("a", depends_on=["b"]), module("b", depends_on=["c"]), module("c", depends_on=["a"])
    with pytest.raises(Invalid, match=r"a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c"):
        check_module(a, [a, b, c])
    assert find_cycle({"x": ("y",), "y": (), "z": ("x", "y")}) == []
    assert find_cycle({"x": ("x",)}) == ["x", "x"]


def test_every_fault_of_a_module_is_told_at_once():
    bad = module("a/b", replicas=-1, config_mounts=(ConfigMount("../x"), ConfigMount("ok", mode="rw")))
    with pytest.raises(Invalid) as caught:
        check_module(bad, [])
    problems = caught.value.details["problems"]
    assert [problem.split(":")[0] for problem in problems] == [
        "$.name",
        "$.replicas",
        "$.config_mounts[0].path",
        "$.config_mounts[1].mode",
    ]


def test_a_patch_changes_what_it_names_and_null_takes_back():
    old = module("web", replicas=2, env={"A": "1"})
    patch = msgspec.json.decode(b'{"replicas": null, "version": "2"}', type=ModulePatch)
    new = patched_module(old, patch, [])
    assert (new.replicas, new.version, new.env) == (None, "2", {"A": "1"})


def test_waves_follow_order_and_dependencies():
    db, cache = module("db", 10), module("cache", 10)
    app, late = module("app", 1, depends_on=["db"]), module("late", 20)
    waves = [[one.name for one in wave] for wave in start_waves([late, app, db, cache])]
    assert waves == [["cache", "db"], ["app"], ["late"]]


def test_dependencies_outside_the_choice_do_not_block():
    assert len(start_waves([module("app", depends_on=["db"])])) == 1


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "x" * 65, "\u202eevil"])
def test_bad_system_names(name):
    with pytest.raises(Invalid):
        check_system_name(name)


def test_system_names_are_for_people():
    check_system_name("订单 system")
