"""Every reason code has its sentence in the console's two languages, and asks for no parameter the code does not carry."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "ops_system").rglob("*.py"))
LOCALES = ("en", "zh")
ALWAYS_THERE = {"message"}
COMPUTED = {
    "installer/guard.py",  # why a lease was refused
    "installer/steps.py",  # why a region refused a step; what a plan lacks
    "installer/works.py",  # why a disk is not the approved one
    "master/backups/desk.py",  # the code of an error, or the reason in it
    "master/channels/senders.py",  # a refusal of the outbound check, or of the mail server
    "master/commands/service.py",  # the code of an error
    "master/configs/driver.py",  # the code of an error
    "master/configs/foresight.py",  # the code of an error, or the reason in it
    "master/instances/claims.py",  # a worker's own reason, cut to size
    "master/instances/rules.py",  # the state an instance ended in
    "master/nodes/notes.py",  # why a link ended
    "master/packages/retention.py",  # the code of an error
    "master/schedules/service.py",  # the code of an error, or the reason in it
    "master/power/service.py",  # the code of an error, or the reason in it
    "master/provisioning/service.py",  # the code of an error, or the reason in it
    "model/bulk.py",  # `_WRONG`
    "master/rollouts/service.py",  # the code of an error
    "master/updates/service.py",  # the code of an error
    "master/upgrades/driver.py",  # the code of an error, or of a worker's refusal
    "master/upgrades/service.py",  # the code of an error, or the reason in it
    "provision/rules.py",  # a deadline, or what the agent says at its end
    "processes/adopt.py",  # `_WORDS`, and the three differences
    "worker/instances.py",  # a full disk, or a broken one
    "worker/fetch.py",  # `_failed(code, …)`, whose callers are read as well
}
"""Places where a reason's code is no literal; what they can be is `FURTHER`."""
FURTHER = {
    *{
        "init",
        "kernel_thread",
        "worker",
        "worker_ancestor",
        "master",
        "keeper",
        "already_in_care",
        "other_user",
        "ended",
    },
    *{"another_executable", "another_work_dir", "another_user"},
    *{"outbound_refused", "redirect_refused", "outbound_timeout", "unreachable", "tls_failed", "smtp_refused"},
    *{"node_not_ready", "wrong_os", "wrong_arch", "no_package"},
    *{"damaged", "newer", "not_a_backup", "needs_passphrase", "wrong_passphrase", "needs_keys", "backup_busy", "scope"},
    *{"bmc_identity", "bmc_credentials", "bmc_certificate", "bmc_unable", "bmc_answer", "power_manual", "power_busy"},
    *{f"deadline_{status}" for status in ("pending", "booting", "pending_approval", "installing")},
    *{"not_active", "lease_refused", "bad_plan", "disk_missing", "disk_ambiguous"},
    *{f"agent_{status}" for status in ("failed", "cancelled", "needs_operator")},
    *{"owner_gone", "unknown_kind", "nothing_to_restart"},
    *{f"wrong_{column}" for column in ("idc", "sn", "mac", "os_type", "hostname", "tags")},
    *{"backoff", "exited", "failed", "storage_full", "storage_failed"},
    *{
        "conflict",
        "forbidden",
        "internal",
        "invalid",
        "node_offline",
        "not_allowed",
        "not_found",
        "timeout",
        "unavailable",
    },
}
MAKERS = {"Reason", "_failed", "Halt"}
AGENTS_HEAR = (
    "model/disk_plan.py",
    "model/install_plan.py",
    "provision/agents.py",
    "provision/intents.py",
    "provision/rules.py",
    "regional/desk.py",
    "regional/polling.py",
    "regional/sessions.py",
    "regional/web.py",
)
"""Whose refusals stop an agent: their `reason` becomes that of the task."""


def reasons_in(path: Path) -> Iterator[tuple[str | None, set[str] | None, int]]:
    """Yield (code or None, parameter names or None where they are computed, line) of every reason made in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in MAKERS:
            continue
        code = node.args[0] if node.args else None
        is_literal = isinstance(code, ast.Constant) and isinstance(code.value, str)
        given = node.args[2] if len(node.args) > 2 else None  # after code and message
        names: set[str] | None = set()
        if given is not None:
            keys = given.keys if isinstance(given, ast.Dict) else [None]
            literal = {key.value for key in keys if isinstance(key, ast.Constant)}
            names = {str(name) for name in literal} if len(literal) == len(keys) else None
        yield (code.value if is_literal else None), names, node.lineno


def refusals_in(path: Path) -> Iterator[str]:
    """Yield the literal `reason` of every error made in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.keyword) or node.arg != "reason" or not isinstance(node.value, ast.Constant):
            continue
        if isinstance(node.value.value, str):
            yield node.value.value


def sentences(language: str) -> dict[str, str]:
    """Return the sentences of `reason` by code."""
    text = (ROOT / f"frontend/src/locales/{language}.ts").read_text()
    block = re.search(r"^  reason: \{\n(.*?)^  \},", text, re.DOTALL | re.MULTILINE)
    assert block, f"no block `reason` in {language}.ts"
    return dict(re.findall(r"^    (\w+):\s+'(.*)',$", block[1], re.MULTILINE))


@pytest.mark.parametrize("language", LOCALES)
def test_every_reason_has_a_sentence(language):
    made = {code for path in SOURCES for code, _, _ in reasons_in(path) if code is not None}
    assert len(made) > 60, "the reasons are made some other way now: look here"
    assert sorted((made | FURTHER) - set(sentences(language))) == []


def test_codes_that_are_computed_are_known_places():
    found = {
        str(path.relative_to(ROOT / "ops_system"))
        for path in SOURCES
        for code, _, _ in reasons_in(path)
        if code is None
    }
    assert found == COMPUTED, "say in this test which codes the place can make, and give each a sentence"


@pytest.mark.parametrize("language", LOCALES)
def test_what_stops_an_agent_has_a_sentence(language):
    heard = {reason for name in AGENTS_HEAR for reason in refusals_in(ROOT / "ops_system" / name)}
    assert len(heard) > 20, "refusals name their reason some other way now: look here"
    assert sorted(heard - set(sentences(language))) == []


@pytest.mark.parametrize("language", LOCALES)
def test_sentences_name_only_parameters_that_are_there(language):
    known = sentences(language)
    wanted = {code: set(re.findall(r"\{(\w+)\}", sentence)) - ALWAYS_THERE for code, sentence in known.items()}
    lacking = [
        f"{path.relative_to(ROOT)}:{line} {code} lacks {sorted(wanted[code] - names)}"
        for path in SOURCES
        for code, names, line in reasons_in(path)
        if code in wanted and names is not None and wanted[code] - names
    ]
    assert lacking == []


@pytest.mark.parametrize("language", LOCALES)
def test_what_the_master_refuses_has_a_sentence(language):
    shown = [
        path for path in SOURCES if path.relative_to(ROOT / "ops_system").parts[0] in {"master", "model", "provision"}
    ]
    codes = {code for path in shown for code in refusals_in(path)}
    assert len(codes) > 60, "refusals name their reason some other way now: look here"
    assert sorted(codes - set(sentences(language))) == []
