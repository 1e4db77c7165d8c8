import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops_system.model.errors import SafetyRefusal, Unavailable, UsageError
from ops_system.worker.enrol import Applicant, check_address, enrol, enrol_once, parse_join_token
from ops_system.worker.fingerprint.base import local_probe, read_fingerprint
from ops_system.worker.identity import (
    forget_identity,
    load_identity,
    load_key,
    load_or_make_key,
    save_identity,
)
from tests.fakes.mastersend import NODE, Authority, MastersEnd


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[MastersEnd]:
    end = MastersEnd(tmp_path)
    await end.start(is_tls=True)
    yield end
    await end.stop()


def applicant(work_dir: Path) -> Applicant:
    key = load_or_make_key(work_dir)
    return Applicant("n1", {"zone": "a"}, key.public_text(), read_fingerprint(local_probe()))


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_good_token_makes_an_identity(tmp_path: Path, is_tls: bool) -> None:
    master = MastersEnd(tmp_path)
    await master.start(is_tls=is_tls)
    identity = await enrol_once(master.url, parse_join_token(master.join_token), applicant(tmp_path))
    await master.stop()
    assert identity.node_id == NODE
    assert identity.master_url == master.url
    assert identity.signing_public_key == master.signing_public_key
    assert master.enrolled[0]["labels"] == {"zone": "a"}
    assert master.enrolled[0]["fingerprint"]["hostname"]


async def test_a_token_for_another_master_never_leaves_this_machine(secure: MastersEnd, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    token = parse_join_token(f"opsj1.{other.key_sha256}.tok1.{secure.token_secret}")
    with pytest.raises(UsageError, match="not the master this token was made for"):
        await enrol_once(secure.url, token, applicant(tmp_path))
    assert secure.enrolled == []


async def test_a_stranger_that_shows_the_right_ca_does_not_get_the_secret(secure: MastersEnd, tmp_path: Path) -> None:
    real = Authority(tmp_path)
    secure.authority.pem = real.pem  # copied from the real master, without its key
    token = parse_join_token(f"opsj1.{real.key_sha256}.tok1.{secure.token_secret}")
    with pytest.raises(UsageError, match="certificate"):
        await enrol_once(secure.url, token, applicant(tmp_path))
    assert secure.enrolled == []


async def test_the_master_says_no_in_its_own_words(master: MastersEnd, tmp_path: Path) -> None:
    master.enrol_status = (401, "unauthenticated", "this join token was used already")
    with pytest.raises(UsageError, match="used already"):
        await enrol_once(master.url, parse_join_token(master.join_token), applicant(tmp_path))


async def test_a_master_that_is_away_is_waited_for(master: MastersEnd, tmp_path: Path) -> None:
    waits: list[float] = []

    def dice() -> float:
        waits.append(0.0)
        master.enrol_status = None
        return -0.1  # no wait at all

    master.enrol_status = (503, "unavailable", "starting")
    async with asyncio.timeout(20):
        identity = await enrol(master.url, parse_join_token(master.join_token), applicant(tmp_path), dice)
    assert identity.node_id == NODE
    assert len(waits) == 1


async def test_nobody_listens(master: MastersEnd, tmp_path: Path) -> None:
    url, token = master.url, parse_join_token(master.join_token)
    await master.stop()
    with pytest.raises(Unavailable, match="does not answer"):
        await enrol_once(url, token, applicant(tmp_path))


@pytest.mark.parametrize(
    "text", ["", "opsj1.nonsense", "opsj1.short.id.secret", "other.a.b.s3cr3t", f"opsj1.{'a' * 64}.id."]
)
def test_a_token_that_is_none_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(UsageError, match="token") as refused:
        parse_join_token(text)
    assert not text or text.rpartition(".")[2] not in refused.value.message or text.endswith(".")


def test_plain_http_stays_on_this_machine() -> None:
    assert check_address("http://127.0.0.1:8080/", allow_plain_http=False) == "http://127.0.0.1:8080"
    assert check_address("http://localhost:8080", allow_plain_http=False) == "http://localhost:8080"
    assert check_address("https://ops.example:8443", allow_plain_http=False) == "https://ops.example:8443"
    assert check_address("http://ops.example:8080", allow_plain_http=True) == "http://ops.example:8080"
    with pytest.raises(UsageError, match=r"https://ops\.example:8443"):
        check_address("http://ops.example:8080", allow_plain_http=False)
    with pytest.raises(UsageError, match=r"https://\[fd00::1\]:8443"):
        check_address("http://[fd00::1]:8080", allow_plain_http=False)


@pytest.mark.parametrize("url", ["ops.example:8443", "ftp://h", "https://", "https://h:1/console", "https://u:p@h:1"])
def test_an_address_is_scheme_host_and_port(url: str) -> None:
    with pytest.raises(UsageError, match="-master"):
        check_address(url, allow_plain_http=True)


async def test_identity_and_key_survive_and_are_private(master: MastersEnd, tmp_path: Path) -> None:
    identity = await enrol_once(master.url, parse_join_token(master.join_token), applicant(tmp_path))
    save_identity(tmp_path, identity)
    assert load_identity(tmp_path) == identity
    assert load_key(tmp_path).public_text() == load_or_make_key(tmp_path).public_text()
    for name in ("node.key", "node.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    forget_identity(tmp_path)
    assert load_identity(tmp_path) is None


def test_a_damaged_identity_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text('{"node_id": ')
    with pytest.raises(SafetyRefusal, match=r"node\.json"):
        load_identity(tmp_path)
    (tmp_path / "node.key").write_text("junk")
    with pytest.raises(SafetyRefusal, match=r"node\.key"):
        load_key(tmp_path)
    assert (tmp_path / "node.json").read_text() == '{"node_id": '
