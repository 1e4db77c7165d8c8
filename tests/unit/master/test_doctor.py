import ast
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops_system.master import doctor
from ops_system.master.auth.offline import create_join_token
from ops_system.master.config import SCHEMA
from ops_system.master.doctor import examine, render
from ops_system.master.doctorwords import CHINESE
from ops_system.runtime.config import build
from ops_system.storage.lock import acquire
from tests.fakes.certificates import write_certificate


def config_of(tmp_path, **texts):
    return build(
        SCHEMA, {"server.data_dir": str(tmp_path / "data"), "server.port": "0", "server.tls_port": "0"} | texts
    )


def verdicts(config):
    return {finding.name: (finding.is_well, finding.words) for finding in examine(config, config.folder())}


def test_it_speaks_chinese_where_the_locale_is(tmp_path, used, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    used.folder().master_key.chmod(0o644)
    lines = render(examine(used, used.folder())).splitlines()
    assert len(lines) == 8
    assert f"FAIL  master.key：{used.folder().master_key} 对其他用户开放（权限 0644）：chmod go-rwx" in "\n".join(lines)
    assert all(re.search("[\u4e00-\u9fff]", line.partition("：")[2]) for line in lines), lines


def test_both_languages_hold_the_same_values():
    for english, chinese in CHINESE.items():
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", chinese)), english


def test_every_word_that_is_said_has_its_translation_and_none_is_left_over():
    source = Path(doctor.__file__).read_text()
    said = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    assert set(CHINESE) - said == {"{path}, {free_mb} MB free, not initialized yet"}  # put together from two


@pytest.fixture
def used(tmp_path):
    config = config_of(tmp_path)
    create_join_token(config.folder())
    return config


def test_an_empty_place_is_well_and_stays_empty(tmp_path):
    findings = examine(config_of(tmp_path), config_of(tmp_path).folder())
    assert all(finding.is_well for finding in findings), render(findings)
    assert list(tmp_path.iterdir()) == []


def test_a_used_folder_is_well(used):
    found = verdicts(used)
    assert set(found) == {
        "data folder",
        "database",
        "master.key",
        "signing.key",
        "certificate authority",
        "TLS certificate",
        "port",
        "tls_port",
    }
    assert all(is_well for is_well, _ in found.values()), found


@pytest.mark.parametrize(
    ("damage", "name", "words"),
    [
        (lambda folder: folder.root.chmod(0o755), "data folder", "chmod go-rwx"),
        (lambda folder: folder.master_key.chmod(0o644), "master.key", "chmod go-rwx"),
        (lambda folder: folder.signing_key.unlink(), "signing.key", "put it back from a backup"),
        (lambda folder: folder.master_key.write_bytes(b"short"), "master.key", "5 bytes instead of 32"),
        (lambda folder: (folder.ca / "ca.key").unlink(), "certificate authority", "ca.key is missing"),
        (lambda folder: folder.database.unlink(), "database", "missing or empty"),
        (lambda folder: folder.database.write_bytes(b"no database at all" * 300), "database", "not a database"),
        (lambda folder: (folder.ca / "ca.pem").unlink(), "certificate authority", "put it back from a backup"),
    ],
)
def test_damage_is_named_with_what_to_do(used, damage, name, words):
    damage(used.folder())
    is_well, said = verdicts(used)[name]
    assert not is_well
    assert words in said
    assert f"FAIL  {name}" in render(examine(used, used.folder()))


def test_a_port_of_a_stranger_is_wrong_and_of_our_own_master_is_not(used, tmp_path):
    with socket.socket() as rival:
        rival.bind(("127.0.0.1", 0))
        rival.listen()
        config = config_of(tmp_path, **{"server.port": str(rival.getsockname()[1])})
        assert not verdicts(config)["port"][0]
        lock = acquire(config.folder().lock)
        assert verdicts(config)["port"] == (True, f"{config.server.port} is held; a master is running here")
        lock.release()


def test_an_own_certificate_is_examined(used, tmp_path):
    sha256 = write_certificate(tmp_path, datetime.now(UTC))
    files = {"server.tls_cert": str(tmp_path / "own.pem"), "server.tls_key": str(tmp_path / "own.key")}
    (tmp_path / "own.key").chmod(0o644)
    is_well, words = verdicts(config_of(tmp_path, **files))["TLS certificate"]
    assert (is_well, "chmod" in words) == (False, True)
    (tmp_path / "own.key").chmod(0o600)
    is_well, words = verdicts(config_of(tmp_path, **files))["TLS certificate"]
    assert (is_well, sha256 in words) == (True, True)
    write_certificate(tmp_path, datetime.now(UTC), timedelta(days=3))
    (tmp_path / "own.key").chmod(0o600)
    is_well, words = verdicts(config_of(tmp_path, **files))["TLS certificate"]
    assert (is_well, "renew it" in words) == (False, True)
    is_well, words = verdicts(config_of(tmp_path, **{"server.tls_key": files["server.tls_key"]}))["TLS certificate"]
    assert (is_well, "tls_cert is not" in words) == (False, True)


def test_publishers_that_are_required_and_unknown_are_named(used, tmp_path):
    is_well, words = verdicts(config_of(tmp_path, **{"storage.require_publisher": "1"}))["publishers"]
    assert (is_well, "no key is trusted" in words) == (False, True)


def test_an_s3_server_that_does_not_answer_is_told(tmp_path):
    texts = {"storage.type": "minio", "storage.minio.endpoint": "127.0.0.1:1"}
    is_well, words = verdicts(config_of(tmp_path, **texts))["packages"]
    assert not is_well
    assert "storage.minio.ak: is needed" in words
    texts |= {"storage.minio.ak": "key", "storage.minio.sk": "secret"}
    is_well, words = verdicts(config_of(tmp_path, **texts))["packages"]
    assert not is_well
    assert "127.0.0.1:1 cannot be used" in words
    assert list(tmp_path.iterdir()) == []
