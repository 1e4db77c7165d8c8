"""`ops` against a real master and real workers: coming in, looking, acting, following."""

import asyncio
import contextlib
import json
import random
import signal
import stat
import sys

import pytest
import yaml

from tests.fakes.clock import FakeClock
from tests.fakes.master import PASSWORD, run_master
from tests.fakes.opscli import Ops
from tests.fakes.packages import make_zip, service_json
from tests.fakes.worker import kill_marked, running_worker, worker_config

WELL = b"#!/bin/sh\necho version $VERSION\nexec sleep 600\n"
AT_ONCE = {"type": "command", "target": "/bin/true", "interval": "1s", "start_timeout": "20s"}


def write_package(folder, version):
    path = folder / f"app-{version}.zip"
    manifest = service_json(name="app", version=version, env={"VERSION": version}, health=AT_ONCE)
    path.write_bytes(make_zip({"run.sh": WELL}, manifest))
    return path


@contextlib.asynccontextmanager
async def fleet(folder, *names):
    """A master with one worker a name, and `ops` logged in by an administrator's token."""
    async with run_master(folder) as master, contextlib.AsyncExitStack() as stack:
        ops = Ops(folder)
        token = await master.create_token("ci", "admin")
        done = await ops("login", master.url, "--token", "-", "--name", "here", stdin=token)
        assert done.code == 0, done.err
        for name in names:
            join = await ops("join-tokens", "create", "--labels", f"name={name}", "-q")
            config = worker_config(folder / name, master.url, join.out.strip(), connect__name=name)
            await stack.enter_async_context(running_worker(config))
        async with asyncio.timeout(20):
            while len((await ops("nodes", "-q", "--status", "online")).lines()) < len(names):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        yield master, ops


async def test_a_service_lives_its_whole_life_from_the_command_line(tmp_path):
    async with fleet(tmp_path, "n1", "n2") as (_, ops):
        for version in ("1.0", "2.0"):
            pushed = await ops("packages", "push", write_package(tmp_path, version))
            assert (pushed.code, f"app {version} is on the master" in pushed.out) == (0, True), pushed
        assert sorted((await ops("packages", "list", "-q")).lines()) == ["app 1.0", "app 2.0"]

        assert (await ops("systems", "create", "shop")).code == 0
        made = await ops("modules", "create", "shop", "web", "app", "1.0")
        assert made.code == 0, made.err
        deployed = await ops("systems", "deploy", "shop")
        assert deployed.code == 0, deployed
        assert "succeeded" in deployed.out

        listed = await ops("instances", "list")
        assert listed.lines()[0].split()[:4] == ["NAME", "NODE", "SYSTEM", "STATE"]
        assert sorted(line.split()[:4] for line in listed.lines()[1:]) == [
            ["web", "n1", "shop", "running"],
            ["web", "n2", "shop", "running"],
        ]
        ids = (await ops("instances", "list", "-q")).lines()
        try:
            assert (await ops("logs", "web@n1")).lines() == ["version 1.0"]
            merged = await ops("modules", "logs", "shop/web")
            assert sorted(merged.lines()) == ["web@n1  version 1.0", "web@n2  version 1.0"]

            plan = await ops("rollout", "plan", "shop/web", "2.0", "-o", "yaml")
            assert (plan.code, yaml.safe_load(plan.out)["to_version"]) == (0, "2.0")
            rolled = await ops("rollout", "start", "shop/web", "2.0", "--bake", "0", "--canary", "1", "--note", "why")
            assert rolled.code == 0, rolled
            status = await ops("rollout", "status", "shop/web")
            assert (status.code, "succeeded" in status.out) == (0, True)
            back = await ops("rollout", "back", "shop/web", "--bake", "0", "--yes")
            assert back.code == 0, back
            history = (await ops("rollout", "history", "shop/web", "-o", "json")).json()["items"]
            assert [(one["from_version"], one["to_version"]) for one in history] == [("2.0", "1.0"), ("1.0", "2.0")]

            document = await ops("systems", "export", "shop")
            assert yaml.safe_load(document.out)["modules"]["web"]["version"] == "1.0"
            assert (await ops("diff", "-", stdin=document.out)).code == 0
            changed = document.out + "description: a shop\n"
            differs = await ops("diff", "-", stdin=changed)
            assert (differs.code, "$.description" in differs.out) == (1, True), differs
            assert (await ops("apply", "-", "--yes", stdin=changed)).code == 0
            assert (await ops("systems", "show", "shop", "-o", "json")).json()["description"] == "a shop"

            stopped = await ops("instances", "stop", "web@n1", "web@n2", "--yes")
            assert stopped.code == 0, stopped
            refused = await ops("instances", "destroy", "web@n1")
            assert (refused.code, "say --yes" in refused.err) == (2, True)
            gone = await ops("systems", "destroy", "shop", "--yes")
            assert gone.code == 0, gone
            assert (await ops("instances", "list")).err == "nothing\n"
        finally:
            for instance_id in ids:
                kill_marked(instance_id)


async def test_a_command_says_what_each_node_said(tmp_path):
    async with fleet(tmp_path, "n1", "n2") as (_, ops):
        alone = await ops("exec", "n1", "--", "echo", "-n", "hello")
        assert (alone.code, alone.out) == (0, "hello\n")
        both = await ops("exec", "n1", "n2", "--command", "echo out; echo err >&2; exit 3")
        assert both.code == 1
        assert sorted(both.lines()) == ["n1  out", "n2  out"]
        assert {"n1  err", "n2  err", "n1: exited with code 3"} <= set(both.err.splitlines()), both.err
        chosen = await ops("exec", "--labels", "name=n2", "-o", "json", "--", "seq", "3")
        assert [one["stdout"] for one in chosen.json()["results"]] == ["1\n2\n3\n"]
        flood = await ops(
            "exec", "n1", "--", sys.executable, "-c", "print('x' * 99 + '\\n', end='', flush=True);" * 400
        )
        assert flood.lines() == ["x" * 99] * 400
        one = await ops("nodes", "exec", "n1", "--command", "echo a; echo b >&2; exit 4")
        assert (one.code, one.out, one.err) == (1, "a\n", "b\n")
        run_id = (await ops("runs", "-q", "--limit", "1")).out.strip()
        assert (await ops("runs", "output", run_id, "n1")).lines() == ["x" * 99] * 400
        log = await ops("operations", "log", run_id, "-o", "json")
        assert [(line["target_name"], line["state"]) for line in log.json()["items"]][:2] == [
            ("", "succeeded"),
            ("n1", "succeeded"),
        ]
        nobody = await ops("exec", "--", "true")
        assert (nobody.code, "name nodes" in nobody.err) == (2, True)


async def test_nodes_are_labelled_paused_and_misspelt(tmp_path):
    async with fleet(tmp_path, "n1") as (_, ops):
        labelled = await ops("nodes", "label", "n1", "zone=a", "name-", "-o", "json")
        assert labelled.json()["labels"] == {"zone": "a"}
        assert (await ops("nodes", "pause", "n1")).code == 0
        assert (await ops("nodes", "show", "n1", "-o", "json")).json()["paused"] is True
        table = await ops("nodes")
        assert "paused" in table.out
        missing = await ops("nodes", "show", "n7")
        assert (missing.code, 'did you mean "n1"?' in missing.err) == (1, True)
        shown = await ops("__complete", "--", "nodes", "show", "")
        assert shown.lines() == ["n1"]


async def test_logs_are_followed_until_ctrl_c(tmp_path):
    script = b"#!/bin/sh\necho begin\nwhile [ ! -e go ]; do sleep 0.1; done\necho more\nexec sleep 600\n"
    path = tmp_path / "app.zip"
    path.write_bytes(make_zip({"run.sh": script}, service_json(name="app", version="1", health=AT_ONCE)))
    async with fleet(tmp_path, "n1") as (_, ops):
        assert (await ops("packages", "push", path)).code == 0
        assert (await ops("systems", "create", "s")).code == 0
        assert (await ops("modules", "create", "s", "app", "app", "1")).code == 0
        assert (await ops("instances", "deploy", "app", "n1")).code == 0
        (instance_id,) = (await ops("instances", "-q")).lines()
        follower = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ops_system.client.main", "logs", "app", "-f",
            env=ops.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert follower.stdout is not None
            async with asyncio.timeout(20):
                assert await follower.stdout.readline() == b"begin\n"
                (tmp_path / "n1" / "instances" / instance_id / "go").touch()
                assert await follower.stdout.readline() == b"more\n"
                follower.send_signal(signal.SIGINT)
                assert await follower.communicate() == (b"", b"\n")
            assert follower.returncode == 0
        finally:
            kill_marked(instance_id)
            with contextlib.suppress(ProcessLookupError):
                follower.kill()


async def test_who_comes_in_by_password_proves_it_again_for_what_is_grave(tmp_path):
    async with run_master(tmp_path) as master:
        ops = Ops(tmp_path)
        url = await master.wait_for_tls()
        sha256 = master.master.ground.trust.ca_key_sha256
        alone = await ops("login", url, "--user", "admin", "--password-stdin", stdin=PASSWORD)
        assert (alone.code, f"--ca-sha256 {sha256}" in alone.err) == (2, True), alone
        other = await ops("login", url, "--user", "admin", "--password-stdin", "--ca-sha256", "0" * 64, stdin=PASSWORD)
        assert (other.code, "another authority" in other.err) == (3, True)
        asked = await ops("login", url, "--user", "admin", stdin="y\n", hidden=[PASSWORD])
        assert asked.code == 0, asked
        assert sha256 in asked.err
        book = tmp_path / "config" / "ops" / "contexts.json"
        assert stat.S_IMODE(book.stat().st_mode) == 0o600
        assert stat.S_IMODE(book.parent.stat().st_mode) == 0o700
        assert (await ops("account", "-o", "json")).json()["user"]["username"] == "admin"
        assert (await ops("systems", "create", "one")).code == 0

        sessions = (await ops("sessions", "-o", "json")).json()["items"]
        assert [one["user_agent"].partition("/")[0] for one in sessions] == ["ops"]
        book.chmod(0o644)
        assert (await ops("nodes")).code == 3
        book.chmod(0o600)
        assert (await ops("logout")).code == 0
        first = await ops("nodes")
        assert (first.code, "ops login" in first.err) == (2, True)
        assert PASSWORD not in book.read_text()


async def test_a_session_is_asked_again_and_a_script_is_told_what_is_missing(tmp_path):
    clock = FakeClock()
    async with run_master(tmp_path, clock=clock) as master:
        ops = Ops(tmp_path)
        assert (await ops("login", master.url, "--user", "admin", "--password-stdin", stdin=PASSWORD)).code == 0
        clock.advance(660)
        refused = await ops("channels", "create", "--set", "name=c,kind=slack")
        alone = await ops("terminals", "set", "--always-record", "1")
        assert (alone.code, "run it on a terminal" in alone.err) == (1, True), (alone, refused)
        asked = await ops("terminals", "set", "--always-record", "1", "-o", "json", hidden=[PASSWORD])
        assert (asked.code, asked.json()["always_record"]) == (0, True), asked

        viewer = Ops(tmp_path / "viewer", OPS_URL=master.url, OPS_TOKEN=await master.create_token("v", "viewer"))
        told = await viewer("users", "list")
        assert (told.code, "a role or grant is missing" in told.err) == (1, True), told
        chinese = Ops(tmp_path / "zh", OPS_URL=master.url, OPS_TOKEN="ops_wrong", LANG="zh_CN.UTF-8")
        told = await chinese("nodes")
        assert (told.code, "会话或令牌无效" in told.err) == (1, True), told


async def test_any_route_can_be_called(tmp_path):
    async with fleet(tmp_path) as (_, ops):
        made = await ops("api", "POST", "/systems", "--set", "name=shop,description=42")
        assert made.code == 1  # 42 is a number
        made = await ops("api", "POST", "/systems", "--file", "-", stdin=json.dumps({"name": "shop"}))
        assert made.code == 0, made
        listed = await ops("api", "GET", "/systems?limit=1", "-o", "json")
        assert listed.json()["total"] == 1
        text = await ops("api", "GET", "/metrics")
        assert "# TYPE" in text.out
        assert (await ops("api", "BREW", "/systems")).code == 2


async def test_a_master_that_is_away_is_named(tmp_path):
    ops = Ops(tmp_path, OPS_URL="http://127.0.0.1:9", OPS_TOKEN="ops_x")
    away = await ops("nodes")
    assert (away.code, "does not answer" in away.err) == (1, True)
    plain = await Ops(tmp_path, OPS_URL="http://ops.example:80", OPS_TOKEN="ops_x")("nodes")
    assert (plain.code, "https://ops.example:8443" in plain.err) == (2, True)


@pytest.mark.parametrize("size_bytes", [1_000, 20_000_000])
async def test_packages_travel_whole_or_in_parts(tmp_path, size_bytes):
    path = tmp_path / "p.zip"
    files = {"run.sh": WELL, "blob": random.Random(1).randbytes(size_bytes)}
    path.write_bytes(make_zip(files, service_json(name="p", version="1")))
    async with fleet(tmp_path) as (_, ops):
        pushed = await ops("packages", "push", path, "-o", "json")
        assert pushed.code == 0, pushed
        back = tmp_path / "back.zip"
        assert (await ops("packages", "download", "p", "1", "--to", back)).code == 0
        assert back.read_bytes() == path.read_bytes()
