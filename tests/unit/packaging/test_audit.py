"""`make audit` tells a known hole from a database that does not answer."""

import importlib.util
import json
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PIN = "aiohttp==3.14.5 \\\n    --hash=sha256:00\n"


@pytest.fixture
def audit(tmp_path, monkeypatch):
    """The script, with a fake pip-audit and npm first on the path and a lock file of one pin."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / "packaging" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "LOCKS", ("a.lock",))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "a.lock").write_text(PIN)
    install(tmp_path, "pip-audit", pip_answer())
    install(tmp_path, "npm", npm_answer())
    return module


def install(folder, name, answer):
    (folder / f"{name}.json").write_text(json.dumps(answer))
    tool = folder / name
    tool.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\ncat {folder}/{name}.json\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)


def pip_answer(vulns=(), **more):
    return {"dependencies": [{"name": "aiohttp", "version": "3.14.5", "vulns": [{"id": one} for one in vulns], **more}]}


def npm_answer(high=0):
    return {"metadata": {"vulnerabilities": {"high": high, "total": high}}}


def test_nothing_known_is_0(audit, tmp_path, capsys):
    assert audit.main() == 0
    assert "--vulnerability-service pypi" in (tmp_path / "asked").read_text()
    assert "NOT CHECKED" not in capsys.readouterr().out


def test_a_known_hole_is_1_and_named(audit, tmp_path, capsys):
    install(tmp_path, "pip-audit", pip_answer(["PYSEC-2026-1"]))
    assert audit.main() == 1
    assert "aiohttp 3.14.5: PYSEC-2026-1" in capsys.readouterr().out


def test_a_hole_on_one_side_outranks_silence_on_the_other(audit, tmp_path, capsys):
    install(tmp_path, "npm", npm_answer(high=2))
    install(tmp_path, "pip-audit", pip_answer(skip_reason="not found"))
    assert audit.main() == 1
    told = capsys.readouterr().out
    assert "no answer about 1 of 1 packages" in told
    assert "2 high" in told


@pytest.mark.parametrize("answer", [{"message": "405 Method Not Allowed"}, [], {"error": {"summary": "no network"}}])
def test_a_registry_without_an_advisory_service_is_3(audit, tmp_path, capsys, answer):
    install(tmp_path, "npm", answer)
    assert audit.main() == 3
    told = capsys.readouterr().out
    assert "frontend" in told
    assert "NOT CHECKED" in told


def test_without_any_database_each_was_asked_and_is_named(audit, tmp_path, capsys):
    install(tmp_path, "pip-audit", "no answer")
    assert audit.main() == 3
    told = capsys.readouterr().out
    assert "no advisory database answers: pypi: no answer, osv: no answer" in told
    asked = (tmp_path / "asked").read_text()
    assert "--vulnerability-service pypi" in asked
    assert "--vulnerability-service osv" in asked


def test_a_tool_that_hangs_is_no_answer(audit, monkeypatch):
    def hang(*_args, **_options):
        raise subprocess.TimeoutExpired("npm", 1)

    monkeypatch.setattr(subprocess, "run", hang)
    assert audit.main() == 3
