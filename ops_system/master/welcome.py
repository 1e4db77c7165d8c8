"""What a person sees when the master starts: the address, the setup code, and the console in a browser on a desktop.

Called by `main`. In Chinese where the environment speaks it.
"""

import os
import sys
import threading
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Ready:
    """A master that answers. `tls_url` is empty while nobody outside may come in; `setup_code` once it is set up."""

    url: str
    tls_url: str
    setup_code: str
    data_dir: str


_ENGLISH: Mapping[str, str] = MappingProxyType(
    {
        "console": "Console      {url}",
        "tls": "Network      {tls_url}",
        "tls_later": "Network      opens after the setup",
        "data": "Data folder  {data_dir}",
        "setup": "First start: open {url}/setup#code={setup_code}",
        "code": "             or open {url} and enter the code {setup_code} (valid 30 minutes)",
        "new_code": "New setup code: {url}/setup#code={setup_code}",
        "stop": "Ctrl-C stops the master; deployed services go on.",
    }
)
_CHINESE: Mapping[str, str] = MappingProxyType(
    {
        "console": "控制台    {url}",
        "tls": "网络地址  {tls_url}",
        "tls_later": "网络地址  完成初始化后开放",
        "data": "数据目录  {data_dir}",
        "setup": "首次启动：请打开 {url}/setup#code={setup_code}",
        "code": "          或打开 {url} 并输入初始化码 {setup_code}（30 分钟内有效）",
        "new_code": "新的初始化码：{url}/setup#code={setup_code}",
        "stop": "按 Ctrl-C 停止主控；已部署的服务继续运行。",
    }
)


def speaks_chinese(environ: Mapping[str, str]) -> bool:
    """True when LC_ALL, LC_MESSAGES or LANG (the first one set) begins with `zh`."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(name):
            return environ[name].lower().startswith("zh")
    return False


def welcome_text(ready: Ready, *, is_chinese: bool) -> str:
    """Return the lines to print."""
    words = _CHINESE if is_chinese else _ENGLISH
    keys = ["console", "tls" if ready.tls_url else "tls_later", "data"]
    keys += ["setup", "code"] if ready.setup_code else []
    lines = [words[key] for key in [*keys, "stop"]]
    fields = {"url": ready.url, "tls_url": ready.tls_url, "setup_code": ready.setup_code, "data_dir": ready.data_dir}
    return "\n".join(line.format_map(fields) for line in lines)


def has_desktop(environ: Mapping[str, str], platform: str) -> bool:
    """True where somebody sits in front of this machine: a desktop, no ssh, no automation."""
    if environ.get("CI") or environ.get("SSH_CONNECTION"):
        return False
    if platform in {"win32", "darwin"}:
        return True
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


class Welcome:
    """Talks to the person who started the master, on standard output."""

    def __init__(self, data_dir: str, *, shows_browser: bool) -> None:
        self._data_dir = data_dir
        self._shows_browser = shows_browser
        self._url = ""

    def greet(self, url: str, tls_url: str, setup_code: str) -> None:
        """Print where the master answers, and show the console where wanted."""
        self._url = url
        ready = Ready(url, tls_url, setup_code, self._data_dir)
        _say(welcome_text(ready, is_chinese=speaks_chinese(os.environ)))
        if self._shows_browser:
            open_browser(ready)

    def tell_code(self, code: str) -> None:
        """Print a setup code that took the place of the one in the greeting."""
        if self._url:
            words = _CHINESE if speaks_chinese(os.environ) else _ENGLISH
            _say(words["new_code"].format(url=self._url, setup_code=code))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def open_browser(ready: Ready) -> None:
    """Show the console; with the setup code in the fragment, which no server ever sees. Never waits, never fails."""
    page = f"{ready.url}/setup#code={ready.setup_code}" if ready.setup_code else ready.url
    threading.Thread(target=webbrowser.open, args=(page,), name="browser", daemon=True).start()
