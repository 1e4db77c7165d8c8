"""What the master may ask of this worker over the link: one line per request and stream. Called by `app`."""

from ops_system.protocol.logs import FollowLog, ListLogs, ReadLog, ReadLogBytes, SearchLog, WatchLogs
from ops_system.protocol.requests import (
    FetchPackage,
    ListCrashes,
    ListProcesses,
    MatchProcess,
    ReadUpdate,
    ReconfigureInstance,
    ReloadInstance,
    RunCommand,
    UpdateWorker,
)
from ops_system.protocol.terminals import CloseTerminal, ListTerminals, NameTerminal, OpenTerminal
from ops_system.runtime.handlers import Handlers
from ops_system.worker.crashes import CrashStore
from ops_system.worker.deploy import Deployer
from ops_system.worker.execution import Execution
from ops_system.worker.logs import InstanceLogs
from ops_system.worker.takeover import Takeovers
from ops_system.worker.terminals import TerminalSessions
from ops_system.worker.updates import Updates


def register(
    handlers: Handlers, logs: InstanceLogs, crashes: CrashStore, execution: Execution, terminals: TerminalSessions
) -> None:
    """Fill the table of the link."""
    handlers.on_request("logs.list", ListLogs, logs.list_logs)
    handlers.on_request("logs.read", ReadLog, logs.read_log)
    handlers.on_request("logs.search", SearchLog, logs.search_log)
    handlers.on_request("logs.bytes", ReadLogBytes, logs.read_log_bytes)
    handlers.on_stream("log.follow", FollowLog, logs.follow_log)
    handlers.on_stream("log.watch", WatchLogs, logs.watch_logs)
    handlers.on_stream("exec", RunCommand, execution.run)
    handlers.on_stream("terminal", OpenTerminal, terminals.serve)
    handlers.on_request("terminals.list", ListTerminals, terminals.list_all)
    handlers.on_request("terminals.name", NameTerminal, terminals.name)
    handlers.on_request("terminals.close", CloseTerminal, terminals.close)
    handlers.on_request("crashes.list", ListCrashes, crashes.list_crashes)


def register_takeovers(handlers: Handlers, takeovers: Takeovers) -> None:
    """Fill in what concerns processes that run here already."""
    handlers.on_request("processes.list", ListProcesses, takeovers.list_processes)
    handlers.on_request("takeover.match", MatchProcess, takeovers.match)
    handlers.on_request("instances.reload", ReloadInstance, takeovers.reload)
    handlers.on_request("instances.reconfigure", ReconfigureInstance, takeovers.reconfigure)


def register_packages(handlers: Handlers, deployer: Deployer) -> None:
    """Fill in what concerns packages ahead of their start."""
    handlers.on_request("packages.fetch", FetchPackage, deployer.fetch)


def register_updates(handlers: Handlers, updates: Updates) -> None:
    """Fill in what concerns this program itself."""
    handlers.on_request("update.begin", UpdateWorker, updates.begin)
    handlers.on_request("update.state", ReadUpdate, updates.read)
