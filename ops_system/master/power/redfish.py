"""A BMC that speaks Redfish (DMTF DSP0266, ComputerSystem): login by HTTP Basic, one request at a time.

Bodies of a BMC are read for the few fields named here and never shown to anybody.
"""

import base64
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec

from ops_system.master.outbound.client import Answer, Outbound
from ops_system.master.power.base import strange_answer, wrong_login
from ops_system.master.power.rules import Identity, PowerState, Way, plain
from ops_system.model.errors import NotAllowed, OpsError, Unavailable

ROOT = "/redfish/v1/"
_LOGIN_REFUSED = frozenset({401, 403})
_GOOD = range(200, 300)
_HTTPS_PORT = 443
_MANY = 64  # members of a collection that are looked at

T = TypeVar("T")


class _Link(msgspec.Struct, frozen=True):
    at: str = msgspec.field(default="", name="@odata.id")


class _Root(msgspec.Struct, frozen=True, rename="pascal"):
    systems: _Link = _Link()


class _Collection(msgspec.Struct, frozen=True, rename="pascal"):
    members: tuple[_Link, ...] = ()


class _ActionInfoParameter(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    allowable_values: tuple[str, ...] = ()


class _ActionInfo(msgspec.Struct, frozen=True, rename="pascal"):
    parameters: tuple[_ActionInfoParameter, ...] = ()


class _Reset(msgspec.Struct, frozen=True):
    target: str = ""
    allowed: tuple[str, ...] = msgspec.field(default=(), name="ResetType@Redfish.AllowableValues")
    info: str = msgspec.field(default="", name="@Redfish.ActionInfo")


class _Actions(msgspec.Struct, frozen=True):
    reset: _Reset = msgspec.field(default=_Reset(), name="#ComputerSystem.Reset")


class _Boot(msgspec.Struct, frozen=True):
    targets: tuple[str, ...] = msgspec.field(default=(), name="BootSourceOverrideTarget@Redfish.AllowableValues")


class _System(msgspec.Struct, frozen=True, rename="pascal"):
    at: str = msgspec.field(default="", name="@odata.id")
    etag: str = msgspec.field(default="", name="@odata.etag")
    serial_number: str | None = None
    sku: str | None = msgspec.field(default=None, name="SKU")  # Dell's service tag
    uuid: str | None = msgspec.field(default=None, name="UUID")
    manufacturer: str | None = None
    model: str | None = None
    power_state: str | None = None
    boot: _Boot = _Boot()
    actions: _Actions = _Actions()


class Redfish:
    """One system behind one BMC."""

    def __init__(self, outbound: Outbound, way: Way) -> None:
        self._outbound = outbound
        self._way = way
        self._path = ""  # of the system, once it is found
        login = base64.b64encode(f"{way.username}:{way.password}".encode()).decode()
        self._headers = {"Accept": "application/json", "OData-Version": "4.0"}
        if way.username or way.password:
            self._headers["Authorization"] = f"Basic {login}"

    async def identify(self) -> Identity:
        """Tell serial and UUID. Raises OpsError; NotAllowed (`bmc_credentials`) for a login it does not take."""
        return _identity_of(await self._system())

    async def state(self) -> PowerState:
        """Tell On or Off; anything between them is unknown."""
        told = (await self._system()).power_state
        return "on" if told == "On" else "off" if told == "Off" else "unknown"

    async def on(self) -> None:
        """Reset of type On."""
        await self._reset(("On", "ForceOn"))

    async def off(self) -> None:
        """Reset of type ForceOff."""
        await self._reset(("ForceOff",))

    async def cycle(self) -> None:
        """Reset of type ForceRestart, or PowerCycle where there is none."""
        await self._reset(("ForceRestart", "PowerCycle"))

    async def netboot_once(self, *, uefi: bool | None) -> None:
        """Override the boot source once: Pxe, or UefiHttp where only that is offered."""
        system = await self._system()
        target = _pick(("Pxe", "UefiHttp"), system.boot.targets)
        if not target:
            raise NotAllowed(f"the BMC {self._way.address} offers no boot from the network", reason="bmc_unable")
        wanted = {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target}
        mode = {} if uefi is None else {"BootSourceOverrideMode": "UEFI" if uefi else "Legacy"}
        answer = await self._send("PATCH", self._path, {"Boot": wanted | mode}, system.etag)
        if answer.status not in _GOOD and mode:  # many take no mode: it stays what it is
            answer = await self._send("PATCH", self._path, {"Boot": wanted}, system.etag)
        self._check(answer, "set the boot source")

    # --- the system -----------------------------------------------------------------------------------------------
    async def _system(self) -> _System:
        if not self._path:
            self._path = await self._find()
        return await self._get(self._path, _System)

    async def _find(self) -> str:
        """Return the path of the system: the one that is named, the only one, or the one with the machine's serial."""
        root = await self._get(ROOT, _Root)
        members = (await self._get(root.systems.at or f"{ROOT}Systems", _Collection)).members[:_MANY]
        paths = [member.at for member in members if member.at]
        if self._way.system:
            paths = [path for path in paths if path.rstrip("/").rpartition("/")[2] == self._way.system]
        if len(paths) == 1:
            return paths[0]
        for path in paths:
            serials = _identity_of(await self._get(path, _System)).serials
            if plain(self._way.sn) in {plain(serial) for serial in serials}:
                return path
        what = f"has no system {self._way.system or 'with the serial ' + self._way.sn}"
        raise NotAllowed(f"the BMC {self._way.address} {what}; name it in the field system", reason="bmc_identity")

    async def _reset(self, types: tuple[str, ...]) -> None:
        reset = (await self._system()).actions.reset
        allowed = reset.allowed or await self._allowed_by_info(reset.info)
        wanted = _pick(types, allowed) if allowed else types[0]
        if not wanted or not reset.target:
            raise NotAllowed(f"the BMC {self._way.address} offers none of {', '.join(types)}", reason="bmc_unable")
        self._check(await self._send("POST", reset.target, {"ResetType": wanted}), f"reset with {wanted}")

    async def _allowed_by_info(self, path: str) -> tuple[str, ...]:
        if not path:
            return ()
        info = await self._get(path, _ActionInfo)
        return next((one.allowable_values for one in info.parameters if one.name == "ResetType"), ())

    # --- HTTP -----------------------------------------------------------------------------------------------------
    async def _get(self, path: str, kind: type[T]) -> T:
        answer = await self._send("GET", path)
        self._check(answer, "read its state")
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise strange_answer(self._way.address, f"its answer to GET {path} is no Redfish") from error

    async def _send(self, method: str, path: str, body: Any = None, etag: str = "") -> Answer:
        url = urljoin(self._way.address, path)
        if urlsplit(url)[:2] != urlsplit(self._way.address)[:2]:
            raise strange_answer(self._way.address, "it leads to another host; the password stays here")
        headers = dict(self._headers)
        if body is not None:
            headers |= {"Content-Type": "application/json"} | ({"If-Match": etag} if etag else {})
        raw = None if body is None else msgspec.json.encode(body)
        pin = self._way.certificate_sha256
        try:
            return await self._outbound.ask(method, url, body=raw, headers=headers, certificate_sha256=pin)
        except Unavailable as problem:
            if problem.details.get("reason") == "tls_failed":
                raise await self._untrusted(problem) from problem
            if problem.details.get("reason") == "certificate_changed":
                raise _another_certificate(self._way.address, problem) from problem
            raise

    def _check(self, answer: Answer, what: str) -> None:
        if answer.status in _LOGIN_REFUSED:
            raise wrong_login(self._way.address)
        if answer.status not in _GOOD:
            raise strange_answer(self._way.address, f"it answered {answer.status} when asked to {what}")

    async def _untrusted(self, problem: OpsError) -> OpsError:
        """Return the refusal with the certificate's fingerprint, for an operator to compare and pin."""
        parts = urlsplit(self._way.address)
        try:
            seen = await self._outbound.certificate_of(parts.hostname or "", parts.port or _HTTPS_PORT)
        except OpsError:
            return problem
        words = f"the BMC {self._way.address} shows a certificate that no authority vouches for, SHA-256 {seen}"
        return NotAllowed(
            f"{words}: compare it and set it as certificate_sha256", reason="bmc_certificate", seen_sha256=seen
        )


def _another_certificate(where: str, problem: OpsError) -> NotAllowed:
    seen = str(problem.details.get("seen_sha256", ""))
    words = f"the BMC {where} shows another certificate than the pinned one, SHA-256 {seen}"
    return NotAllowed(f"{words}: nothing was sent to it", reason="bmc_certificate", seen_sha256=seen)


def _identity_of(system: _System) -> Identity:
    return Identity(
        serials=tuple(text for text in (system.serial_number, system.sku) if text),
        uuids=(system.uuid,) if system.uuid else (),
        vendor=system.manufacturer or "",
        product=system.model or "",
    )


def _pick(wanted: tuple[str, ...], offered: tuple[str, ...]) -> str:
    return next((one for one in wanted if one in offered), "")
