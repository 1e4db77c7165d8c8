import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops_system.model.errors import Invalid, NotFound
from ops_system.model.ids import InstanceId
from ops_system.model.manifest import Manifest
from ops_system.processes.rotate import RotateRules
from ops_system.protocol.logs import ListLogs, ReadLog, ReadLogBytes, SearchLog
from ops_system.worker.logs import InstanceLogs
from tests.fakes.wishes import wish

ID = InstanceId("inst_1")
PATHS = {"Access": "logs/access.log", "Outside": "../../node.key", "Linked": "link", "Through": "dir/passwd"}


@pytest.fixture
def logs(tmp_path: Path) -> InstanceLogs:
    spec = wish(service=Manifest("web", "1.0.0", entrypoint="run.sh", log_paths=PATHS))
    (tmp_path / "logs" / ID).mkdir(parents=True)
    own = tmp_path / "instances" / ID
    (own / "logs").mkdir(parents=True)
    (own / "logs/access.log").write_text("GET /\nPOST /x\n")
    (tmp_path / "node.key").write_text("secret")
    (own / "link").symlink_to(tmp_path / "node.key")
    (own / "dir").symlink_to("/etc")
    return InstanceLogs(tmp_path, {ID: spec}.get)


async def test_outputs_come_first_and_what_is_not_there_is_empty(logs: InstanceLogs) -> None:
    found = (await logs.list_logs(ListLogs(ID))).items
    assert [(item.name, item.size_bytes) for item in found] == [
        ("stdout", 0),
        ("stderr", 0),
        ("Access", 14),
        ("Outside", 0),
        ("Linked", 0),
        ("Through", 0),
    ]
    assert (await logs.read_log(ReadLog(ID, "stdout"))).lines == ()


async def test_lines_and_bytes_of_a_named_log(logs: InstanceLogs) -> None:
    lines = await logs.read_log(ReadLog(ID, "Access", q="POST"))
    assert [line.text for line in lines.lines] == ["POST /x"]
    data = await logs.read_log_bytes(ReadLogBytes(ID, "Access", 4, 3))
    assert (data.data, data.size_bytes) == (b"/\nP", 14)


async def test_lines_carry_their_times_and_old_files_count(logs: InstanceLogs, tmp_path: Path) -> None:
    path = tmp_path / "instances" / ID / "logs/access.log"
    path.with_name("access.log.1").write_text("2026-01-02T03:04:05Z first\n")
    found = await logs.read_log(ReadLog(ID, "Access", after=0))
    assert [line.text for line in found.lines] == ["2026-01-02T03:04:05Z first", "GET /", "POST /x"]
    assert {line.at for line in found.lines} == {datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}


async def test_a_log_is_searched_by_text_and_expression(logs: InstanceLogs) -> None:
    assert [line.text for line in (await logs.search_log(SearchLog(ID, "Access", "/x"))).hits] == ["POST /x"]
    found = await logs.search_log(SearchLog(ID, "Access", "^(get|post)", is_regex=True, ignore_case=True))
    assert [line.text for line in found.hits] == ["POST /x", "GET /"]
    with pytest.raises(Invalid, match="wrong"):
        await logs.search_log(SearchLog(ID, "Access", "(", is_regex=True))
    with pytest.raises(Invalid, match="leaves"):
        await logs.search_log(SearchLog(ID, "Outside", "secret"))


@pytest.mark.parametrize("name", ["Outside", "Linked", "Through"])
async def test_no_name_leads_out_of_the_instances_folder(logs: InstanceLogs, name: str) -> None:
    with pytest.raises(Invalid):
        await logs.read_log(ReadLog(ID, name))
    with pytest.raises(Invalid):
        await logs.read_log_bytes(ReadLogBytes(ID, name, 0, 100))


async def test_a_pipe_is_no_log(logs: InstanceLogs, tmp_path: Path) -> None:
    path = tmp_path / "instances" / ID / "logs/access.log"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Invalid, match="no regular file"):
        await logs.read_log(ReadLog(ID, "Access"))


async def test_unknown_names_and_instances(logs: InstanceLogs) -> None:
    with pytest.raises(NotFound, match="it has stdout, stderr, Access"):
        await logs.read_log(ReadLog(ID, "access"))
    with pytest.raises(NotFound, match="inst_9"):
        await logs.list_logs(ListLogs(InstanceId("inst_9")))


async def test_output_is_rotated_by_size(logs: InstanceLogs, tmp_path: Path) -> None:
    out = tmp_path / "logs" / ID / "stdout.log"
    out.write_text("line\n" * 100)
    await logs.rotate([ID, InstanceId("gone")], RotateRules(max_size_bytes=1000, compress=False))
    assert out.stat().st_size == 500
    assert not out.with_name("stdout.log.1").exists()
    await logs.rotate([ID], RotateRules(max_size_bytes=500, compress=False))
    assert out.with_name("stdout.log.1").stat().st_size == 500
    assert len((await logs.read_log(ReadLog(ID, "stdout"))).lines) == 100
    assert (await logs.list_logs(ListLogs(ID))).items[0].size_bytes == 500


async def test_what_a_flood_dropped_is_said_once_a_minute(logs: InstanceLogs, tmp_path: Path) -> None:
    said, times_s = [], []
    logs = InstanceLogs(tmp_path, lambda _id: None, lambda _id, reason: said.append(reason), lambda: times_s[-1])
    out = tmp_path / "logs" / ID / "stdout.log"
    for at_s, lines in ((0.0, 1000), (1.0, 1000), (70.0, 700)):
        times_s.append(at_s)
        with out.open("ab") as file:
            file.write(b"line\n" * lines)
        await logs.rotate([ID], RotateRules(max_size_bytes=1000))
    assert [(reason.code, reason.params["bytes"]) for reason in said] == [("log_dropped", 4000), ("log_dropped", 6500)]
