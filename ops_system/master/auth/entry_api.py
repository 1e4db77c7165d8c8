"""HTTP of setup, login, logout, step-up and what concerns oneself: parse, call, answer."""

from ops_system.master.auth.accounts import Opened, Visitor
from ops_system.master.auth.rules import SESSION_LIFE_S, STEP_UP_S
from ops_system.master.auth.service import Auth
from ops_system.master.auth.views import (
    Caller,
    LoginBody,
    Me,
    PasswordChange,
    Proof,
    ProofBody,
    RecoveryCodes,
    SetupBody,
    SetupStatus,
    TotpBody,
    TotpEnrolment,
    TotpStatus,
)
from ops_system.master.web.clients import client_of
from ops_system.master.web.reply import Cookie, Reply
from ops_system.master.web.route import Call, Nothing, Permission, Route
from ops_system.master.web.server import COOKIE, TLS_COOKIE
from ops_system.model.stamps import from_ms


def routes(service: Auth) -> list[Route]:
    """Return the routes of coming in and of `/me`."""
    return [*_entry_routes(service), *_own_routes(service), *_totp_routes(service)]


def _visitor(call: Call) -> Visitor:
    return Visitor(client_of(call.request).address, call.request.headers.get("User-Agent", ""))


def _welcome(call: Call, opened: Opened) -> Reply:
    """Answer with the session's cookie; the CSRF token travels in the body, where no other origin can read it."""
    user = opened.user
    me = Me(Caller(user.id, user.username, user.role, user.permissions, user.scope), opened.csrf_token)
    return Reply(me, cookies=(_cookie(call, opened.secret),))


def _cookie(call: Call, value: str) -> Cookie:
    is_tls = client_of(call.request).is_secure
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
        proven_ms = await service.accounts.step_up(call.principal, call.body, client_of(call.request).address)
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
            "Prove the password or TOTP again, for what needs a fresh proof",
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


def _totp_routes(service: Auth) -> list[Route]:
    factors = service.factors

    async def get_totp(call: Call) -> TotpStatus:
        return await factors.status(call.principal)

    async def enrol_totp(call: Call) -> TotpEnrolment:
        return await factors.enrol(call.principal)

    async def confirm_totp(call: Call) -> RecoveryCodes:
        return await factors.confirm(call.principal, call.body.totp)

    async def renew_recovery_codes(call: Call) -> RecoveryCodes:
        return await factors.renew_codes(call.principal)

    async def disable_totp(call: Call) -> Nothing:
        await factors.disable(call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/me/totp",
            Permission.SELF,
            get_totp,
            "Say whether one's own second factor is on",
            "get_totp",
            answer=TotpStatus,
            tag="auth",
            errors=("not_allowed",),
        ),
        Route(
            "POST",
            "/me/totp",
            Permission.SELF,
            enrol_totp,
            "Make a secret for an authenticator; it counts once it is confirmed",
            "enrol_totp",
            answer=TotpEnrolment,
            status=201,
            needs_step_up=True,
            tag="auth",
            errors=("not_allowed",),
        ),
        Route(
            "POST",
            "/me/totp/confirm",
            Permission.SELF,
            confirm_totp,
            "Switch TOTP on by a first code; ten recovery codes are shown this once",
            "confirm_totp",
            answer=RecoveryCodes,
            body=TotpBody,
            needs_step_up=True,
            tag="auth",
            errors=("not_allowed",),
        ),
        Route(
            "POST",
            "/me/totp/recovery-codes",
            Permission.SELF,
            renew_recovery_codes,
            "Make new recovery codes; the old ones are void",
            "renew_recovery_codes",
            answer=RecoveryCodes,
            status=201,
            needs_step_up=True,
            tag="auth",
            errors=("not_allowed",),
        ),
        Route(
            "DELETE",
            "/me/totp",
            Permission.SELF,
            disable_totp,
            "Switch one's own TOTP off",
            "disable_totp",
            needs_step_up=True,
            tag="auth",
            errors=("not_allowed",),
        ),
    ]
