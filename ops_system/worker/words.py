"""What a person sees of the worker on a terminal, in English and Chinese; chosen by LC_ALL, LC_MESSAGES or LANG."""

import os
from collections.abc import Mapping

from ops_system.model.language import is_chinese

_JOIN_HOW = """this node has not joined a master yet. Make a token on the master with
    ops-master join-token create
and join with
    ops-worker -master {master} -token TOKEN -work_dir {work_dir}"""
_JOIN_HOW_ZH = """本节点尚未加入任何主控。请先在主控上生成令牌：
    ops-master join-token create
再用下面的命令加入：
    ops-worker -master {master} -token TOKEN -work_dir {work_dir}"""
_STILL_RUNNING = """services still run here: {names}. Destroy them on the master, or say what becomes of them:
    ops-worker leave -stop 1     stops and removes them
    ops-worker leave -keep 1     lets them go on without care"""
_STILL_RUNNING_ZH = """仍有服务在运行：{names}。请先在主控上销毁，或指明如何处理：
    ops-worker leave -stop 1     停止并移除它们
    ops-worker leave -keep 1     任其继续运行，不再看护"""

_WORDS = {
    "join_how": (_JOIN_HOW, _JOIN_HOW_ZH),
    "joined": ("joined {master} as {name} ({id})", "已加入 {master}，节点名 {name}（{id}）"),
    "node": ("node {name} ({id}) of {master}", "节点 {name}（{id}），主控 {master}"),
    "running": ("the worker is running; link to the master: {state}", "worker 运行中；与主控的连接：{state}"),
    "not_running": ("the worker is not running; what it deployed goes on", "worker 未运行；已部署的服务继续运行"),
    "no_instances": ("no services are deployed here", "本节点没有部署服务"),
    "left": (
        "left {master}: identity, keys and state are gone from {work_dir}",
        "已离开 {master}：{work_dir} 中的身份、密钥与状态已删除",
    ),
    "told": (
        "the master knows: node {name} is revoked there and can be removed",
        "主控已知悉：节点 {name} 已被吊销，可以删除",
    ),
    "not_told": (
        "the master could not be told ({why}); revoke or remove node {name} there",
        "未能通知主控（{why}）；请在主控上吊销或删除节点 {name}",
    ),
    "unattended": ("these go on without care: {names}", "以下服务继续运行，不再看护：{names}"),
    "stopped": ("stopped and removed: {names}", "已停止并移除：{names}"),
    "not_joined": ("this node has not joined a master", "本节点尚未加入主控"),
    "still_running": (_STILL_RUNNING, _STILL_RUNNING_ZH),
}


def say(name: str, /, environ: Mapping[str, str] | None = None, **values: object) -> str:
    """Return the words for `name` in the language of the environment."""
    english, chinese = _WORDS[name]
    return (chinese if is_chinese(os.environ if environ is None else environ) else english).format(**values)
