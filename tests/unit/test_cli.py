import pytest

from ops_system.cli import Answered, Argument, Command, Flag, Program, parse, run_role, words_of
from ops_system.model.errors import NotFound, SafetyRefusal, UsageError
from ops_system.model.kinds import BOOL, PORT, SWITCH, TEXT, choice

DATA = (Flag("data_dir", TEXT, "the data folder", "./data"), Flag("config", TEXT, "file"))
PROGRAM = Program(
    "ops-master",
    "the master",
    (
        Command((), "run", flags=(*DATA, Flag("port", PORT, "port", "8080"), Flag("open_browser", BOOL, "open"))),
        Command(
            ("user", "create"),
            "make a user",
            (Argument("NAME"),),
            (*DATA, Flag("role", choice("admin", "operator", "viewer"), "role"), Flag("password-stdin", SWITCH, "")),
        ),
        Command(("backup", "create"), "back up", (Argument("FILE", is_optional=True),), DATA),
    ),
)
TOOL = Program("pack-tool", "packs", (Command(("init",), "start one", (Argument("DIR"),)),))


@pytest.mark.parametrize(
    "argv",
    [
        ["-data_dir", "D", "user", "create", "eve", "--role", "viewer"],
        ["user", "create", "eve", "--data-dir=D", "-role=viewer"],
        ["user", "--role", "viewer", "create", "-data-dir", "D", "eve"],
        ["user", "create", "--data_dir=D", "-role", "viewer", "--", "eve"],
    ],
)
def test_flags_stand_anywhere_in_any_spelling(argv):
    parsed = parse(PROGRAM, argv)
    assert parsed.command == ("user", "create")
    assert parsed.arguments == {"NAME": "eve"}
    assert parsed.text("data_dir") == "D"
    assert parsed.text("role") == "viewer"


def test_nothing_given_is_the_command_without_words():
    parsed = parse(PROGRAM, [])
    assert parsed.command == ()
    assert not parsed.has("port")
    assert parsed.read("port", PORT, "8080") == 8080


def test_the_last_of_two_wins_and_a_lone_dash_is_a_value():
    assert parse(PROGRAM, ["-data_dir", "a", "-data_dir", "-"]).text("data-dir") == "-"


def test_optional_argument_may_be_left_out():
    assert parse(PROGRAM, ["backup", "create"]).arguments == {}
    assert parse(PROGRAM, ["backup", "create", "f"]).arguments == {"FILE": "f"}


def test_switch_takes_no_value():
    parsed = parse(PROGRAM, ["user", "create", "--password-stdin", "eve", "-role", "admin"])
    assert parsed.switch("password-stdin")
    assert parsed.arguments == {"NAME": "eve"}
    assert not parse(PROGRAM, ["user", "create", "eve"]).switch("password_stdin")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["-prot", "1"], "unknown flag -prot; did you mean -port?"),
        (["-verzion"], "unknown flag -verzion; did you mean -version?"),
        (["-zzz"], "unknown flag -zzz; --help"),
        (["-port", "80x"], '-port: "80x" is not a port'),
        (["-port", "70000"], "-port"),
        (["-port"], "-port needs a value: -port=PORT"),
        (["-port", "-data_dir", "x"], "-port needs a value"),
        (["-open_browser", "maybe"], "neither 1 nor 0"),
        (["user", "creat", "x"], '"user" takes: user create'),
        (["usr"], 'unknown command "usr"; did you mean "user create"?'),
        (["user", "create"], '"user create" needs NAME'),
        (["user", "create", "a", "b"], 'unexpected "b"'),
        (["user", "create", "a", "-port", "1"], 'takes no flag -port; it belongs to "ops-master"'),
        (["user", "create", "a", "-role", "amdin"], 'did you mean "admin"?'),
    ],
)
def test_a_wrong_line_is_explained(argv, words):
    with pytest.raises(UsageError) as caught:
        parse(PROGRAM, argv)
    assert words in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["-prot", "1"], "没有选项 -prot；是否想用 -port？；--help 列出全部"),
        (["-port"], "-port 需要一个值：-port=PORT"),
        (["user", "creat", "x"], "没有命令“user creat x”；“user”可用：user create"),
        (["usr"], "没有命令“usr”；是否想用“user create”？"),
        (["xyzzy"], "没有命令“xyzzy”；--help 列出全部"),
        (["user", "create"], "“user create”需要 NAME"),
        (["user", "create", "a", "b"], "“user create”之后多出“b”；--help 有说明"),
        (["user", "create", "a", "-port", "1"], "“ops-master user create”没有选项 -port；它属于“ops-master”"),
    ],
)
def test_a_wrong_line_is_explained_in_chinese(argv, words, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    with pytest.raises(UsageError) as caught:
        parse(PROGRAM, argv)
    assert words_of(caught.value) == words


def test_a_noun_with_many_verbs_is_named_once():
    many = Program("ops", "", tuple(Command(("nodes", verb), verb) for verb in ("list", "show", "drain")))
    with pytest.raises(UsageError) as caught:
        parse(many, ["node"])
    assert caught.value.message == 'unknown command "node"; did you mean "nodes"?'


def test_a_program_without_a_default_asks_for_a_command():
    with pytest.raises(UsageError, match="wants a command: init"):
        parse(TOOL, [])


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help_lists_commands_and_flags_even_on_a_wrong_line(flag):
    with pytest.raises(Answered) as caught:
        parse(PROGRAM, ["--nonsense", flag])
    text = str(caught.value)
    assert "ops-master user create NAME" in text
    assert "-data_dir TEXT" in text
    assert "(default ./data)" in text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no such\nflag"), 2),
        (SafetyRefusal("port in use"), 3),
        (NotFound("gone"), 1),
        (ExceptionGroup("tasks", [SafetyRefusal("port in use")]), 3),
        (KeyboardInterrupt(), 1),
    ],
)
def test_errors_become_one_line_and_a_code(error, code, capsys):
    def serve(argv):
        raise error

    assert run_role("ops-master", serve, []) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("ops-master: ")
    assert captured.err.count("\n") == 1


def test_a_bug_is_not_hidden():
    def serve(argv):
        raise ExceptionGroup("tasks", [SafetyRefusal("port in use"), ValueError("bug")])

    with pytest.raises(ExceptionGroup):
        run_role("ops-master", serve, [])


def test_version_goes_to_stdout(capsys):
    assert run_role("ops-master", lambda argv: parse(PROGRAM, argv) and 9, ["--version"]) == 0
    assert capsys.readouterr().out.startswith("ops-master 0.")


def test_the_last_argument_may_take_every_word_that_is_left():
    nodes = Argument("NODE", is_many=True)
    program = Program("ops", "", (Command(("pause",), "", (nodes,)), Command(("run",), "", (Argument("A"), nodes))))
    assert parse(program, ["pause", "n1", "n2"]).many == ("n1", "n2")
    assert parse(program, ["run", "a", "--", "-x"]).many == ("-x",)
    assert parse(program, ["run", "a", "b"]).arguments == {"A": "a", "NODE": "b"}
    with pytest.raises(UsageError, match="needs NODE"):
        parse(program, ["pause"])
    with pytest.raises(Answered, match=r"ops pause NODE…"):
        parse(program, ["--help"])
