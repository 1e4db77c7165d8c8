"""The commands on the power of bare machines and on their management controllers (BMC)."""

from ops_system.client.acts import Act, act, in_body
from ops_system.model.kinds import BOOL, choice

_ACTS = (
    ("on", ("switch a machine on", "给机器开机"), None),
    ("off", ("take its power away at once", "立即断电"), ("what runs on it ends at once", "其上运行的一切将立即中断")),
    ("cycle", ("restart it at once", "立即重启"), ("what runs on it ends at once", "其上运行的一切将立即中断")),
    (
        "netboot",
        ("boot once from the network, now", "立即从网络启动一次"),
        ("a machine that runs is restarted", "正在运行的机器会被重启"),
    ),
)
_FORCE = in_body("force", "1: also while it is being installed", BOOL)

_POWER = (
    act("power show", "GET /machines/{idc}/{sn}/power", ("ask the BMC now", "立即询问 BMC"), "IDC:idc", "SN:sn"),
    *(
        act(
            f"power {name}",
            "POST /machines/{idc}/{sn}/power",
            help_,
            "IDC:idc",
            "SN:sn",
            body={"action": name},
            fields=(_FORCE,),
            follows=True,
            confirm=confirm,
        )
        for name, help_, confirm in _ACTS
    ),
)
_BMC = (
    act("bmc show", "GET /machines/{idc}/{sn}/bmc", ("how a BMC is reached", "BMC 的连接方式"), "IDC:idc", "SN:sn"),
    act(
        "bmc set",
        "PUT /machines/{idc}/{sn}/bmc",
        ("set how a BMC is reached", "设置 BMC 的连接方式"),
        "IDC:idc",
        "SN:sn",
        fields=(
            in_body("kind", "redfish, ipmi or manual", choice("redfish", "ipmi", "manual")),
            in_body("address", "https://HOST (Redfish) or HOST (IPMI)"),
            in_body("username", "user of the BMC"),
            in_body("password", "@FILE or -; not given: the kept one"),
            in_body("certificate_sha256", "the pinned certificate", flag="pin"),
            in_body("allow_plain_http", "1: http:// is meant so", BOOL),
            in_body("system", "Redfish: which system behind the BMC"),
        ),
    ),
    act(
        "bmc delete",
        "DELETE /machines/{idc}/{sn}/bmc",
        ("forget a BMC", "删除 BMC 设置"),
        "IDC:idc",
        "SN:sn",
        confirm=("its password is forgotten", "其密码将被删除"),
    ),
)
POWER: tuple[Act, ...] = (*_POWER, *_BMC)
