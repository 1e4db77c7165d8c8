"""Contexts, refusals, names, progress: what needs no master."""

import json
import stat

import pytest

from ops_system.client.connection import fill, origin_of, spell
from ops_system.client.contexts import Book, Context, book_path, load_book, save_book
from ops_system.client.follow import news, progress_line
from ops_system.client.render import age
from ops_system.client.resolve import Names
from ops_system.client.runs import how_ended
from ops_system.client.shapes import Refused, merge
from ops_system.client.terminal import detach_byte
from ops_system.client.trust import refuse_plain
from ops_system.client.words import Words
from ops_system.model.errors import NotFound, SafetyRefusal, UsageError
from tests.fakes.opscli import Ops
from tests.unit.client.test_client_render import NOW


def test_the_book_is_its_owners_alone(tmp_path):
    path = book_path({"XDG_CONFIG_HOME": str(tmp_path)})
    assert load_book(path) == Book()
    save_book(path, Book().with_context(Context(name="a", url="https://a:8443", token="ops_s")))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_book(path).current == "a"
    assert "ops_s" not in repr(load_book(path))
    path.chmod(0o640)
    with pytest.raises(SafetyRefusal, match="chmod 600"):
        load_book(path)
    path.chmod(0o600)
    path.write_text("{")
    with pytest.raises(UsageError, match="log in again"):
        load_book(path)


def test_forgetting_the_chosen_context_chooses_another():
    book = Book().with_context(Context(name="a", url="http://a")).with_context(Context(name="b", url="http://b"))
    assert book.without("b").current == "a"
    assert book.without("a").current == "b"
    assert book.without("a").without("b").current == ""


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://h:443", "https://h"),
        ("https://h:8443", "https://h:8443"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_the_origin_is_what_a_browser_would_send(url, origin):
    assert origin_of(url) == origin


def test_paths_are_escaped_and_empty_queries_left_out():
    assert fill("/packages/{name}/{version}", {"name": "a/../b", "version": "1 2"}) == "/packages/a%2F..%2Fb/1%202"
    assert spell("/nodes", {"q": "", "limit": 3, "force": True, "x": None}) == "/api/v1/nodes?limit=3&force=1"
    assert spell("/health") == "/health"
    body = {"a": 1}
    merge(body, "b.c", 2)
    merge(body, "a.d", 3)
    assert body == {"a": {"d": 3}, "b": {"c": 2}}


def test_nothing_secret_travels_readable():
    refuse_plain("http://localhost:8080", is_allowed=False)
    refuse_plain("http://ops.example", is_allowed=True)
    with pytest.raises(UsageError, match=r"https://\[2001:db8::1\]:8443"):
        refuse_plain("http://[2001:db8::1]:8080", is_allowed=False)


def test_progress_says_how_far_and_news_come_once():
    running = {"id": "i1", "name": "web", "state": "running", "step": "fetch", "bytes_done": 50, "bytes_total": 100}
    done = {"id": "i2", "name": "db\x1b", "state": "failed", "step": "start", "reason": {"message": "exit 7"}}
    operation = {"state": "running", "targets": [running, done], "title": "t", "created_at": "2026-01-31T11:59:00Z"}
    assert progress_line(operation, NOW) == "running  1/2  fetch  50 B / 100 B  1m  t"
    told = {}
    assert news(operation, told) == ["failed  db: exit 7"]
    assert news(operation, told) == []
    assert age("2026-01-31T11:59:00Z", NOW) == "1m"


class Listed:
    """A master that has these lists."""

    def __init__(self, **lists):
        self.lists = lists

    def pages(self, path):
        return self.lists[path.strip("/").replace("/", "_").replace("-", "_")], 0


def test_names_become_ids_and_the_nearest_is_offered():
    nodes = [{"id": "node_1", "name": "n1", "hostname": "host"}, {"id": "node_2", "name": "n2", "hostname": "host"}]
    instances = [{"id": f"ins_{n}", "name": "web", "node_id": f"node_{n}"} for n in (1, 2)]
    names = Names(Listed(nodes=nodes, instances=instances), Words({}))
    assert names.id_of("NODE", "n2") == "node_2"
    assert names.id_of("NODE", "node_0123456789abcdef") == "node_0123456789abcdef"
    assert names.id_of("INSTANCE", "web@n1") == "ins_1"
    assert names.id_of("VERSION", "1.0") == "1.0"
    with pytest.raises(UsageError, match="ins_1, ins_2"):
        names.id_of("INSTANCE", "web")
    with pytest.raises(UsageError, match="several"):
        names.id_of("NODE", "host")
    with pytest.raises(NotFound, match='did you mean "n1"'):
        names.id_of("NODE", "m1")
    with pytest.raises(NotFound, match="没有节点 x"):
        Names(Listed(nodes=[]), Words({"LANG": "zh_CN.UTF-8"})).id_of("NODE", "x")


def test_a_detach_key_is_a_control_key():
    assert [detach_byte("^]"), detach_byte("^a"), detach_byte("^A")] == [0x1D, 1, 1]
    with pytest.raises(UsageError, match="no control key"):
        detach_byte("q")


def test_how_a_command_ended():
    assert how_ended({"state": "failed", "exit_code": 7, "reason": None}) == "failed (7)"
    assert how_ended({"state": "failed", "exit_code": 7, "reason": {"message": "gone"}}) == "gone"


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ((), 2, "what to act on"),
        (("--help",), 0, "what to act on"),
        (("help", "nodes"), 0, "ops nodes drain NODE…"),
        (("nodes", "drain", "--help"), 0, "stop what runs there"),
        (("--version",), 0, "ops "),
        (("nods",), 2, 'did you mean "nodes'),
        (("nodes", "lst"), 2, "nodes list"),
        (("nodes", "list", "--statsu", "x"), 2, "did you mean -status?"),
        (("nodes", "list", "-o", "xml"), 2, "table, json, yaml"),
        (("nodes", "list"), 2, "ops login"),
        (("context", "use", "x"), 2, "no context x"),
        (("completion", "tcsh"), 2, "bash"),
    ],
)
def test_what_is_typed_wrong_is_named(tmp_path, argv, code, words):
    done = Ops(tmp_path).call(*argv)
    assert (done.code, words in done.out + done.err) == (code, True), done


def test_lists_are_asked_for_by_the_noun_alone_wherever_flags_stand(tmp_path):
    for argv in (["context"], ["-o", "json", "context"], ["context", "-o=json"], ["context", "list"]):
        assert Ops(tmp_path).call(*argv).code == 0
    assert json.loads(Ops(tmp_path).call("--output", "json", "context").out) == {"items": [], "total": 0}


def test_completion_knows_words_and_flags_without_a_master(tmp_path):
    ops = Ops(tmp_path)
    assert "nodes" in ops.call("__complete", "--", "").lines()
    assert ops.call("__complete", "--", "rollout", "st").lines() == ["start", "status"]
    assert "--status" in ops.call("__complete", "--", "nodes", "list", "--").lines()
    assert ops.call("__complete", "--", "nodes", "show", "").out == ""
    assert ops.call("__complete", "--", "nodes", "list", "-o", "j").lines() == ["json"]


def test_a_refusal_carries_what_the_master_said():
    refused = Refused(403, "forbidden", "no", {"permission": "admin"}, "r1")
    assert (refused.message, refused.answer_code, refused.request_id) == ("no", "forbidden", "r1")
