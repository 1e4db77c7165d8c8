"""HTTP of users, sessions, API tokens and join tokens: parse, call, answer. `entry_api` has setup, login and `/me`."""

from ops_system.master.auth import entry_api
from ops_system.master.auth.service import Auth
from ops_system.master.auth.views import (
    JoinTokenCreate,
    JoinTokenView,
    NewJoinToken,
    NewToken,
    SessionQuery,
    SessionView,
    TokenCreate,
    TokenView,
    UserChange,
    UserCreate,
    UserQuery,
    UserView,
)
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route


def routes(service: Auth) -> list[Route]:
    """Return the routes of this feature."""
    return [
        *entry_api.routes(service),
        *_session_routes(service),
        *_user_routes(service),
        *_token_routes(service),
        *_join_token_routes(service),
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

    async def reset_totp(call: Call) -> Nothing:
        await accounts.reset_totp(call.params["id"], call.principal)
        return Nothing()

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
            "Change a user; a new password, role, grants or scope, or disabling, ends the user's sessions",
            "change_user",
            answer=UserView,
            body=UserChange,
            needs_step_up=True,
            tag="auth",
            errors=("not_found", "conflict", "not_allowed"),
        ),
        Route(
            "DELETE",
            "/users/{id}/totp",
            Permission.ADMIN,
            reset_totp,
            "Switch a user's TOTP off, for one who lost authenticator and recovery codes",
            "reset_user_totp",
            needs_step_up=True,
            tag="auth",
            errors=("not_found", "not_allowed"),
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
            needs_step_up=True,
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
            needs_step_up=True,
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
