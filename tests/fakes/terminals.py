"""A viewer of terminals as a browser is one, and a master with one node to look at."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from ops_system.processes import accounts
from tests.fakes.master import Api, RunningMaster, run_master
from tests.fakes.worker import running_worker, worker_config

WITHIN_S = 20.0


class Viewer:
    """A browser's end: what was shown, what was said, acknowledging as it reads unless told not to."""

    def __init__(self, opened: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = opened
        self.shown = b""
        self.words: list[dict[str, Any]] = []
        self.acks = True

    async def type(self, text: str) -> None:
        await self.socket.send_bytes(text.encode())

    async def say(self, **word: Any) -> None:
        await self.socket.send_json(word)

    async def step(self) -> bool:
        """Take one frame; False when the socket has closed."""
        message = await self.socket.receive()
        match message.type:
            case aiohttp.WSMsgType.BINARY:
                self.shown += message.data
                if self.acks:
                    await self.say(type="ack", bytes=len(message.data))
            case aiohttp.WSMsgType.TEXT:
                self.words.append(json.loads(message.data))
            case _:
                return False
        return True

    async def until_shown(self, text: str) -> None:
        async with asyncio.timeout(WITHIN_S):
            while text.encode() not in self.shown:
                assert await self.step(), self.words

    async def until_word(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(WITHIN_S):
            while True:
                for word in self.words:
                    if word["type"] == kind:
                        self.words.remove(word)
                        return word
                assert await self.step(), self.words

    async def drain(self, quiet_s: float = 0.5) -> None:
        """Take frames until none comes for a while."""
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(quiet_s):
                    if not await self.step():
                        return


class Site:
    """A master, a worker, an administrator."""

    def __init__(self, master: RunningMaster, api: Api, node_id: str) -> None:
        self.master = master
        self.api = api
        self.node_id = node_id

    @contextlib.asynccontextmanager
    async def look(self, api: Api | None = None, **query: Any) -> AsyncIterator[Viewer]:
        text = "&".join(f"{name}={value}" for name, value in {"cols": 100, "rows": 30, **query}.items())
        async with (api or self.api).socket(f"/nodes/{self.node_id}/terminal?{text}") as opened:
            yield Viewer(opened)

    async def sessions(self) -> list[dict[str, Any]]:
        return (await self.api.get(f"/nodes/{self.node_id}/terminals"))["items"]


def give_empty_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give shells an empty home: what a person's profile does must not decide a test."""
    real, home = accounts.login_of, folder / "home"
    home.mkdir()

    def login_of(user: str) -> accounts.Login:
        return msgspec.structs.replace(real(user), home=str(home), shell="/bin/bash")

    monkeypatch.setattr(accounts, "login_of", login_of)


@contextlib.asynccontextmanager
async def a_site(folder: Path, *, allows: bool = True) -> AsyncIterator[Site]:
    async with run_master(folder) as master, master.admin_client() as api:
        config = worker_config(folder / "n1", master.url, await master.create_join_token())
        config = msgspec.structs.replace(config, policy=msgspec.structs.replace(config.policy, terminal=allows))
        async with running_worker(config):
            yield Site(master, api, await online(api))


async def online(api: Api) -> str:
    async with asyncio.timeout(WITHIN_S):
        while True:
            for node in (await api.get("/nodes"))["items"]:
                if node["status"] == "online":
                    return node["id"]
            await asyncio.sleep(0.05)
