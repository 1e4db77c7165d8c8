"""Installations: what is kept of them in the store, and what happens to them by itself."""

from ops_system.master.auth.service import Auth
from ops_system.master.features.ground import Ground
from ops_system.master.nodes.events import NodeEnrolled
from ops_system.master.nodes.service import Nodes
from ops_system.master.provisioning import api as provisioning_api
from ops_system.master.provisioning import site_api
from ops_system.master.provisioning.approving import Approvals
from ops_system.master.provisioning.enrolments import Enrolments
from ops_system.master.provisioning.mirror import Mirror
from ops_system.master.provisioning.service import PowerSwitch, Provisioning, Resolver
from ops_system.master.provisioning.sites import Sites
from ops_system.master.provisioning.upkeep import Upkeep
from ops_system.master.web.route import Principal
from ops_system.provision.book import TaskBook


def build_provisioning(ground: Ground, auth: Auth, nodes: Nodes, catalogue: Resolver, power: PowerSwitch) -> Mirror:
    """Tasks, machines, data centres, approvals."""
    if ground.provision is None:
        raise RuntimeError("the store is opened before the features are built")
    book = TaskBook(ground.provision.store, ground.clock)
    mirror = Mirror(book.store, ground.bus, ground.clock)
    enrolments = Enrolments(auth.join_tokens, ground.addresses.master_url)
    approvals = Approvals(book, mirror, enrolments, ground.audit)

    async def person_of(principal: Principal) -> str:
        """A token speaks for the user whose it is: one person cannot be two."""
        if principal.kind != "token":
            return principal.name
        return (await auth.tokens.get(principal.id)).owner or principal.name

    def enrolled() -> dict[str, str]:
        return {one.join_token_id: one.id for one in nodes.list_records() if one.join_token_id}

    upkeep = Upkeep(
        book=book,
        mirror=mirror,
        approvals=approvals,
        enrolments=enrolments,
        enrolled=enrolled,
        clock=ground.clock,
    )
    service = Provisioning(
        book=book,
        mirror=mirror,
        approvals=approvals,
        catalogue=catalogue,
        audit=ground.audit,
        person_of=person_of,
        power=power,
    )

    def on_enrolled(event: NodeEnrolled) -> None:
        if "idc" in event.labels and "sn" in event.labels:
            upkeep.look_at((event.labels["idc"], event.labels["sn"]))

    ground.bus.subscribe(NodeEnrolled, on_enrolled)
    ground.parts |= {"installations": mirror.run, "upkeep of installations": upkeep.run}
    ground.gauges.append(mirror.gauges)
    ground.routes += provisioning_api.routes(service)
    ground.routes += provisioning_api.rule_routes(approvals)
    ground.routes += site_api.routes(Sites(book, mirror, ground.audit))
    return mirror
