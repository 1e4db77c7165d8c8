"""HTTP of the audit log."""

from ops_system.master.audit.rules import AuditQuery, AuditRow, Verdict
from ops_system.master.audit.service import Audit
from ops_system.master.web.route import Call, Page, Permission, Route


def routes(service: Audit) -> list[Route]:
    """Return the routes of `/audit`."""

    async def list_audit(call: Call) -> Page[AuditRow]:
        return await service.list_page(call.query)

    async def verify_audit(_call: Call) -> Verdict:
        return await service.verify()

    return [
        Route(
            "GET",
            "/audit",
            Permission.ADMIN,
            list_audit,
            "List who did what, denied attempts included, the newest first",
            "list_audit",
            answer=Page[AuditRow],
            query=AuditQuery,
            tag="audit",
        ),
        Route(
            "GET",
            "/audit/verify",
            Permission.ADMIN,
            verify_audit,
            "Check the hash chain of the audit log",
            "verify_audit",
            answer=Verdict,
            tag="audit",
        ),
    ]
