"""Every word the pack tool itself says, in English and Chinese; the environment chooses (LC_ALL, LC_MESSAGES, LANG).

Problems of a service.json and of command lines come from the shared rules and are English.
"""

from collections.abc import Mapping

_CATALOGUE: dict[str, tuple[str, str]] = {
    "about": (
        "packs a folder with a service.json into a package, and brings it to a master",
        "把带 service.json 的目录打成服务包并上传到主控",
    ),
    "init": ("write a service.json and a start script into DIR", "在 DIR 中写入 service.json 和启动脚本"),
    "validate": ("check a folder or a zip and list every problem", "检查目录或 zip，列出全部问题"),
    "build": ("pack DIR; the same content gives the same bytes", "打包 DIR；内容相同则字节相同"),
    "inspect": ("show what a package holds", "显示服务包的内容"),
    "push": ("upload a package to a master", "把服务包上传到主控"),
    "keygen": ("make a publisher's key: FILE and FILE.pub", "生成发布者密钥：FILE 和 FILE.pub"),
    "sign": ("write ZIP.sig, a signature beside the package", "写入 ZIP.sig，即服务包的分离签名"),
    "flag.o": ("the zip to write; not given: NAME-VERSION.zip here", "输出的 zip；缺省为当前目录下的 NAME-VERSION.zip"),
    "flag.master": ("address of the master", "主控地址"),
    "flag.token": ("API token; @FILE or - keep it out of ps", "API 令牌；用 @FILE 或 - 可避免出现在 ps 中"),
    "flag.ca": ("PEM file of the CA to trust", "要信任的 CA 的 PEM 文件"),
    "flag.ca_sha256": ("trust the master's CA by the SHA-256 of its key", "按密钥的 SHA-256 信任主控的 CA"),
    "flag.allow_plain_http": ("allow http:// to another host", "允许以 http:// 访问其他主机"),
    "sign-image": (
        "write FILE.sig, a signature beside an image of an operating system",
        "写入 FILE.sig，即操作系统镜像的分离签名",
    ),
    "flag.image": ("of the image, as at its upload", "镜像的该项，与上传时一致"),
    "flag.key": ("the publisher's private key, made by keygen", "发布者私钥，由 keygen 生成"),
    "init.done": (
        "wrote {files} in {folder}; next: pack-tool build {folder}",
        "已在 {folder} 写入 {files}；下一步：pack-tool build {folder}",
    ),
    "init.exists": ("{path} exists already; nothing was written", "{path} 已存在，未写入任何内容"),
    "valid": ("{name} {version}: fine, {files} files, {size}", "{name} {version}：正常，{files} 个文件，{size}"),
    "warning": ("note: {text}", "提示：{text}"),
    "built": (
        "{path}: {name} {version}, {files} files, {size}, sha256 {sha256}",
        "{path}：{name} {version},{files} 个文件，{size},sha256 {sha256}",
    ),
    "packing": ("packing", "打包"),
    "sending": ("sending", "上传"),
    "pushed": (
        "{name} {version} is on the master now, sha256 {sha256}",
        "{name} {version} 已上传到主控，sha256 {sha256}",
    ),
    "pushed.same": (
        "{name} {version} with the same bytes is on the master already; nothing to do",
        "主控上已有内容相同的 {name} {version}，无需上传",
    ),
    "push.conflict": (
        "{name} {version} is on the master with other bytes; a version never changes: raise it in service.json",
        "主控上已有内容不同的 {name} {version}；版本不可更改，请提高 service.json 中的版本号",
    ),
    "push.token": (
        "the master does not accept this token; make one with: ops-master token create NAME --role operator",
        "主控不接受该令牌；请用 ops-master token create NAME --role operator 生成",
    ),
    "push.forbidden": (
        "this token may not upload packages; it needs the role operator",
        "该令牌无权上传服务包，需要 operator 角色",
    ),
    "push.away": (
        "{url} does not answer ({problem}); is the master running there?",
        "{url} 没有应答（{problem}）；主控是否在该地址运行？",
    ),
    "push.certificate": (
        "the certificate of {url} is not trusted ({problem}); name its CA by --ca FILE or --ca-sha256 HEX",
        "{url} 的证书不受信任（{problem}）；请用 --ca FILE 或 --ca-sha256 HEX 指定其 CA",
    ),
    "push.other_ca": (
        "{url} shows another CA than the one given; nothing was sent to it",
        "{url} 出示的 CA 与给定的不同；未发送任何内容",
    ),
    "push.plain": (
        "{url} would send the token readable over the network; use https://{host}:8443, or --allow_plain_http 1",
        "{url} 会在网络上明文发送令牌；请改用 https://{host}:8443，或以 --allow_plain_http 1 放行",
    ),
    "push.answer": ("the master answers {status}: {message}", "主控应答 {status}：{message}"),
    "push.cut": (
        "the connection broke after {sent} of {total}: {problem}; push again",
        "连接在发送 {sent}/{total} 后中断：{problem}；请重新上传",
    ),
    "keygen.done": (
        "{path} is the private key, keep it; {public} may be given away; key id {key_id}",
        "{path} 是私钥，请妥善保管；{public} 可以公开；密钥标识 {key_id}",
    ),
    "signed": ("{path}: {name} {version} signed by key {key_id}", "{path}：{name} {version} 已由密钥 {key_id} 签名"),
    "signature.good": ("signature: good, key {key_id}", "签名：有效，密钥 {key_id}"),
    "signature.bad": ("signature: WRONG, {path} does not belong to these bytes", "签名：无效，{path} 与该文件不符"),
    "signature.none": ("signature: none", "签名：无"),
}


class Words:
    """One language's words."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        chosen = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
        self._column = 1 if chosen.lower().startswith("zh") else 0

    def say(self, key: str, **values: object) -> str:
        """Return the words of `key` with `values` filled in."""
        return _CATALOGUE[key][self._column].format(**values)
