"""Handing over between programs: what is passed on, what is not, and what a damaged state means."""

import os
import sys
from pathlib import Path

import pytest

from ops_system import __version__
from ops_system.model.reasons import Reason
from ops_system.worker import switch
from ops_system.worker.programs import Outcome, Pending, Program, ProgramState


class Became(Exception):
    """Stands for the end of this program: execve does not return."""


@pytest.fixture
def execs(monkeypatch):
    calls = []

    def execve(path, argv, env):
        calls.append((path, argv, env))
        raise Became

    monkeypatch.setattr(os, "execve", execve)
    return calls


@pytest.fixture
def frozen(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)


def sent_program(folder: Path, version: str = "99.0") -> Program:
    path = folder / f"worker-{version}"
    path.write_text(version)
    return Program(version, "ab" * 32, str(path), switch.hash_program(str(path)))


def test_a_worker_from_source_has_no_seat():
    assert switch.take_seat({"OPS_EXECUTABLE": "/opt/worker"}, []) is None


@pytest.mark.usefixtures("frozen")
def test_the_seat_knows_the_installed_program_and_takes_the_marks_out_of_the_environment():
    first = switch.take_seat({"OPS_EXECUTABLE": "/opt/worker", "NOTIFY_SOCKET": "/run/notify"}, ["-port", "1"])
    assert first.is_installed
    assert first.installed == "/opt/worker"
    assert first.environ == {"NOTIFY_SOCKET": "/run/notify"}, "the service manager stays reachable"
    environ = {
        "OPS_EXECUTABLE": "/srv/new/worker",
        "OPS_INSTALLED_EXECUTABLE": "/opt/worker",
        "OPS_PROGRAM_STATE": "/srv/program/state.json",
    }
    second = switch.take_seat(environ, [])
    assert (second.installed, second.running, second.is_installed) == ("/opt/worker", "/srv/new/worker", False)
    assert set(environ) == {"OPS_EXECUTABLE"}


def test_the_environment_is_what_it_was_before_the_program_unpacked_itself():
    environ = {
        "LD_LIBRARY_PATH": "/unpacked",
        "LD_LIBRARY_PATH_ORIG": "/usr/local/lib",
        "_PYI_ARCHIVE_FILE": "x",
        "HOME": "/root",
    }
    assert switch.as_before(environ) == {"LD_LIBRARY_PATH": "/usr/local/lib", "HOME": "/root"}


@pytest.mark.parametrize("flags", [["-token", "secret"], ["--token", "secret"], ["-token=secret"], ["--token=-"]])
def test_the_join_token_is_not_handed_on(flags):
    assert switch.without_token(["-port", "1", *flags, "-name", "a"]) == ("-port", "1", "-name", "a")


def test_what_is_chosen_is_started_after_the_try_is_on_the_disk(tmp_path, execs):
    seat = switch.Seat("/opt/worker", "/opt/worker", ("-port", "1"), {"HOME": "/root"})
    new = sent_program(tmp_path)
    path = switch.state_path(tmp_path)
    switch.save_state(path, ProgramState(pending=Pending("op1", new, 90.0)))
    with pytest.raises(Became):
        switch.become_chosen(seat, tmp_path)
    assert switch.load_state(path).pending.attempts == 1
    [(started, argv, environ)] = execs
    assert (started, argv) == (new.path, [new.path, "-port", "1"])
    assert environ["OPS_INSTALLED_EXECUTABLE"] == "/opt/worker"
    switch.become_chosen(seat, tmp_path)  # the second start finds the one try spent
    assert len(execs) == 1
    assert switch.load_state(path).outcome.reason.code == "update_failed"


def test_a_program_the_system_cannot_run_is_given_up_at_once(tmp_path, monkeypatch):
    def execve(*_words):
        raise OSError(8, "Exec format error")

    monkeypatch.setattr(os, "execve", execve)
    path = switch.state_path(tmp_path)
    switch.save_state(path, ProgramState(pending=Pending("op1", sent_program(tmp_path), 90.0)))
    switch.become_chosen(switch.Seat("/opt/worker", "/opt/worker", (), {}), tmp_path)
    assert "Exec format error" in switch.load_state(path).outcome.reason.message


def test_a_program_changed_after_it_was_verified_is_not_started(tmp_path, execs):
    new = sent_program(tmp_path)
    Path(new.path).write_text("something else")
    switch.save_state(switch.state_path(tmp_path), ProgramState(current=new))
    switch.become_chosen(switch.Seat("/opt/worker", "/opt/worker", (), {}), tmp_path)
    assert execs == []


def test_a_damaged_state_leaves_the_installed_program(tmp_path, execs):
    path = switch.state_path(tmp_path)
    path.parent.mkdir()
    path.write_text("{")
    switch.become_chosen(switch.Seat("/opt/worker", "/opt/worker", (), {}), tmp_path)
    assert execs == []


def test_a_candidate_that_cannot_start_makes_way(tmp_path, execs):
    new = sent_program(tmp_path)
    path = switch.state_path(tmp_path)
    switch.save_state(path, ProgramState(pending=Pending("op1", new, 90.0, attempts=1)))
    seat = switch.Seat("/opt/worker", new.path, (), {}, path)
    with pytest.raises(Became):
        switch.return_from_failed_start(seat, "exit 2")
    assert execs[0][0] == "/opt/worker"
    words = f"version {__version__} does not start: exit 2"
    assert switch.load_state(path).outcome == Outcome("op1", "99.0", Reason("update_failed", words))
    switch.return_from_failed_start(seat, "later, it is no candidate any more")
    assert len(execs) == 1
