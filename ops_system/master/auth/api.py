"""HTTP of setup, login, users, sessions, API tokens and join tokens: parse, call, answer."""

from ops_system.master.auth.accounts import Opened, Visitor
from ops_system.master.auth.rules import SESSION_LIFE_S, STEP_UP_S
from ops_system.master.auth.service import Auth
from ops_system.master.auth.views import (
    Caller,
    JoinTokenCreate,
    JoinTokenView,
    LoginBody,
    Me,
    NewJoinToken,
    NewToken,
    PasswordChange,
    Proof,
    ProofBody,
    SessionQuery,
    SessionView,
    SetupBody,
    SetupStatus,
    TokenCreate,
    TokenView,
    UserChange,
    UserCreate,
    UserQuery,
    UserView,
)
from ops_system.master.web.reply import Cookie, Reply
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route
from ops_system.master.web.server import COOKIE, TLS_COOKIE
from ops_system.model.stamps import from_ms


def routes(service: Auth) -> list[Route]:
    """Return the routes of this feature."""
    return [
        *_entry_routes(service),
        *_own_routes(service),
        *_session_routes(service),
        *_user_routes(service),
        *_token_routes(service),
        *_join_token_routes(service),
    ]


def _visitor(call: Call) -> Visitor:
    return Visitor(call.request.remote or "", call.request.headers.get("User-Agent", ""))


def _welcome(call: Call, opened: Opened) -> Reply:
    """Answer with the session's cookie; the CSRF token travels in the body, where no other origin can read it."""
    user = opened.user
    me = Me(Caller(user.id, user.username, user.role, user.permissions, user.scope), opened.session.csrf_token)
    return Reply(me, cookies=(_cookie(call, opened.secret),))


def _cookie(call: Call, value: str) -> Cookie:
    is_tls = call.request.secure
    return Cookie(TLS_COOKIE if is_tls else COOKIE, value, int(SESSION_LIFE_S) if value else 0, secure=is_tls)


def _entry_routes(service: Auth) -> list[Route]:
    async def get_setup(_call: Call) -> SetupStatus:
        return SetupStatus(await service.refresh_setup())

    async def complete_setup(call: Call) -> Reply:
        return _welcome(call, await service.set_up(call.body, _visitor(call)))

    async def log_in(call: Call) -> Reply:
        return _welcome(call, await service.accounts.log_in(call.body, _visitor(call)))

    return [
        Route(
            "GET",
            "/setup",
            Permission.OPEN,
            get_setup,
            "Ask whether the first administrator is still missing",
            "get_setup",
            answer=SetupStatus,
            tag="auth",
        ),
        Route(
            "POST",
            "/setup",
            Permission.OPEN,
            complete_setup,
            "Make the first administrator with the setup code and open a session",
            "complete_setup",
            answer=Me,
            body=SetupBody,
            status=201,
            tag="auth",
            errors=("unauthenticated", "not_allowed"),
        ),
        Route(
            "POST",
            "/login",
            Permission.OPEN,
            log_in,
            "Open a browser session",
            "log_in",
            answer=Me,
            body=LoginBody,
            tag="auth",
            errors=("unauthenticated", "rate_limited"),
        ),
    ]


def _own_routes(service: Auth) -> list[Route]:
    async def log_out(call: Call) -> Reply:
        await service.accounts.log_out(call.principal)
        return Reply(Nothing(), cookies=(_cookie(call, ""),))

    async def step_up(call: Call) -> Proof:
        proven_ms = await service.accounts.step_up(call.principal, call.body.password, call.request.remote or "")
        return Proof(from_ms(proven_ms + int(STEP_UP_S * 1000)))

    async def get_me(call: Call) -> Me:
        caller = call.principal
        user = Caller(caller.id, caller.name, caller.role, sorted(caller.permissions), caller.scope)
        return Me(user, service.csrf_token(caller), caller.kind)

    async def change_own_password(call: Call) -> Reply:
        return _welcome(call, await service.accounts.change_own_password(call.body, call.principal, _visitor(call)))

    return [
        Route("POST", "/logout", Permission.SELF, log_out, "End this session", "log_out", tag="auth"),
        Route(
            "POST",
            "/step-up",
            Permission.SELF,
            step_up,
            "Prove the password again, for what needs a fresh proof",
            "step_up",
            answer=Proof,
            body=ProofBody,
            tag="auth",
            errors=("unauthenticated", "rate_limited", "not_allowed"),
        ),
        Route("GET", "/me", Permission.SELF, get_me, "Say who is calling", "get_me", answer=Me, tag="auth"),
        Route(
            "POST",
            "/me/password",
            Permission.SELF,
            change_own_password,
            "Change one's own password; every session of this user ends and a new one is opened",
            "change_own_password",
            answer=Me,
            body=PasswordChange,
            tag="auth",
            errors=("unauthenticated", "rate_limited", "not_allowed"),
        ),
    ]


def _session_routes(service: Auth) -> list[Route]:
    async def list_sessions(call: Call) -> Page[SessionView]:
        return await service.accounts.list_sessions(call.query, call.principal)

    async def revoke_session(call: Call) -> Nothing:
        await service.accounts.revoke_session(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/sessions",
            Permission.SELF,
            list_sessions,
            "List browser sessions: one's own, or everybody's for an administrator",
            "list_sessions",
            answer=Page[SessionView],
            query=SessionQuery,
            tag="auth",
        ),
        Route(
            "DELETE",
            "/sessions/{id}",
            Permission.SELF,
            revoke_session,
            "End a browser session and its sockets",
            "revoke_session",
            tag="auth",
            errors=("not_found",),
        ),
    ]


def _user_routes(service: Auth) -> list[Route]:
    accounts = service.accounts

    async def list_users(call: Call) -> Page[UserView]:
        return await accounts.list_page(call.query)

    async def create_user(call: Call) -> UserView:
        return await accounts.create(call.body, call.principal)

    async def get_user(call: Call) -> UserView:
        return await accounts.get(call.params["id"])

    async def change_user(call: Call) -> UserView:
        return await accounts.change(call.params["id"], call.body, call.principal)

    async def delete_user(call: Call) -> Nothing:
        await accounts.delete(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/users",
            Permission.ADMIN,
            list_users,
            "List users",
            "list_users",
            answer=Page[UserView],
            query=UserQuery,
            tag="auth",
        ),
        Route(
            "POST",
            "/users",
            Permission.ADMIN,
            create_user,
            "Add a user",
            "create_user",
            answer=UserView,
            body=UserCreate,
            status=201,
            needs_step_up=True,
            tag="auth",
            errors=("conflict",),
        ),
        Route(
            "GET",
            "/users/{id}",
            Permission.ADMIN,
            get_user,
            "Show a user",
            "get_user",
            answer=UserView,
            tag="auth",
            errors=("not_found",),
        ),
        Route(
            "PATCH",
            "/users/{id}",
            Permission.ADMIN,
            change_user,
            "Change a user; a new password or role, or disabling, ends the user's sessions",
            "change_user",
            answer=UserView,
            body=UserChange,
            needs_step_up=True,
            tag="auth",
            errors=("not_found", "conflict", "not_allowed"),
        ),
        Route(
            "DELETE",
            "/users/{id}",
            Permission.ADMIN,
            delete_user,
            "Remove a user; the last administrator stays",
            "delete_user",
            needs_step_up=True,
            tag="auth",
            errors=("not_found", "not_allowed"),
        ),
    ]


def _token_routes(service: Auth) -> list[Route]:
    tokens = service.tokens

    async def list_tokens(call: Call) -> Page[TokenView]:
        return await tokens.list_page(call.query)

    async def create_token(call: Call) -> NewToken:
        return await tokens.create(call.body, call.principal)

    async def get_token(call: Call) -> TokenView:
        return await tokens.get(call.params["id"])

    async def delete_token(call: Call) -> Nothing:
        await tokens.delete(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/tokens",
            Permission.ADMIN,
            list_tokens,
            "List API tokens",
            "list_tokens",
            answer=Page[TokenView],
            query=ListQuery,
            tag="auth",
        ),
        Route(
            "POST",
            "/tokens",
            Permission.ADMIN,
            create_token,
            "Make an API token; its text is shown this once",
            "create_token",
            answer=NewToken,
            body=TokenCreate,
            status=201,
            needs_step_up=True,
            tag="auth",
        ),
        Route(
            "GET",
            "/tokens/{id}",
            Permission.ADMIN,
            get_token,
            "Show an API token",
            "get_token",
            answer=TokenView,
            tag="auth",
            errors=("not_found",),
        ),
        Route(
            "DELETE",
            "/tokens/{id}",
            Permission.ADMIN,
            delete_token,
            "Revoke an API token and close its sockets",
            "delete_token",
            tag="auth",
            errors=("not_found",),
        ),
    ]


def _join_token_routes(service: Auth) -> list[Route]:
    tokens = service.join_tokens

    async def list_join_tokens(call: Call) -> Page[JoinTokenView]:
        return await tokens.list_page(call.query)

    async def create_join_token(call: Call) -> NewJoinToken:
        return await tokens.create(call.body, call.principal)

    async def get_join_token(call: Call) -> JoinTokenView:
        return await tokens.get(call.params["id"])

    async def delete_join_token(call: Call) -> Nothing:
        await tokens.delete(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/join-tokens",
            Permission.ADMIN,
            list_join_tokens,
            "List join tokens that have not expired",
            "list_join_tokens",
            answer=Page[JoinTokenView],
            query=ListQuery,
            tag="auth",
        ),
        Route(
            "POST",
            "/join-tokens",
            Permission.ADMIN,
            create_join_token,
            "Make a join token with ready commands; its text is shown this once",
            "create_join_token",
            answer=NewJoinToken,
            body=JoinTokenCreate,
            status=201,
            tag="auth",
        ),
        Route(
            "GET",
            "/join-tokens/{id}",
            Permission.ADMIN,
            get_join_token,
            "Show a join token",
            "get_join_token",
            answer=JoinTokenView,
            tag="auth",
            errors=("not_found",),
        ),
        Route(
            "DELETE",
            "/join-tokens/{id}",
            Permission.ADMIN,
            delete_join_token,
            "Take a join token back; workers that joined with it stay",
            "delete_join_token",
            tag="auth",
            errors=("not_found",),
        ),
    ]
