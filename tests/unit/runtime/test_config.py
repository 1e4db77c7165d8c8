from pathlib import Path

import pytest
import yaml

from ops_system.cli import Command, Program, parse
from ops_system.master.config import SCHEMA as MASTER
from ops_system.model.errors import UsageError
from ops_system.model.kinds import Secret
from ops_system.runtime.config import MAX_VALUE_FILE_BYTES, build, environment_name, load
from ops_system.worker.config import SCHEMA as WORKER

TOP = Path(__file__).parents[3]


def read(schema, argv=(), environ=None, stdin=""):
    program = Program("role", "", (Command((), "", flags=schema.flags()),))
    return load(schema, parse(program, list(argv)), environ or {}, lambda: stdin)


@pytest.fixture
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("in_empty_folder")
@pytest.mark.parametrize("schema", [MASTER, WORKER])
def test_a_missing_default_file_is_fine(schema):
    assert read(schema) == build(schema)


def test_a_missing_named_file_is_refused(in_empty_folder):
    with pytest.raises(UsageError, match=r"-config: there is no file nope\.yaml"):
        read(MASTER, ["-config", "nope.yaml"])


@pytest.mark.parametrize(("schema", "name"), [(MASTER, "config.yaml"), (WORKER, "worker.yaml")])
def test_the_example_equals_the_defaults_and_is_complete(schema, name):
    assert read(schema, ["-config", str(TOP / name)]) == build(schema)
    written = set(leaves(yaml.safe_load((TOP / name).read_text())))
    assert written == {option.key for option in schema.options}


def leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_precedence(in_empty_folder):
    (in_empty_folder / "config.yaml").write_text("server: {port: 1, tls_port: 1, listen: 1.1.1.1}\n")
    environ = {"OPS_MASTER_SERVER_PORT": "2", "OPS_MASTER_SERVER_TLS_PORT": "2"}
    server = read(MASTER, ["-port", ":3"], environ).server
    assert (server.port, server.tls_port, server.listen, server.data_dir) == (3, 2, "1.1.1.1", "./data")


def test_units_become_numbers(in_empty_folder):
    (in_empty_folder / "config.yaml").write_text("logic: {heartbeat_interval: 250ms, metrics_memory: 1MiB}\n")
    logic = read(MASTER).logic
    assert (logic.heartbeat_interval_s, logic.metrics_memory_bytes) == (0.25, 1048576)


def test_paths_lie_in_the_data_folder_unless_told():
    config = build(MASTER, {"server.data_dir": "/d"})
    assert (config.database_file(), config.upload_dir()) == (Path("/d/ops.db"), Path("/d/uploads"))
    told = build(MASTER, {"server.db_path": "/x.db", "storage.upload_dir": "/u"})
    assert (told.database_file(), told.upload_dir()) == (Path("/x.db"), Path("/u"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "server:\n  prot: 8080\n",
            'config.yaml:2: server.prot: unknown key; did you mean "server.port"?',
        ),
        ("server:\n  port: high\n", 'config.yaml:2: server.port: "high" is not a port'),
        (
            "\nlogic: {heartbeat_interval: 5}\n",
            "config.yaml:2: logic.heartbeat_interval: DURATION is wanted here, not a bare int",
        ),
        ("logic: {heartbeat_interval: 5 seconds}\n", "is not a duration"),
        ("storage: {type: s3}\n", '"s3" is none of local, minio'),
        ("storage:\n  minio: {sk: 12345}\n", "put it in quotes"),
        ("server: {port: 1}\nserver: {port: 2}\n", 'the key "server" stands twice'),
        ("server: 5\n", "config.yaml:1: server: unknown key"),
        ("- a\n", "must be a mapping"),
        ("a: [\n", "no valid YAML"),
        ("storage: {minio: {use_ssl: 7}}\n", "neither 1 nor 0"),
        ("log: {level: !!python/object:x 1}\n", "log.level"),
    ],
)
def test_a_wrong_file_names_line_and_key(in_empty_folder, text, words):
    (in_empty_folder / "config.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read(MASTER)
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_an_empty_file_and_an_empty_key_are_defaults(in_empty_folder):
    (in_empty_folder / "config.yaml").write_text("# nothing\n")
    assert read(MASTER) == build(MASTER)
    (in_empty_folder / "config.yaml").write_text("server:\n  port:\n")
    assert read(MASTER) == build(MASTER)


@pytest.mark.usefixtures("in_empty_folder")
def test_an_unknown_variable_is_refused_and_an_empty_one_ignored():
    with pytest.raises(UsageError, match='did you mean "OPS_MASTER_SERVER_PORT"'):
        read(MASTER, environ={"OPS_MASTER_SERVER_PROT": "1"})
    assert read(MASTER, environ={"OPS_MASTER_SERVER_PORT": "", "OPS_WORKER_X": "1"}) == build(MASTER)


@pytest.mark.usefixtures("in_empty_folder")
def test_a_wrong_variable_is_named():
    with pytest.raises(UsageError, match="environment OPS_MASTER_SERVER_PORT: "):
        read(MASTER, environ={environment_name(MASTER, "server.port"): "x"})


def test_a_value_may_stand_in_a_file(in_empty_folder):
    (in_empty_folder / "token").write_text("opsj1.x\n")
    assert read(WORKER, ["-token", "@token"]).connect.token == Secret("opsj1.x")
    assert read(WORKER, environ={"OPS_WORKER_CONNECT_TOKEN": "@token"}).connect.token == Secret("opsj1.x")
    (in_empty_folder / "worker.yaml").write_text("connect: {token: '@token'}\n")
    assert read(WORKER).connect.token == Secret("opsj1.x")


@pytest.mark.usefixtures("in_empty_folder")
def test_stdin_and_a_real_at_sign():
    assert read(WORKER, ["-token", "-"], stdin="opsj1.y\n").connect.token == Secret("opsj1.y")
    assert read(WORKER, ["-name", "@@home"]).connect.name == "@home"
    assert read(WORKER, ["-name", "-"]).connect.name == "-"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the file v"),
        (b"x" * (MAX_VALUE_FILE_BYTES + 1), "larger than"),
        (b"\xff", "UTF-8"),
        (b"a\nb", "one line"),
    ],
)
def test_a_wrong_value_file_is_explained(in_empty_folder, content, words):
    if content is not None:
        (in_empty_folder / "v").write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        read(WORKER, ["-token", "@v"])
    assert caught.value.message.startswith("-token: ")


def test_lists_and_labels(in_empty_folder):
    (in_empty_folder / "config.yaml").write_text("provision: {etcd: ['http://a', 'http://b']}\n")
    provision = read(MASTER).provision
    assert (provision.store, provision.etcd) == ("etcd", ("http://a", "http://b"))
    (in_empty_folder / "worker.yaml").write_text("connect: {labels: {zone: a, rack: 7}}\n")
    assert read(WORKER).connect.labels == {"zone": "a", "rack": "7"}
    assert read(WORKER, ["-labels", "zone=b"]).connect.labels == {"zone": "b"}


@pytest.mark.usefixtures("in_empty_folder")
def test_an_etcd_address_chooses_the_store_unless_told_otherwise():
    assert read(MASTER, ["-etcd", "http://a,http://b"]).provision.store == "etcd"
    told = read(MASTER, ["-etcd", "http://a"], {"OPS_MASTER_PROVISION_STORE": "embedded"})
    assert told.provision.store == "embedded"


def test_secrets_are_in_no_repr(in_empty_folder):
    config = read(MASTER, ["-minio_sk", "hunter2"])
    assert "hunter2" not in repr(config)
    assert config.storage.minio.sk.reveal() == "hunter2"


def test_build_knows_only_keys():
    with pytest.raises(UsageError, match="unknown key"):
        build(MASTER, {"server.prot": "1"})
