"""HTTP of power: parse, call, answer. A password comes in and never goes out."""

from ops_system.master.power.rules import Bmc, BmcSettings, Power, PowerAccepted, PowerOrder
from ops_system.master.power.service import PowerDesk
from ops_system.master.web.route import Call, Nothing, Permission, Route

_BMC = "/machines/{idc}/{sn}/bmc"
_POWER = "/machines/{idc}/{sn}/power"
_TROUBLE = ("invalid", "not_found", "not_allowed", "unavailable", "timeout", "forbidden")


def routes(desk: PowerDesk) -> list[Route]:
    """Return the routes of a machine's BMC and power."""

    async def get_bmc(call: Call) -> Bmc:
        return await desk.get_bmc(call.params["idc"], call.params["sn"], call.principal)

    async def set_bmc(call: Call) -> Bmc:
        return await desk.set_bmc(call.params["idc"], call.params["sn"], call.body, call.principal)

    async def delete_bmc(call: Call) -> Nothing:
        await desk.remove_bmc(call.params["idc"], call.params["sn"], call.principal)
        return Nothing()

    async def get_power(call: Call) -> Power:
        return await desk.look(call.params["idc"], call.params["sn"], call.principal)

    async def order_power(call: Call) -> PowerAccepted:
        return PowerAccepted(await desk.order(call.params["idc"], call.params["sn"], call.body, call.principal))

    return [
        Route(
            "GET",
            _BMC,
            Permission.VIEW,
            get_bmc,
            "Show how a machine's BMC is reached, without the password",
            "get_bmc",
            answer=Bmc,
            tag="machines",
            errors=("invalid", "not_found"),
        ),
        Route(
            "PUT",
            _BMC,
            Permission.ADMIN,
            set_bmc,
            "Set how a machine's BMC is reached; a password that is not given stays",
            "set_bmc",
            answer=Bmc,
            body=BmcSettings,
            needs_step_up=True,
            tag="machines",
            errors=("invalid", "unavailable"),
        ),
        Route(
            "DELETE",
            _BMC,
            Permission.ADMIN,
            delete_bmc,
            "Forget a machine's BMC",
            "delete_bmc",
            needs_step_up=True,
            tag="machines",
            errors=("invalid", "not_found"),
        ),
        Route(
            "GET",
            _POWER,
            Permission.OPERATE,
            get_power,
            "Ask the BMC for power and identity of its machine, now",
            "get_power",
            answer=Power,
            tag="machines",
            errors=_TROUBLE,
        ),
        Route(
            "POST",
            _POWER,
            Permission.OPERATE,
            order_power,
            "Switch a machine on or off, restart it, or boot it once from the network",
            "order_power",
            answer=PowerAccepted,
            body=PowerOrder,
            status=202,
            tag="machines",
            errors=("conflict", "step_up_required", *_TROUBLE),
        ),
    ]
