"""What `-autostart` says on a terminal, in English and Chinese."""

import os
from collections.abc import Mapping

from ops_system.model.language import is_chinese
from ops_system.model.nodes import BootService
from ops_system.service.base import Change

_WORDS = {
    "installed": ("installed the boot service {unit}: {path}", "已安装开机服务 {unit}：{path}"),
    "updated": ("updated the boot service {unit}: {path}", "已更新开机服务 {unit}：{path}"),
    "repaired": (
        "the boot service {unit} was not enabled; it is now: {path}",
        "开机服务 {unit} 未启用，现已启用：{path}",
    ),
    "unchanged": ("the boot service {unit} was already there: {path}", "开机服务 {unit} 已存在：{path}"),
    "removed": (
        "removed the boot service {unit} ({path}); services it started go on",
        "已移除开机服务 {unit}（{path}）；它启动的服务继续运行",
    ),
    "absent": ("there was no boot service {unit}; nothing to remove", "没有开机服务 {unit}，无需移除"),
    "kept": ("somebody had changed the unit; the old one is kept as {kept}", "该单元曾被手工修改；旧文件保存为 {kept}"),
    "active": ("it runs now and at every boot", "现已运行，并随每次开机启动"),
    "not_active": ("it does not run now", "当前未运行"),
    "start_later": (
        "another copy runs now; the boot service takes over at the next boot, or stop that copy and start {unit}",
        "当前有另一个进程正在运行；开机服务将在下次开机时接管，或先停止该进程再启动 {unit}",
    ),
    "lingers": ("it starts at boot, before anybody logs in", "开机即启动，无需登录"),
    "no_linger": (
        "it starts when you log in; to start it at boot: sudo loginctl enable-linger {user}",
        "登录后才启动；若要开机即启动：sudo loginctl enable-linger {user}",
    ),
    "at_login": ("it starts when you log in; as root it would start at boot", "登录后启动；以 root 安装则开机即启动"),
    "boot_service": ("boot service: {state} {unit} {path}", "开机服务：{state} {unit} {path}"),
    "state_absent": ("none", "无"),
    "state_installed": ("installed, not enabled", "已安装，未启用"),
    "state_enabled": ("enabled, not running", "已启用，未运行"),
    "state_active": ("running", "运行中"),
}


def tell_change(change: Change, environ: Mapping[str, str] | None = None) -> str:
    """Return what was done and where, a sentence a line."""
    names: list[str] = [change.done]
    names += ["kept"] if change.kept else []
    names += [] if change.done in {"removed", "absent"} or change.hints else ["active"]
    return "\n".join(_say(name, change.service, change.kept, environ) for name in (*names, *change.hints))


def tell_state(service: BootService, environ: Mapping[str, str] | None = None) -> str:
    """Return how the boot service is, in one line."""
    place = _pick("boot_service", environ)
    state = _pick(f"state_{service.state}", environ)
    shown = ("", "") if service.state == "absent" else (service.unit, service.path)
    return place.format(state=state, unit=shown[0], path=shown[1]).rstrip()


def _say(name: str, service: BootService, kept: str, environ: Mapping[str, str] | None) -> str:
    user = (os.environ if environ is None else environ).get("USER", "USER")
    return _pick(name, environ).format(unit=service.unit, path=service.path, kept=kept, user=user)


def _pick(name: str, environ: Mapping[str, str] | None) -> str:
    english, chinese = _WORDS[name]
    return chinese if is_chinese(os.environ if environ is None else environ) else english
