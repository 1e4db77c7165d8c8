import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_system.model.errors import Invalid
from ops_system.model.manifest import Health, HealthOverride, Manifest, RestartOverride
from ops_system.model.manifest_rules import MAX_PROBLEMS, SIGNALS, find_warnings, merge_overrides, parse_manifest
from ops_system.model.manifest_schema import json_schema
from ops_system.model.quantities import DURATION_PATTERN, parse_duration_s
from ops_system.packtool.schema import schema_text

GOOD = {"name": "web", "version": "1.4.0", "entrypoint": "bin/app"}
FULL = {
    "schema": 1,
    **GOOD,
    "description": "\u2026",
    "os": "linux",
    "arch": "amd64",
    "args": ["-c", "config.yaml", "--port", "${port.http}"],
    "env": {"MODE": "release", "HOME_DIR": "${instance.dir}/home"},
    "stop_entrypoint": "bin/stop.sh",
    "stop_args": ["now"],
    "log_paths": {"Access Log": "logs/access.log"},
    "ports": {"http": 8080},
    "health": {
        "type": "http",
        "target": "http://127.0.0.1:${port.http}/health",
        "interval": "10s",
        "timeout": "3s",
        "failures": 3,
        "start_timeout": "60s",
    },
    "restart": {
        "policy": "always",
        "delay": "1s",
        "max_delay": "60s",
        "max_restarts": 5,
        "window": "10m",
        "success_codes": [0, 143],
    },
    "stop": {"signal": "SIGINT", "timeout": "10s"},
    "limits": {
        "memory": "512MB",
        "cpu_percent": 100,
        "pids": 256,
        "nofile": 4096,
        "nice": 5,
        "umask": "027",
        "no_new_privs": True,
    },
    "user": "www-data",
    "hooks": {
        "pre_start": ["bin/migrate", "--now"],
        "post_stop": ["sh", "-c", "rm -f ${TMP}"],
        "reload": ["bin/app", "--reload"],
    },
    "is_external": False,
    "external_work_dir": "",
    "pid_strategy": "spawn",
    "process_name": "",
    "pid_file": "",
}


def parse(**changes):
    return parse_manifest(json.dumps({**GOOD, **changes}).encode())


def problems_of(data):
    with pytest.raises(Invalid) as caught:
        parse_manifest(data if isinstance(data, bytes) else json.dumps(data).encode())
    assert caught.value.message.isprintable()
    return caught.value.details["problems"]


def test_the_contracts_example_is_read_whole():
    manifest = parse_manifest(json.dumps(FULL).encode())
    assert msgspec.json.decode(msgspec.json.encode(manifest)) == FULL
    assert find_warnings(manifest) == []


def test_the_least_is_three_keys():
    assert parse().health == Health()
    assert parse_manifest(b'\xef\xbb\xbf{"name": "a", "version": "1", "is_external": true}').entrypoint == ""


def test_every_problem_is_told_at_once():
    found = problems_of(
        b"""{"name": "a b", "verson": "1", "entrypoint": "../x", "args": [1, "${foo}", "ok"], "env": {"A-B": "x", "X": "${env.Y}"},
        "ports": {"http": 70000, "x": "80", "bad name": 1}, "health": {"type": "htp", "interval": "5x", "failures": 0, "extra": 1},
        "restart": {"delay": "2m", "success_codes": [0, -1]}, "stop": {"signal": "TERM", "timeout": "soon"}, "is_external": 1,
        "limits": {"memory": "0", "pids": null, "nofile": 0}, "log_paths": {"stdout": "/var/log/x"}, "hooks": "none", "os": "Linux"}"""
    )
    assert {problem.split(": ")[0] for problem in found} == {
        "$.name", "$.verson", "$.version", "$.entrypoint", "$.args[0]", "$.args[1]", "$.env.A-B", "$.env.X", "$.ports.http",
        "$.ports.x", "$.ports.bad name", "$.health.type", "$.health.interval", "$.health.failures", "$.health.extra",
        "$.restart.max_delay", "$.restart.success_codes[1]", "$.stop.signal", "$.stop.timeout", "$.is_external",
        "$.limits.memory", "$.limits.nofile", "$.log_paths.stdout", "$.hooks", "$.os",
    }  # fmt: skip
    assert '$.verson: unknown key; did you mean "version"?' in found
    assert '$.os: must be one of any, darwin, linux, windows; did you mean "linux"?' in found


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no valid JSON at line 1, column 1"),
        (b'{\n "name": }', "no valid JSON at line 2, column 10"),
        (b"[]", "must be an object, not a list"),
        (b"null", "must be an object, not null"),
        (b"\xff", "not UTF-8 text at byte 0"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b" " * 1_048_577, "larger than 1048576 bytes"),
        (b'{"name": "a", "name": "b", "version": "1", "entrypoint": "x"}', 'the key "name" stands twice'),
        (b'{"name": "a", "version": "1", "entrypoint": "x", "\\ud800\\n": 1}', "unknown key"),
        (b'{"name": "a", "version": "1", "entrypoint": "x", "args": ["a\\u0000b"]}', "$.args[0]: contains NUL"),
        (b'{"name": "a", "version": "1", "entrypoint": "x", "args": ["\\ud800"]}', "half of a surrogate pair"),
        (b'{"name": "a", "version": "1", "entrypoint": "x", "schema": 99999999999999999999}', "too large a number"),
        (
            b'{"name": "a", "version": "1", "entrypoint": "x", "schema": true}',
            "must be a whole number, not true or false",
        ),
        (b'{"name": "a", "version": "1", "entrypoint": "x", "schema": 1.0}', "must be a whole number, not a number"),
    ],
)
def test_a_text_that_is_no_manifest(data, words):
    assert words in "\n".join(problems_of(data))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"schema": 2}, "$.schema"),
        ({"name": ""}, "$.name"),
        ({"name": "-a"}, "$.name"),
        ({"name": "a" * 65}, "$.name"),
        ({"version": "1\n"}, "$.version"),
        ({"description": "x" * 5000}, "$.description"),
        ({"entrypoint": ""}, "$.entrypoint"),
        ({"entrypoint": "/bin/sh"}, "$.entrypoint"),
        ({"entrypoint": "bin\\app.exe"}, "$.entrypoint"),
        ({"entrypoint": "a/../../b"}, "$.entrypoint"),
        ({"entrypoint": "${instance.dir}/x"}, "$.entrypoint"),
        ({"entrypoint": "C:/x"}, "$.entrypoint"),
        ({"stop_entrypoint": "../stop"}, "$.stop_entrypoint"),
        ({"stop_args": ["x"]}, "$.stop_args"),
        ({"args": ["${port.http"]}, "$.args[0]"),
        ({"hooks": {"pre_start": ["", "x"]}}, "$.hooks.pre_start[0]"),
        ({"env": {"OPS_INSTANCE": "x"}}, "$.env.OPS_INSTANCE"),
        ({"env": {"": "x"}}, "$.env."),
        ({"env": {"A": 1}}, "$.env.A"),
        ({"ports": {"a": 0}}, "$.ports.a"),
        ({"ports": {"a.b": 1}}, "$.ports.a.b"),
        ({"log_paths": {"a/b": "x"}}, "$.log_paths.a/b"),
        ({"log_paths": {"a": ""}}, "$.log_paths.a"),
        ({"log_paths": {"a": "../../etc/shadow"}}, "$.log_paths.a"),
        ({"user": "a b"}, "$.user"),
        ({"user": "root\n"}, "$.user"),
        ({"health": {"type": "http"}}, "$.health.target"),
        ({"health": {"type": "http", "target": "127.0.0.1/x"}}, "$.health.target"),
        ({"health": {"type": "http", "target": "file:///etc/passwd"}}, "$.health.target"),
        ({"health": {"type": "http", "target": "http://[::1"}}, "$.health.target"),
        ({"health": {"type": "tcp", "target": "localhost"}}, "$.health.target"),
        ({"health": {"type": "tcp", "target": "http://localhost:1"}}, "$.health.target"),
        ({"health": {"type": "command", "target": "sh -c 'x"}}, "$.health.target"),
        ({"health": {"type": "command", "target": " "}}, "$.health.target"),
        ({"health": {"interval": "0s"}}, "$.health.interval"),
        ({"health": {"timeout": "3"}}, "$.health.timeout"),
        ({"restart": {"delay": "5m"}}, "$.restart.max_delay"),
        ({"restart": {"max_restarts": -1}}, "$.restart.max_restarts"),
        ({"stop": {"signal": "sigterm"}}, "$.stop.signal"),
        ({"limits": {"memory": "lots"}}, "$.limits.memory"),
        ({"limits": {"cpu_percent": 0}}, "$.limits.cpu_percent"),
        ({"limits": {"nice": -21}}, "$.limits.nice"),
        ({"limits": {"nice": 20}}, "$.limits.nice"),
        ({"limits": {"umask": "27"}}, "$.limits.umask"),
        ({"limits": {"umask": "0888"}}, "$.limits.umask"),
        ({"limits": {"no_new_privs": "yes"}}, "$.limits.no_new_privs"),
        ({"pid_strategy": "match"}, "$.process_name"),
        ({"pid_strategy": "pidfile"}, "$.pid_file"),
        ({"pid_strategy": "pidfile", "pid_file": "/run/x.pid"}, "$.pid_file"),
        ({"pid_strategy": "pid"}, "$.pid_strategy"),
        ({"external_work_dir": "/srv"}, "$.external_work_dir"),
        ({"is_external": True, "external_work_dir": "srv"}, "$.external_work_dir"),
    ],
)
def test_one_wrong_value_is_one_problem_at_its_path(changes, path):
    found = problems_of({**GOOD, **changes})
    assert len(found) == 1
    assert found[0].startswith(f"{path}: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"entrypoint": "./run.sh"},
        {"health": {"type": "tcp", "target": "[::1]:${port.x}"}},
        {"health": {"type": "tcp", "target": "${node.ip}:80"}},
        {"health": {"type": "http", "target": "http://${node.ip}:${port.http}/a?b=${env.C}"}},
        {"health": {"type": "command", "target": "bin/check 'a b'"}},
        {"pid_strategy": "pidfile", "pid_file": "run/x.pid"},
        {"pid_strategy": "match", "process_name": "java"},
        {
            "is_external": True,
            "entrypoint": "/usr/sbin/nginx",
            "external_work_dir": "/",
            "pid_strategy": "pidfile",
            "pid_file": "/run/nginx.pid",
            "log_paths": {"Access": "/var/log/nginx/access.log"},
        },
        {"is_external": True, "external_work_dir": "C:\\srv", "pid_strategy": "pid"},
        {"user": "DOMAIN\\svc"},
        {"limits": {"memory": None}},
        {"args": ["$$5", "$HOME", "${env.X}"]},
    ],
)
def test_what_is_right_passes(changes):
    parse(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"args": ["${port.web}"]}, "${port.web} is not among ports"),
        ({"health": {"target": "x"}}, "looks at no target"),
        ({"process_name": "x"}, 'only pid_strategy "match"'),
        ({"pid_file": "x"}, 'only pid_strategy "pidfile"'),
    ],
)
def test_what_is_odd_is_a_warning(changes, words):
    assert words in find_warnings(parse(**changes))[0]


def test_a_flood_of_problems_is_cut():
    found = problems_of({**GOOD, **{f"key{number}": 1 for number in range(5000)}})
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == "\u2026 and 4900 more"


# --- overrides -------------------------------------------------------------------------------------------------------
def test_overrides_replace_args_and_merge_the_rest():
    base = parse_manifest(json.dumps(FULL).encode())
    merged = merge_overrides(
        base,
        args=["-v"],
        env={"MODE": "debug", "NEW": "1"},
        ports={"http": 9090, "admin": 9091},
        health=HealthOverride(interval="2s"),
        restart=RestartOverride(policy="never"),
    )
    assert merged.args == ("-v",)
    assert merged.env == {"MODE": "debug", "HOME_DIR": "${instance.dir}/home", "NEW": "1"}
    assert merged.ports == {"http": 9090, "admin": 9091}
    assert (merged.health.interval, merged.health.type) == ("2s", "http")
    assert (merged.restart.policy, merged.restart.success_codes) == ("never", (0, 143))
    assert merge_overrides(base) == base
    assert merge_overrides(base, args=()).args == ()


def test_a_whole_probe_replaces_the_packages():
    base = parse_manifest(json.dumps(FULL).encode())
    assert merge_overrides(base, health=Health()).health == Health()


def test_overrides_are_judged_like_a_manifest():
    with pytest.raises(Invalid) as caught:
        merge_overrides(parse(), ports={"a": 0}, env={"1": "x"}, args=["${x}"], health=HealthOverride(type="tcp"))
    assert len(caught.value.details["problems"]) == 4


def test_an_override_on_the_wire_has_only_what_it_sets():
    text = msgspec.json.encode(HealthOverride(failures=1))
    assert text == b'{"failures":1}'
    assert msgspec.json.decode(text, type=HealthOverride) == HealthOverride(failures=1)


# --- schema ----------------------------------------------------------------------------------------------------------
def test_the_schema_in_docs_is_the_codes():
    text = (Path(__file__).parents[3] / "docs" / "service.schema.json").read_text(encoding="utf-8")
    assert text == schema_text(), "stale: run python -m ops_system.packtool.schema docs/service.schema.json"


def test_the_schema_explains_every_key():
    schema = json_schema()
    for part in (schema, *schema["$defs"].values()):
        assert all(field.get("description") for field in part["properties"].values())
    assert schema["$defs"]["Stop"]["properties"]["signal"]["enum"] == list(SIGNALS)
    assert schema["required"] == ["name", "version"]


@given(st.text(alphabet="0123456789.msh d", max_size=6))
def test_the_schemas_durations_are_the_parsers(text):
    if re.fullmatch(DURATION_PATTERN, text) and "d" not in text:
        assert parse_duration_s(text) >= 0
    elif text == text.strip() and "d" not in text:
        with pytest.raises(Invalid):
            parse_duration_s(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from([field.name for field in msgspec.structs.fields(Manifest)]) | st.text(max_size=4), JSON
    )
)
def test_any_document_is_read_or_refused_with_problems(document):
    data = json.dumps(document).encode()
    try:
        manifest = parse_manifest(data)
    except Invalid:
        found = problems_of(data)
        assert found
        assert all(problem.startswith("$") for problem in found)
    else:
        assert parse_manifest(msgspec.json.encode(manifest)) == manifest
