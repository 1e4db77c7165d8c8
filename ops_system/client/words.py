"""Every word `ops` itself says while it works, in English and Chinese; the environment chooses (model.language).

What the master answers is the master's: its messages are English, its codes are explained here.
"""

from collections.abc import Mapping

from ops_system.model.language import is_chinese

_CATALOGUE: dict[str, tuple[str, str]] = {
    "about": ("speaks to an ops master", "操作 ops 主控"),
    "help.nouns": (
        'what to act on ("ops NOUN --help" lists what can be done with it):',
        '可操作的对象（"ops NOUN --help" 列出其全部命令）：',
    ),
    "help.start": (
        "begin with: ops login https://HOST:8443    shell completion: ops completion bash|zsh|fish",
        "开始：ops login https://HOST:8443    命令补全：ops completion bash|zsh|fish",
    ),
    "hint.unauthenticated": (
        "your session or token is not valid (any more): ops login {url}",
        "会话或令牌无效或已过期：ops login {url}",
    ),
    "hint.forbidden": (
        (
            "a role or grant is missing; an administrator gives it with: ops users edit NAME --role ROLE --grants LIST,"
            " or makes a token that has it: ops tokens create NAME --role ROLE --grants LIST"
        ),
        (
            "缺少角色或授权；管理员可执行：ops users edit NAME --role ROLE --grants LIST，"
            "或新建令牌：ops tokens create NAME --role ROLE --grants LIST"
        ),
    ),
    "hint.step_up_required": (
        (
            "this wants a password or one-time code of the last ten minutes: run it on a terminal, which asks for it,"
            " or use an API token with the grant"
        ),
        "此操作需要十分钟内验证过的密码或动态口令：请在终端中运行（会询问），或使用带相应授权的 API 令牌",
    ),
    "hint.rate_limited": ("too many tries; wait {retry_after_s} s", "尝试过于频繁，请等待 {retry_after_s} 秒"),
    "hint.node_offline": ("see: ops nodes list --status offline", "查看：ops nodes list --status offline"),
    "hint.storage_full": ("the master's disk is full; make room there", "主控磁盘已满，请清理空间"),
    "hint.unavailable": ("try again in a while", "请稍后再试"),
    "request": ("request {id}", "请求 {id}"),
    "login.first": (
        "no master is known yet; log in first: ops login https://HOST:8443",
        "尚无已知的主控；请先登录：ops login https://HOST:8443",
    ),
    "login.authority": (
        (
            "{url} shows an authority nobody vouches for.\n  SHA-256 of its key: {sha256}\n"
            "Compare it with the one under Settings - Security of the console, or `ops-master doctor`."
        ),
        (
            "{url} 出示的证书颁发机构无人担保。\n  其密钥的 SHA-256：{sha256}\n"
            "请与控制台“设置-安全”或 `ops-master doctor` 显示的值比对。"
        ),
    ),
    "login.trust": ("trust it from now on? [y/N] ", "从此信任它？[y/N] "),
    "login.untrusted": (
        (
            "{url} shows an authority nobody vouches for, and nobody is there to ask;"
            " give --ca-sha256 {sha256} if that is its key"
        ),
        "{url} 的证书颁发机构无人担保，且无法询问；若确认其密钥无误，请加 --ca-sha256 {sha256}",
    ),
    "login.refused": ("not trusted; nothing was sent", "未信任；没有发送任何内容"),
    "login.user": ("user name: ", "用户名："),
    "login.password": ("password of {name}: ", "{name} 的密码："),
    "login.totp": ("one-time code: ", "动态口令："),
    "login.proof": ("password (or one-time code) of {name}, for this: ", "此操作需再次验证 {name} 的密码或动态口令："),
    "login.no_terminal": (
        "nobody is there to ask for the password: give --password-stdin, or --token @FILE",
        "无法询问密码：请使用 --password-stdin 或 --token @FILE",
    ),
    "login.done": ("{name} at {url}, context {context}", "{name} 已登录 {url}，上下文 {context}"),
    "logout.done": ("logged out of {context}", "已退出 {context}"),
    "context.none": ("there is no context {name}; known: {known}", "没有上下文 {name}；已知：{known}"),
    "context.used": ("{name} is used from now on", "现在使用 {name}"),
    "context.removed": ("{name} is forgotten here", "已移除 {name}"),
    "confirm": ("{what}\n{follows}. Go on? [y/N] ", "{what}\n{follows}。继续？[y/N] "),
    "confirm.no_terminal": (
        "{what}: {follows}; nobody is there to ask, say --yes",
        "{what}：{follows}；无法询问，请加 --yes",
    ),
    "confirm.not": ("nothing was done", "未做任何改动"),
    "rows.more": ("{shown} of {total}; --limit shows more", "共 {total} 条，显示 {shown} 条；--limit 可显示更多"),
    "rows.none": ("nothing", "无"),
    "saved": ("{path}: {size}", "{path}:{size}"),
    "done": ("done", "完成"),
    "name.none": ("there is no {noun} {name}{hint}", "没有{noun} {name}{hint}"),
    "name.several": ("{name} is the name of several: {ids}; give the id", "{name} 对应多个：{ids}；请给出 id"),
    "op.follow": (
        "{id} goes on; see it with: ops operations watch {id}",
        "{id} 仍在继续；查看：ops operations watch {id}",
    ),
    "op.began": ("{id} has begun: {title}", "{id} 已开始：{title}"),
    "op.ended": ("{id} {state}", "{id} {state}"),
    "op.left": ("{left} left", "剩余 {left}"),
    "exec.nobody": ("name nodes, or choose them with --labels K=V", "请指定节点，或用 --labels K=V 选择"),
    "exec.nothing": (
        "say what to run: ops exec NODE -- COMMAND ARGUMENTS, or --command TEXT for a shell",
        "请指定命令：ops exec NODE -- 命令 参数，或 --command TEXT 交给 shell",
    ),
    "terminal.tty": ("a terminal is needed on this side too", "本端也需要终端"),
    "terminal.windows": (
        "terminals from Windows are not supported here; use the console",
        "Windows 上暂不支持；请使用控制台",
    ),
    "terminal.open": (
        "{node}: session {session}; {key} leaves it open and goes",
        "{node}：会话 {session}；按 {key} 离开并保留会话",
    ),
    "terminal.left": (
        "left; back with: ops terminal {node} --session {session}",
        "已离开；返回：ops terminal {node} --session {session}",
    ),
    "terminal.ended": ("the shell has ended ({how})", "shell 已结束（{how}）"),
    "logs.dropped": ("… {count} lines left out", "… 略去 {count} 行"),
    "back.none": (
        "no rollout of this module is on record; name the version: ops rollout back MODULE VERSION",
        "没有该模块的发布记录；请指定版本：ops rollout back MODULE VERSION",
    ),
    "apply.follows": (
        "{changes} changes, {instances} instances are touched",
        "{changes} 处变更，涉及 {instances} 个实例",
    ),
    "back.follows": ("every instance of it goes to {version}", "其全部实例将换到 {version}"),
    "push.sending": ("sending", "上传"),
    "push.done": ("{name} {version} is on the master, sha256 {sha256}", "{name} {version} 已上传，sha256 {sha256}"),
}


class Words:
    """One language's words."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.language = 1 if is_chinese(environ) else 0

    def say(self, key: str, /, **values: object) -> str:
        """Return the words of `key` with `values` filled in."""
        return _CATALOGUE[key][self.language].format(**values)

    def hint(self, code: str, /, **values: object) -> str:
        """Return what to do about an error code, empty where there is nothing to say."""
        return self.say(f"hint.{code}", **values) if f"hint.{code}" in _CATALOGUE else ""
