"""The texts of boot services: systemd unit, launchd property list, Windows command line. Pure; called by each system.

Sources: systemd.unit(5), systemd.service(5), systemd.exec(5), launchd.plist(5), CommandLineToArgvW.
"""

import hashlib
import plistlib
import subprocess

from ops_system.model.errors import UsageError
from ops_system.service.base import RESTART_NOT_AFTER, STOP_WITHIN_S, WATCHDOG_S, Unit

_MARK = "# ops-system sha256="
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\t": r"\t", "\r": r"\r"})

_SYSTEMD = """\
[Unit]
Description={description}
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={exec_start}
WorkingDirectory=-{working_dir}
{environment}# The services this program started are not its own: a stop, a restart or a kill leaves them alone.
KillMode=process
Delegate=yes
OOMPolicy=continue
Restart=on-failure
RestartSec=1
RestartPreventExitStatus={not_after}
WatchdogSec={watchdog_s}
TimeoutStartSec=600
TimeoutStopSec={stop_s}
TasksMax=infinity
LimitNOFILE=1048576

[Install]
WantedBy={target}
"""


def unit_name(role: str) -> str:
    """Return the systemd unit of a role."""
    return f"ops-{role}.service"


def systemd_unit(unit: Unit, *, is_user: bool) -> str:
    """Return the unit file; its first line tells whether somebody has changed it since. Raises UsageError."""
    body = _SYSTEMD.format(
        description=_one_line(unit.description).replace("%", "%%"),
        exec_start=" ".join(quote_systemd(word) for word in unit.argv),
        working_dir=_one_line(unit.working_dir).replace("%", "%%"),
        environment="".join(
            f"Environment={quote_systemd(f'{name}={value}', is_command=False)}\n"
            for name, value in sorted(unit.environment.items())
        ),
        not_after=" ".join(str(code) for code in RESTART_NOT_AFTER),
        watchdog_s=WATCHDOG_S,
        stop_s=STOP_WITHIN_S,
        target="default.target" if is_user else "multi-user.target",
    )
    return sealed(body)


def sealed(body: str) -> str:
    """Return the text with a first line that holds the hash of the rest."""
    return f"{_MARK}{hashlib.sha256(body.encode()).hexdigest()}\n{body}"


def is_as_written(text: str) -> bool:
    """Return whether a unit is one of ours that nobody has changed."""
    _, newline, body = text.partition("\n")
    return bool(newline) and sealed(body) == text


def quote_systemd(word: str, *, is_command: bool = True) -> str:
    """Return one word as systemd reads it back: `%` and, in commands, `$` are doubled; spaces and quotes are safe."""
    if "\0" in word:
        raise UsageError("a value with a NUL byte cannot stand in a boot service")
    text = word.translate(_ESCAPES).replace("%", "%%")
    return f'"{text.replace("$", "$$") if is_command else text}"'


def _one_line(text: str) -> str:
    if any(char in text for char in "\n\r\0") or text != text.strip() or text.endswith("\\"):
        raise UsageError("the path {text!r} cannot stand in a boot service; start from another folder", text=text)
    return text


def launchd_label(role: str) -> str:
    """Return launchd's name of a role."""
    return f"ops-system.{role}"


def launchd_plist(unit: Unit) -> bytes:
    """Return the property list. `AbandonProcessGroup`: what the program started survives its end."""
    output = {"StandardOutPath": unit.log_file, "StandardErrorPath": unit.log_file} if unit.log_file else {}
    return plistlib.dumps(
        {
            "Label": launchd_label(unit.role),
            "ProgramArguments": list(unit.argv),
            "WorkingDirectory": unit.working_dir,
            "EnvironmentVariables": dict(sorted(unit.environment.items())),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "AbandonProcessGroup": True,
            "ExitTimeOut": STOP_WITHIN_S,
            "SoftResourceLimits": {"NumberOfFiles": 65536},
            **output,
        }
    )


def windows_command_line(unit: Unit) -> str:
    """Return `argv` as CommandLineToArgvW reads it back."""
    return subprocess.list2cmdline(unit.argv)
