"""What the master may ask of this worker over the link: one line per request and stream. Called by `app`."""

import asyncio

from ops_system.protocol.requests import (
    FollowLog,
    ListCrashes,
    ListLogs,
    ListProcesses,
    Processes,
    ReadLog,
    ReadLogBytes,
    RunCommand,
)
from ops_system.runtime.handlers import Handlers
from ops_system.worker.crashes import CrashStore
from ops_system.worker.execution import Execution
from ops_system.worker.logs import InstanceLogs
from ops_system.worker.metrics.processlist import list_processes


def register(handlers: Handlers, logs: InstanceLogs, crashes: CrashStore, execution: Execution) -> None:
    """Fill the table of the link."""
    handlers.on_request("logs.list", ListLogs, logs.list_logs)
    handlers.on_request("logs.read", ReadLog, logs.read_log)
    handlers.on_request("logs.bytes", ReadLogBytes, logs.read_log_bytes)
    handlers.on_stream("log", FollowLog, logs.follow_log)
    handlers.on_stream("exec", RunCommand, execution.run)
    handlers.on_request("crashes.list", ListCrashes, crashes.list_crashes)
    handlers.on_request("processes.list", ListProcesses, _list_processes)


async def _list_processes(_body: ListProcesses) -> Processes:
    return await asyncio.to_thread(list_processes)
