"""What the master may ask of this worker over the link: one line per request and stream. Called by `app`."""

import asyncio

from ops_system.protocol.requests import ListProcesses, Processes
from ops_system.runtime.handlers import Handlers
from ops_system.worker.processlist import list_processes


def register(handlers: Handlers) -> None:
    """Fill the table of the link."""
    handlers.on_request("processes.list", ListProcesses, _list_processes)


async def _list_processes(_body: ListProcesses) -> Processes:
    return await asyncio.to_thread(list_processes)
