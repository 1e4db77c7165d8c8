"""What a person sees of the worker on a terminal, in English and Chinese; chosen by LC_ALL, LC_MESSAGES or LANG."""

import os
from collections.abc import Mapping

_JOIN_HOW = """this node has not joined a master yet. Make a token on the master with
    ops-master join-token create
and join with
    ops-worker -master {master} -token TOKEN -work_dir {work_dir}"""
_JOIN_HOW_ZH = """本节点尚未加入任何主控。请先在主控上生成令牌：
    ops-master join-token create
再用下面的命令加入：
    ops-worker -master {master} -token TOKEN -work_dir {work_dir}"""
_STILL_RUNNING = """{count} services still run here: {names}. Destroy them on the master, or let them go without care:
    ops-worker leave --force"""
_STILL_RUNNING_ZH = """仍有 {count} 个服务在运行：{names}。请先在主控上销毁；若要放任其继续运行：
    ops-worker leave --force"""

_WORDS = {
    "join_how": (_JOIN_HOW, _JOIN_HOW_ZH),
    "joined": ("joined {master} as {name} ({id})", "已加入 {master}，节点名 {name}（{id}）"),
    "node": ("node {name} ({id}) of {master}", "节点 {name}（{id}），主控 {master}"),
    "running": ("the worker is running; link to the master: {state}", "worker 运行中；与主控的连接：{state}"),
    "not_running": ("the worker is not running; what it deployed goes on", "worker 未运行；已部署的服务继续运行"),
    "no_instances": ("no services are deployed here", "本节点没有部署服务"),
    "left": (
        "left {master}: identity and state are gone from {work_dir}. Remove the node on the master as well",
        "已离开 {master}：{work_dir} 中的身份与状态已删除。请在主控上同样删除该节点",
    ),
    "not_joined": ("this node has not joined a master", "本节点尚未加入主控"),
    "still_running": (_STILL_RUNNING, _STILL_RUNNING_ZH),
}


def say(name: str, /, environ: Mapping[str, str] | None = None, **values: object) -> str:
    """Return the words for `name` in the language of the environment."""
    english, chinese = _WORDS[name]
    return (chinese if is_chinese(os.environ if environ is None else environ) else english).format(**values)


def is_chinese(environ: Mapping[str, str]) -> bool:
    """Return whether the first locale variable that is set asks for Chinese."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return locale.lower().startswith("zh")
