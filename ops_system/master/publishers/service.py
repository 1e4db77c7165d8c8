"""The keys of publishers, and what is thought of a package that one of them signed (trust S14).

Packages asks here at each upload. With `storage.require_publisher` only a package signed by a trusted key is taken.
"""

import base64

from ops_system.master.audit.service import Audit
from ops_system.master.publishers import store
from ops_system.master.publishers.rules import (
    NewPublisherKey,
    Presented,
    PublisherKey,
    check_name,
    read_public_key,
    read_signature,
)
from ops_system.master.web.route import ListQuery, Page, Principal
from ops_system.model.errors import Conflict, Forbidden, Invalid, NotFound
from ops_system.model.packages import Package, PublisherSignature, publisher_text
from ops_system.runtime.clock import Clock
from ops_system.runtime.signatures import is_by_publisher, key_id
from ops_system.storage.database import Database

_SIGN = "sign it (pack-tool sign ZIP --key FILE) and push it again, the .sig file beside it"


class Publishers:
    """The one list of trusted publishers."""

    def __init__(self, *, database: Database, audit: Audit, clock: Clock, is_required: bool = False) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self.is_required = is_required

    async def list_page(self, query: ListQuery) -> Page[PublisherKey]:
        """Return one page of trusted keys."""
        items, total = await store.list_page(self._database, query)
        return Page(items=items, total=total)

    async def add(self, body: NewPublisherKey, actor: Principal) -> PublisherKey:
        """Trust a key. Raises `Invalid`, `Conflict` when key or name is here."""
        check_name(body.name)
        raw = read_public_key(body.public_key)
        public_key = base64.b64encode(raw).decode()
        key = PublisherKey(key_id(raw), body.name, public_key, self._clock.now(), actor.name)
        async with self._database.transaction() as tx:
            known = await store.find(tx, key.id) or await store.find_by_name(tx, key.name)
            if known is not None:
                raise Conflict(f"{known.name} is trusted already, with key {known.id}", id=known.id, name=known.name)
            await store.insert(tx, key)
            details = {"name": key.name}
            await self._audit.record(tx, actor, "publisher.trust", f"publisher:{key.id}", "done", details)
        return key

    async def remove(self, key_id: str, actor: Principal) -> None:
        """Trust a key no longer; packages that are here stay. Raises `NotFound`."""
        async with self._database.transaction() as tx:
            known = await store.find(tx, key_id)
            if known is None:
                raise NotFound(f"no publisher key {key_id} is trusted here", id=key_id)
            await store.delete(tx, key_id)
            details = {"name": known.name}
            await self._audit.record(tx, actor, "publisher.distrust", f"publisher:{key_id}", "done", details)

    # --- at an upload ---------------------------------------------------------------------------------------------
    def read(self, text: str) -> Presented | None:
        """Return the signature an upload came with, before its bytes are taken.

        Raises `Invalid` when it is none, `Forbidden` when there is none and one is required.
        """
        if text:
            return read_signature(text)
        if self.is_required:
            raise Forbidden(
                f"this master takes only packages signed by a trusted publisher; {_SIGN}", wanted="publisher"
            )
        return None

    async def judge(self, presented: Presented | None, package: Package) -> PublisherSignature | None:
        """Return what is kept of the signature. Raises `Invalid` when it is not for these bytes, `Forbidden`."""
        text = publisher_text(package.name, package.version, package.sha256, package.size_bytes)
        return await self.judge_text(
            presented, text, f"package {package.name} {package.version} with sha256 {package.sha256}"
        )

    async def judge_text(self, presented: Presented | None, text: bytes, what: str) -> PublisherSignature | None:
        """Do the same for anything that is signed by a text of its own; `what` names it: a noun, then which one."""
        if presented is None:
            return None
        found = PublisherSignature(presented.key_id, presented.public_key, presented.signature)
        await self.check_text(found, text, what)
        return found

    async def check_text(self, found: PublisherSignature | None, text: bytes, what: str) -> None:
        """Raise `Invalid` for a signature that is not of this text, `Forbidden` where a trusted one is wanted."""
        if found is not None and not is_by_publisher(found, text):
            problem = f"$.signature: not made over {what.partition(' ')[2]}"
            raise Invalid(
                f"the signature does not belong to this {what.partition(' ')[0]}; {_SIGN}", problems=[problem]
            )
        if not self.is_required:
            return
        if found is None or await store.find(self._database, found.key_id) is None:
            key = found.key_id if found is not None else "none"
            raise Forbidden(
                f"the {what} is signed by a key this master does not trust ({key}); an administrator can "
                "add the key under Settings > Security, or sign it by a trusted one",
                wanted="publisher",
                key_id=key,
            )
