"""The power of bare machines."""

from ops_system.master.auth.service import Auth
from ops_system.master.features.ground import Ground
from ops_system.master.operations.service import Operations
from ops_system.master.outbound.client import Outbound
from ops_system.master.power import api as power_api
from ops_system.master.power.service import PowerDesk
from ops_system.master.power.store import BmcBook, shared_sealer


def build_power(ground: Ground, operations: Operations, auth: Auth) -> PowerDesk:
    """Orders to BMCs, whose passwords lie sealed in the store of installations."""
    if ground.provision is None:
        raise RuntimeError("the store is opened before the features are built")
    config = ground.config
    key = config.provision.shared_key.reveal()
    desk = PowerDesk(
        database=ground.database,
        audit=ground.audit,
        operations=operations,
        outbound=Outbound(
            allow=config.outbound.allow, ca_file=config.outbound.ca_file, own=ground.addresses.own_listener
        ),
        book=BmcBook(ground.provision.store, shared_sealer(key) if key else ground.trust),
        clock=ground.clock,
        has_proof=auth.has_step_up,
    )
    ground.parts["power"] = desk.run
    ground.routes += power_api.routes(desk)
    return desk
