"""Recordings of terminals: which sessions are recorded, who may see what they said, and how long it is kept.

The wish to be recorded belongs to the session and lives with it on the worker. Whoever looks at such a session makes
sure that a recording runs: after a restart of the master the next look begins a new one, which starts with what the
session said last.
"""

import asyncio
import logging
import secrets
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

from ops_system.master.audit.service import Audit
from ops_system.master.nodes.scope import reached_nodes, reaches
from ops_system.master.nodes.service import Nodes
from ops_system.master.terminals import store
from ops_system.master.terminals.links import Asker
from ops_system.master.terminals.recorder import Recorder
from ops_system.master.terminals.rules import (
    Recording,
    RecordingQuery,
    TerminalSettings,
    TerminalSettingsChange,
    change_settings,
    expired_recordings,
)
from ops_system.master.web.route import Page, Permission, Principal
from ops_system.model.errors import NotAllowed, NotFound, OpsError
from ops_system.model.ids import spell_id
from ops_system.model.reasons import Reason
from ops_system.protocol.terminals import OpenTerminal
from ops_system.runtime.clock import Clock
from ops_system.runtime.tasks import every
from ops_system.storage.database import Database

_log = logging.getLogger(__name__)

MAX_BYTES = 32 * 1024 * 1024
MAX_ALL_BYTES = 2 * 1024 * 1024 * 1024
KEEP = timedelta(days=30)
SWEEP_EVERY_S = 3600.0
_MASTER = Principal(kind="local", id="master", name="master")
_STOPPED = Reason("recording_stopped", "the master was stopped meanwhile")


class Wanted(NamedTuple):
    """A session that is to be recorded. `owner` began it when `is_new`, else only looks at it."""

    node_id: str
    session: str
    name: str
    user: str
    owner: Principal
    is_new: bool


class _Running(NamedTuple):
    recording: Recording
    recorder: Recorder


class Recordings:
    """The one shelf of recordings; the files lie in `folder`."""

    def __init__(
        self, *, database: Database, audit: Audit, clock: Clock, nodes: Nodes, links: Asker, folder: Path
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._nodes = nodes
        self._links = links
        self._folder = folder
        self._wanted: asyncio.Queue[Wanted] = asyncio.Queue()
        self._running: dict[tuple[str, str], _Running | None] = {}

    async def run(self) -> None:
        """Record what is wanted and clear old recordings away, until cancelled."""
        await self._settle_left_over()
        async with asyncio.TaskGroup() as group:
            group.create_task(every(SWEEP_EVERY_S, self.sweep, "sweep of recordings"), name="sweep of recordings")
            while True:
                wanted = await self._wanted.get()
                group.create_task(self._record(wanted), name=f"recording of {wanted.session}")

    async def _settle_left_over(self) -> None:
        """End on paper what a stopped master could not, and remove files that nobody knows."""
        known = await store.all_recordings(self._database)
        for one, owner_id in known:
            if one.ended_at is None:
                size_bytes = await asyncio.to_thread(_size_of, self._file(one.id))
                ended = msgspec.structs.replace(one, ended_at=self._clock.now(), size_bytes=size_bytes, reason=_STOPPED)
                async with self._database.transaction() as tx:
                    await store.put_recording(tx, ended, owner_id)
        await asyncio.to_thread(_forget_strangers, self._folder, {one.id for one, _ in known})

    # --- recording ------------------------------------------------------------------------------------------------
    def ensure(self, wanted: Wanted) -> None:
        """See to it that this session is recorded from now on. Harmless when it is."""
        key = wanted.node_id, wanted.session
        if key not in self._running:
            self._running[key] = None
            self._wanted.put_nowait(wanted)

    async def _record(self, wanted: Wanted) -> None:
        try:
            await self._record_one(wanted)
        except (OpsError, OSError) as problem:
            _log.warning("terminal %s is not recorded: %s", wanted.session, problem)
        finally:
            del self._running[wanted.node_id, wanted.session]

    async def _record_one(self, wanted: Wanted) -> None:
        body = OpenTerminal(session=wanted.session, is_recorder=True, is_read_only=True, asked_by="recording")
        recording = self._spell(wanted)
        owner_id = await self._begin(recording, wanted)
        recorder = Recorder(self._file(recording.id), self._clock, recording.started_at, recording.name, MAX_BYTES)
        self._running[wanted.node_id, wanted.session] = _Running(recording, recorder)
        stream = self._links.open_stream(wanted.node_id, "terminal", body)
        try:
            reason = await recorder.record(stream)
        finally:
            stream.close()
        ended = msgspec.structs.replace(_now(recording, recorder), ended_at=self._clock.now(), reason=reason)
        async with self._database.transaction() as tx:
            await store.put_recording(tx, ended, owner_id)
            outcome = "done" if reason is None else "failed"
            details = {"session": ended.session, "size_bytes": ended.size_bytes, "reason": reason and reason.code}
            await self._audit.record(tx, _MASTER, "recording.end", f"recording:{ended.id}", outcome, details)

    def _spell(self, wanted: Wanted) -> Recording:
        return Recording(
            id=spell_id("rec", secrets.token_bytes(10)),
            node_id=wanted.node_id,
            node_name=self._nodes.record(wanted.node_id).name,
            session=wanted.session,
            name=wanted.name,
            user=wanted.user,
            started_by=wanted.owner.name,
            started_at=self._clock.now(),
            cols=80,
            rows=24,
        )

    async def _begin(self, recording: Recording, wanted: Wanted) -> str:
        """Put the recording on record before its first byte; return whose it is."""
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        owner_id = wanted.owner.id if wanted.is_new else ""
        async with self._database.transaction() as tx:
            owner_id = owner_id or await store.owner_of_session(tx, wanted.session) or ""
            await store.put_recording(tx, recording, owner_id)
            details = {"session": wanted.session, "node": wanted.node_id}
            await self._audit.record(tx, wanted.owner, "recording.begin", f"recording:{recording.id}", "done", details)
        return owner_id

    # --- looking at what was recorded -----------------------------------------------------------------------------
    async def list_page(self, query: RecordingQuery, actor: Principal) -> Page[Recording]:
        """Return what the actor may see: administrators all, others what they began themselves."""
        owner_id = None if Permission.ADMIN in actor.permissions else actor.id
        items, total = await store.list_recordings(
            self._database, query, owner_id, reached_nodes(self._nodes, actor.scope)
        )
        return Page(items=[self._fresh(one) for one in items], total=total)

    async def get(self, recording_id: str, actor: Principal) -> Recording:
        """Return one. Raises `NotFound`, also for what is somebody else's."""
        found = await store.find_recording(self._database, recording_id)
        if found is not None:
            recording, owner_id = found
            may_see = Permission.ADMIN in actor.permissions or owner_id == actor.id
            if may_see and reaches(self._nodes, actor.scope, recording.node_id):
                return self._fresh(recording)
        raise NotFound(f"there is no recording {recording_id}", id=recording_id)

    def _fresh(self, one: Recording) -> Recording:
        running = self._running.get((one.node_id, one.session))
        return _now(one, running.recorder) if running and running.recording.id == one.id else one

    async def open(self, recording_id: str, actor: Principal) -> tuple[Recording, Path]:
        """Return a recording and its file, once it is on record who reads it. Raises `NotFound`."""
        recording = await self.get(recording_id, actor)
        path = self._file(recording.id)
        if not await asyncio.to_thread(path.is_file):
            raise NotFound(f"the file of recording {recording_id} is gone", id=recording_id)
        await self._audit.record_alone(actor, "recording.read", f"recording:{recording.id}", "done")
        return recording, path

    async def delete(self, recording_id: str, actor: Principal) -> None:
        """Remove a recording that has ended. Raises `NotFound`, `NotAllowed`."""
        recording = await self.get(recording_id, actor)
        if recording.ended_at is None:
            raise NotAllowed(f"recording {recording_id} goes on; end its session first", id=recording_id)
        await self._remove(recording, actor)

    async def _remove(self, recording: Recording, actor: Principal) -> None:
        async with self._database.transaction() as tx:
            await store.delete_recording(tx, recording.id)
            details = {"session": recording.session, "node": recording.node_id}
            await self._audit.record(tx, actor, "recording.remove", f"recording:{recording.id}", "done", details)
        await asyncio.to_thread(self._file(recording.id).unlink, missing_ok=True)

    async def sweep(self) -> None:
        """Remove what is too old or too much."""
        known = [one for one, _ in await store.all_recordings(self._database)]
        for one in expired_recordings(known, self._clock.now(), KEEP, MAX_ALL_BYTES):
            await self._remove(one, _MASTER)

    # --- settings -------------------------------------------------------------------------------------------------
    async def settings(self) -> TerminalSettings:
        """Return what holds for every node."""
        return await store.read_settings(self._database)

    async def change_settings(self, change: TerminalSettingsChange, actor: Principal) -> TerminalSettings:
        """Let this hold for sessions that begin from now on. Raises `Invalid`."""
        async with self._database.transaction() as tx:
            wanted = change_settings(await store.read_settings(tx), change)
            await store.write_settings(tx, wanted)
            details = msgspec.structs.asdict(wanted)
            await self._audit.record(tx, actor, "terminal.settings", "terminals:all", "done", details)
        return wanted

    def _file(self, recording_id: str) -> Path:
        return self._folder / f"{recording_id}.cast"


def _now(recording: Recording, recorder: Recorder) -> Recording:
    cols, rows = recorder.size
    return msgspec.structs.replace(
        recording, cols=cols, rows=rows, size_bytes=recorder.size_bytes, duration_s=round(recorder.duration_s, 3)
    )


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _forget_strangers(folder: Path, known: set[str]) -> None:
    for path in folder.glob("*.cast"):
        if path.stem not in known:
            path.unlink()
