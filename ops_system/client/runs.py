"""`ops exec`: one command on one node or many; what each says comes as it is said, behind the node's name."""

import time
from collections.abc import Callable

from ops_system.cli import EXIT_FAILED, EXIT_FINE, Argument, Flag
from ops_system.client.acts import Special
from ops_system.client.connection import fill
from ops_system.client.desk import Desk
from ops_system.client.follow import LAST_POLL_S
from ops_system.client.render import clean
from ops_system.client.resolve import Names
from ops_system.client.shapes import Json
from ops_system.model.errors import UsageError
from ops_system.model.kinds import LABELS, SWITCH, TEXT, duration
from ops_system.model.operations import ENDED

TAIL_BYTES = 16 * 1024  # what the list of results carries of each output
POLL_S = 0.3
_ENDED = {state.value for state in ENDED}


def run_command(desk: Desk) -> int:
    """Begin the run, tell what comes, and return 0 when it ended well on every node."""
    begun = desk.master.ask("POST", "/exec", order_of(desk)).json()["operation"]
    if not desk.waits:
        desk.show({"operation": begun})
        return EXIT_FINE
    try:
        return watch_run(desk, str(begun["id"]), time.sleep)
    except KeyboardInterrupt:
        desk.note(desk.words.say("op.follow", id=begun["id"]))
        return EXIT_FAILED


def run_on_one(desk: Desk) -> int:
    """`ops nodes exec NODE -- COMMAND`: wait for the answer, at most a minute."""
    node_id = Names(desk.master, desk.words).id_of("NODE", desk.parsed.arguments["NODE"])
    answer = desk.master.ask("POST", fill("/nodes/{id}/exec", {"id": node_id}), command_of(desk)).json()
    return show_output(desk, answer)


def show_run_output(desk: Desk) -> int:
    """`ops runs output OPERATION NODE`: all that one node said."""
    names, typed = Names(desk.master, desk.words), desk.parsed.arguments
    place = {"id": typed["OPERATION"], "node_id": names.id_of("NODE", typed["NODE"])}
    return show_output(desk, desk.master.get(fill("/exec/{id}/results/{node_id}", place)))


def show_output(desk: Desk, result: Json) -> int:
    """Write what a command said, each stream where it belongs; return 0 when it ended with 0."""
    if desk.output != "table":
        desk.show(result)
    else:
        for stream, write in (("stdout", desk.print), ("stderr", desk.note)):
            for line in str(result[stream]).splitlines():
                write(clean(line))
    return EXIT_FINE if result.get("exit_code") == 0 else EXIT_FAILED


def order_of(desk: Desk) -> Json:
    """Return the body: whom it strikes and what is run. Raises UsageError, NotFound."""
    parsed, order = desk.parsed, command_of(desk)
    if parsed.has("labels"):
        return {**order, "labels": parsed.read("labels", LABELS, "")}
    if not parsed.many:
        raise UsageError(desk.words.say("exec.nobody"))
    names = Names(desk.master, desk.words)
    return {**order, "node_ids": [names.id_of("NODE", text) for text in parsed.many]}


def command_of(desk: Desk) -> Json:
    """Return what is run: the words behind `--`, or a line for the shell. Raises UsageError."""
    parsed = desk.parsed
    if bool(desk.rest) == parsed.has("command"):
        raise UsageError(desk.words.say("exec.nothing"))
    order: Json = {"argv": list(desk.rest)} if desk.rest else {"command": parsed.text("command")}
    if parsed.has("timeout"):
        order["timeout_s"] = parsed.read("timeout", duration(0.1), "")
    if parsed.has("user"):
        order["user"] = parsed.text("user")
    return order


def watch_run(desk: Desk, id_: str, sleep: Callable[[float], None]) -> int:
    """Tell what the nodes say until all have ended; return the exit code."""
    path = fill("/exec/{id}", {"id": id_})
    told: dict[tuple[str, str], int] = {}
    pause_s = POLL_S / 3
    while True:
        run = desk.master.get(path)
        is_alone = len(run["results"]) == 1
        if desk.output == "table":
            for result in run["results"]:
                tell_result(desk, path, result, told, is_alone=is_alone)
        if run["state"] in _ENDED:
            return finish(desk, run, is_alone=is_alone)
        sleep(pause_s)
        pause_s = min(LAST_POLL_S, max(POLL_S, pause_s * 1.1))


def tell_result(desk: Desk, path: str, result: Json, told: dict[tuple[str, str], int], *, is_alone: bool) -> None:
    """Write what one node has said since the last time, in whole lines until its end."""
    if any(len(result[stream].encode()) >= TAIL_BYTES - 4 for stream in ("stdout", "stderr")):
        result = desk.master.get(f"{path}/results/{result['node_id']}")  # the tail alone may have left lines out
    is_over = result["state"] in _ENDED
    for stream, write in (("stdout", desk.print), ("stderr", desk.note)):
        key = (str(result["node_id"]), stream)
        fresh = str(result[stream])[told.get(key, 0) :]
        whole = fresh if is_over else fresh[: fresh.rfind("\n") + 1]
        told[key] = told.get(key, 0) + len(whole)
        for line in whole.splitlines():
            write(clean(line) if is_alone else f"{result['node_name']}  {clean(line)}")


def finish(desk: Desk, run: Json, *, is_alone: bool) -> int:
    """Write how the run ended where it did not end well; return the exit code."""
    if desk.output != "table":
        desk.show(run)
    elif not is_alone or run["state"] != "succeeded":
        for result in run["results"]:
            if result["state"] != "succeeded":
                desk.note(clean(f"{result['node_name']}: {how_ended(result)}"))
    return EXIT_FINE if run["state"] == "succeeded" else EXIT_FAILED


def how_ended(result: Json) -> str:
    """Return how a node's part ended, in words."""
    reason = result.get("reason")
    if isinstance(reason, dict) and reason.get("message"):
        return str(reason["message"])
    how = result.get("exit_signal") or result.get("exit_code")
    return f"{result['state']}" + (f" ({how})" if how is not None else "")


_COMMAND = (
    Flag("command", TEXT, "a line for the shell, instead of words behind --"),
    Flag("timeout", duration(0.1), "killed after; at most 1h"),
    Flag("user", TEXT, "as this user of the node"),
)
RUNS = (
    Special(
        ("nodes", "exec"),
        ("run a command on one node and wait, 60 s at most", "在一个节点上执行命令并等待，最多 60 秒"),
        run_on_one,
        (Argument("NODE"),),
        _COMMAND,
        ("POST /nodes/{id}/exec",),
    ),
    Special(
        ("runs", "output"),
        ("all that one node said", "一个节点的完整输出"),
        show_run_output,
        (Argument("OPERATION"), Argument("NODE")),
        (),
        ("GET /exec/{id}/results/{node_id}",),
    ),
    Special(
        ("exec",),
        ("run a command on nodes: ops exec n1 n2 -- uptime", "在节点上执行命令：ops exec n1 n2 -- uptime"),
        run_command,
        (Argument("NODE", is_optional=True, is_many=True),),
        (
            *_COMMAND,
            Flag("labels", LABELS, "on every node with these labels"),
            Flag("no-wait", SWITCH, "do not wait for the end"),
        ),
        ("POST /exec", "GET /exec/{id}", "GET /exec/{id}/results/{node_id}"),
    ),
)
