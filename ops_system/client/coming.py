"""Coming and going: login, logout, the contexts on this machine, one's own password."""

from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from ops_system.cli import EXIT_FINE, Argument, Flag
from ops_system.client import trust
from ops_system.client.acts import Special
from ops_system.client.connection import Master
from ops_system.client.contexts import Context
from ops_system.client.desk import Desk
from ops_system.client.render import Column
from ops_system.client.shapes import Json, Refused, dig
from ops_system.model.errors import NotAllowed, Unavailable, UsageError
from ops_system.model.kinds import BOOL, SWITCH, TEXT, URL, read_value

_CONTEXTS = (
    Column("USED", "used"),
    Column("NAME", "name"),
    Column("URL", "url"),
    Column("USER", "username"),
    Column("ROLE", "role"),
    Column("BY", "by"),
)


def log_in(desk: Desk) -> int:
    """`ops login URL`: find out whom to trust, prove who one is, keep both as a context."""
    url = str(read_value(URL, desk.parsed.arguments["URL"], "URL"))
    trust.refuse_plain(url, is_allowed=desk.parsed.read("allow_plain_http", BOOL, "0") is True)
    name = desk.parsed.text("name") or desk.parsed.text("context") or (urlsplit(url).hostname or url)
    context = Context(name=name, url=url, ca_pem=_choose_ca(desk, url))
    token = desk.secret(desk.parsed.text("token") or desk.around.environ.get("OPS_TOKEN", ""), "-token")
    context = _by_token(context, token) if token else _by_password(desk, context)
    desk.save(desk.book().with_context(context))
    desk.note(desk.words.say("login.done", name=context.username, url=url, context=name))
    return EXIT_FINE


def log_out(desk: Desk) -> int:
    """`ops logout`: end the session on the master, forget the context here."""
    name = desk.master.context.name
    if desk.master.context.cookie:
        try:
            desk.master.ask("POST", "/logout")
        except (Refused, Unavailable) as error:  # the session ends by itself; what is kept here goes at once
            desk.note(f"{desk.master.context.url}: {error.message}")
    desk.save(desk.book().without(name))
    desk.note(desk.words.say("logout.done", context=name))
    return EXIT_FINE


def list_contexts(desk: Desk) -> int:
    """`ops context list`."""
    book = desk.book()
    rows: list[Json] = [
        {
            "used": "*" if one.name == book.current else "",
            "name": one.name,
            "url": one.url,
            "username": one.username,
            "role": one.role,
            "by": "token" if one.token else "session",
        }
        for one in book.contexts
    ]
    desk.show_rows(rows, _CONTEXTS, len(rows))
    return EXIT_FINE


def use_context(desk: Desk) -> int:
    """`ops context use NAME`."""
    found = _find(desk)
    desk.save(desk.book().with_context(found))
    desk.note(desk.words.say("context.used", name=found.name))
    return EXIT_FINE


def remove_context(desk: Desk) -> int:
    """`ops context remove NAME`: forget it here; a session goes on until it ends."""
    found = _find(desk)
    desk.save(desk.book().without(found.name))
    desk.note(desk.words.say("context.removed", name=found.name))
    return EXIT_FINE


def change_password(desk: Desk) -> int:
    """`ops account password`: ask for the old and the new one; every other session ends."""
    if not desk.has_person:
        raise UsageError(desk.words.say("login.no_terminal"))
    context, ask = desk.master.context, desk.around.ask_hidden
    old = ask(desk.words.say("login.password", name=f"{context.username} (1/2)"))
    new = ask(desk.words.say("login.password", name=f"{context.username} (2/2)"))
    answer = desk.master.ask("POST", "/me/password", {"old_password": old, "new_password": new})
    if context.cookie:
        desk.save(desk.book().with_context(_session(context, answer.headers, answer.json())))
    desk.note(desk.words.say("done"))
    return EXIT_FINE


def _find(desk: Desk) -> Context:
    name, book = desk.parsed.arguments["CONTEXT"], desk.book()
    found = book.find(name)
    if found is None:
        known = ", ".join(one.name for one in book.contexts) or "-"
        raise UsageError(desk.words.say("context.none", name=name, known=known))
    return found


def _choose_ca(desk: Desk, url: str) -> str:
    """Return the authority to believe: given, pinned by hash, the system's, or the one a person agrees to."""
    if not url.startswith("https:"):
        return ""
    if desk.parsed.has("ca"):
        return desk.secret(f"@{desk.parsed.text('ca')}", "-ca")
    if wanted := desk.parsed.text("ca-sha256") or desk.around.environ.get("OPS_CA_SHA256", ""):
        return trust.pin_ca(url, wanted)
    if _is_vouched_for(url):
        return ""
    ca_pem, sha256 = trust.fetch_ca(url)
    if not desk.has_person:
        raise UsageError(desk.words.say("login.untrusted", url=url, sha256=sha256))
    desk.note(desk.words.say("login.authority", url=url, sha256=sha256))
    desk.around.stderr.write(desk.words.say("login.trust"))
    desk.around.stderr.flush()
    if desk.around.stdin.readline().strip().lower() not in {"y", "yes", "是"}:
        raise NotAllowed(desk.words.say("login.refused"))
    return ca_pem


def _is_vouched_for(url: str) -> bool:
    """Whether the system trusts the certificate by itself. Raises Unavailable when nobody answers."""
    import ssl

    master = Master(Context(name="", url=url))
    try:
        master.get("/version")
    except Unavailable as error:
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            return False
        raise
    finally:
        master.close()
    return True


def _by_token(context: Context, token: str) -> Context:
    master = Master(Context(name=context.name, url=context.url, ca_pem=context.ca_pem, token=token))
    me = master.get("/me")
    master.close()
    user, role = str(dig(me, "user.username")), str(dig(me, "user.role") or "")
    return Context(name=context.name, url=context.url, ca_pem=context.ca_pem, token=token, username=user, role=role)


def _by_password(desk: Desk, context: Context) -> Context:
    is_piped = desk.parsed.switch("password-stdin")
    if not is_piped and not desk.has_person:
        raise UsageError(desk.words.say("login.no_terminal"))
    user = desk.parsed.text("user") or _ask_user(desk)
    password = desk.around.stdin.readline().rstrip("\r\n") if is_piped else ""
    password = password or desk.around.ask_hidden(desk.words.say("login.password", name=user))
    body: Json = {"username": user, "password": password}
    if desk.parsed.has("totp"):
        body["totp"] = desk.parsed.text("totp")
    master = Master(context)
    try:
        answer = master.ask("POST", "/login", body)
    except Refused as refused:
        if not (refused.answer_details.get("totp_required") and desk.has_person and "totp" not in body):
            raise
        body["totp"] = desk.around.ask_hidden(desk.words.say("login.totp"))
        answer = master.ask("POST", "/login", body)
    finally:
        master.close()
    return _session(context, answer.headers, answer.json())


def _ask_user(desk: Desk) -> str:
    if not desk.has_person:
        raise UsageError("with --password-stdin the name is needed: --user NAME")
    desk.around.stderr.write(desk.words.say("login.user"))
    desk.around.stderr.flush()
    return desk.around.stdin.readline().strip()


def _session(context: Context, headers: object, me: Json) -> Context:
    """Return the context with the session that an answer opened."""
    found = SimpleCookie()
    pairs = headers.items() if isinstance(headers, dict) else ()
    found.load("; ".join(value for key, value in pairs if key.lower() == "set-cookie"))
    cookie = next((f"{name}={one.value}" for name, one in found.items() if name.endswith("ops_session")), "")
    return Context(
        name=context.name,
        url=context.url,
        ca_pem=context.ca_pem,
        cookie=cookie,
        csrf_token=str(me.get("csrf_token", "")),
        username=str(dig(me, "user.username")),
        role=str(dig(me, "user.role") or ""),
    )


_LOGIN_FLAGS = (
    Flag("user", TEXT, "user name; asked when not given"),
    Flag("password-stdin", SWITCH, "the password is the first line of standard input"),
    Flag("totp", TEXT, "one-time code"),
    Flag("name", TEXT, "name of the context", "the host's name"),
    Flag("ca", TEXT, "PEM file of the authority to trust"),
)
_NAME = (Argument("CONTEXT"),)

COMING = (
    Special(
        ("login",),
        ("log in to a master: by name and password, or --token @FILE", "登录主控：用户名密码，或 --token @FILE"),
        log_in,
        (Argument("URL"),),
        _LOGIN_FLAGS,
        ("POST /login", "GET /me", "GET /worker/ca", "GET /version", "POST /step-up"),
        needs_master=False,
    ),
    Special(("logout",), ("end the session, forget the context", "退出登录"), log_out, uses=("POST /logout",)),
    Special(("context", "list"), ("masters known here", "已知的主控"), list_contexts, needs_master=False),
    Special(
        ("context", "use"), ("speak to this master from now on", "切换主控"), use_context, _NAME, needs_master=False
    ),
    Special(("context", "remove"), ("forget a master here", "移除主控"), remove_context, _NAME, needs_master=False),
    Special(
        ("account", "password"),
        ("change your own password", "修改自己的密码"),
        change_password,
        uses=("POST /me/password",),
    ),
)
