"""The commands on users, tokens, sessions, one's own account, and publishers' keys."""

from ops_system.client.acts import Act, act, by_query, in_body, labels, names
from ops_system.client.render import Column, age
from ops_system.model.kinds import BOOL, LABELS, choice, integer

_ROLE = choice("admin", "operator", "viewer")
_USERS = (
    Column("NAME", "username"),
    Column("ROLE", "role"),
    Column("GRANTS", "grants"),
    Column("SCOPE", "scope"),
    Column("TOTP", "has_totp"),
    Column("DISABLED", "is_disabled"),
    Column("LAST LOGIN", "last_login_at", age, is_number=True),
    Column("ID", "id"),
)
_TOKENS = (
    Column("NAME", "name"),
    Column("ROLE", "role"),
    Column("SCOPE", "scope"),
    Column("ENDS", "expires_at", age, is_number=True),
    Column("USED", "last_used_at", age, is_number=True),
    Column("BY", "created_by"),
    Column("ID", "id"),
)
_JOIN_TOKENS = (
    Column("ID", "id"),
    Column("LEFT", "uses_left", is_number=True),
    Column("LABELS", "labels"),
    Column("ENDS", "expires_at", age, is_number=True),
    Column("BY", "created_by"),
)
_SESSIONS = (
    Column("USER", "username"),
    Column("ADDRESS", "client_ip"),
    Column("PROGRAM", "user_agent"),
    Column("USED", "last_used_at", age, is_number=True),
    Column("THIS", "is_current"),
    Column("ID", "id"),
)
_KEYS = (
    Column("NAME", "name"),
    Column("KEY", "public_key"),
    Column("BY", "created_by"),
    Column("AGE", "created_at", age, is_number=True),
    Column("ID", "id"),
)
_POWERS = (
    in_body("role", "admin, operator, viewer", _ROLE),
    names("grants", "exec,terminal,takeover,secrets,…"),
    in_body("scope", "only nodes with these labels", LABELS),
)

ACCESS: tuple[Act, ...] = (
    act(
        "users list",
        "GET /users",
        ("list users", "列出用户"),
        fields=(by_query("role", "of this role", _ROLE),),
        columns=_USERS,
    ),
    act("users show", "GET /users/{id}", ("show one user", "显示一个用户"), "USER"),
    act(
        "users create",
        "POST /users",
        ("make a user; the password is asked, or --password @FILE", "新建用户；密码会询问，或 --password @FILE"),
        "NAME:username",
        fields=(*_POWERS, in_body("password", "@FILE or -; asked when not given")),
    ),
    act(
        "users edit",
        "PATCH /users/{id}",
        ("change a user", "修改用户"),
        "USER",
        fields=(
            in_body("username", "the new name", flag="name"),
            *_POWERS,
            in_body("password", "@FILE or -"),
            in_body("is_disabled", "1: may not come in", BOOL, flag="disabled"),
        ),
    ),
    act(
        "users delete",
        "DELETE /users/{id}",
        ("remove a user", "删除用户"),
        "USER",
        confirm=("their sessions end", "其会话将结束"),
    ),
    act(
        "users reset-totp",
        "DELETE /users/{id}/totp",
        ("take the second factor from a user", "重置用户的两步验证"),
        "USER",
        confirm=("the password alone lets them in", "此后仅凭密码即可登录"),
    ),
    act("tokens list", "GET /tokens", ("list API tokens", "列出 API 令牌"), columns=_TOKENS),
    act("tokens show", "GET /tokens/{id}", ("show one token", "显示一个令牌"), "TOKEN"),
    act(
        "tokens create",
        "POST /tokens",
        ("make a token; it is shown once", "新建令牌；仅显示一次"),
        "NAME:name",
        fields=(
            in_body("role", "admin, operator, viewer, regional", choice("admin", "operator", "viewer", "regional")),
            names("grants", "exec,terminal,…"),
            in_body("scope", "only nodes with these labels", LABELS),
            in_body("idc", "with the role regional"),
            in_body("ttl", "such as 90d"),
        ),
    ),
    act(
        "tokens delete",
        "DELETE /tokens/{id}",
        ("revoke a token", "吊销令牌"),
        "TOKEN",
        confirm=("what uses it is turned away at once", "使用它的程序将立即被拒绝"),
    ),
    act("join-tokens list", "GET /join-tokens", ("list join tokens", "列出加入令牌"), columns=_JOIN_TOKENS),
    act("join-tokens show", "GET /join-tokens/{id}", ("show one join token", "显示一个加入令牌"), "JOIN_TOKEN"),
    act(
        "join-tokens create",
        "POST /join-tokens",
        ("make a join token; it is shown once", "新建加入令牌；仅显示一次"),
        fields=(in_body("uses", "nodes it may bring", integer(1)), in_body("ttl", "such as 1h"), labels()),
    ),
    act("join-tokens delete", "DELETE /join-tokens/{id}", ("revoke a join token", "吊销加入令牌"), "JOIN_TOKEN"),
    act(
        "sessions list",
        "GET /sessions",
        ("open sessions", "打开的会话"),
        fields=(by_query("user_id", "of this user's id", flag="user"),),
        columns=_SESSIONS,
    ),
    act("sessions end", "DELETE /sessions/{id}", ("end a session", "结束会话"), "SESSION"),
    act("account show", "GET /me", ("who you are and what you may", "当前身份与权限")),
    act("account totp", "GET /me/totp", ("whether the second factor is on", "两步验证状态")),
    act("account enrol", "POST /me/totp", ("begin with a second factor", "开始启用两步验证")),
    act(
        "account confirm",
        "POST /me/totp/confirm",
        ("switch the second factor on by its first code", "以首个动态口令启用两步验证"),
        "CODE:totp",
    ),
    act("account codes", "POST /me/totp/recovery-codes", ("new recovery codes", "新的恢复码")),
    act(
        "account no-totp",
        "DELETE /me/totp",
        ("switch the second factor off", "关闭两步验证"),
        confirm=("the password alone lets you in", "此后仅凭密码即可登录"),
    ),
    act("publishers list", "GET /publisher-keys", ("keys of publishers", "发布者密钥"), columns=_KEYS),
    act(
        "publishers add",
        "POST /publisher-keys",
        ("trust a publisher's key", "信任发布者密钥"),
        "NAME:name",
        fields=(in_body("public_key", "the text, or @FILE", flag="key"),),
    ),
    act(
        "publishers remove",
        "DELETE /publisher-keys/{id}",
        ("trust a publisher's key no more", "不再信任发布者密钥"),
        "KEY",
        confirm=("packages it signed are refused where a publisher is required", "要求签名处将拒绝其服务包"),
    ),
)
