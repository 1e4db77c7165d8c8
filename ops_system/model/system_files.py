"""The small files a new system gets: host name, network, boot options, the worker that calls home. Pure.

Sources: hostname(5), hosts(5), systemd.network(5), systemd.link(5), netplan's reference, interfaces(5),
nm-settings-keyfile(5).
"""

import json
from typing import Literal

import msgspec

from ops_system.model.layouts import Interface, NetworkConfig
from ops_system.model.machines import normal_mac

NetworkKind = Literal["netplan", "networkd", "ifupdown", "networkmanager"]
WORKER_HOME, WORKER_CONFIG = "/opt/ops-worker", "/etc/ops-worker"
WORKER_DATA = "/var/lib/ops-worker"
CARRIED, CARRIED_ON = "/ops-worker", "/run/ops-worker"
"""Where a distribution's installer holds the new system's worker: in its initrd, and in a root that came after it."""


class TextFile(msgspec.Struct, frozen=True):
    """A file of the new system. `link_to` not empty: a symbolic link in its place."""

    path: str
    text: str = ""
    mode: int = 0o644
    link_to: str = ""


def name_files(hostname: str) -> tuple[TextFile, ...]:
    """Return what tells a system its name; nothing for an empty one."""
    if not hostname:
        return ()
    short = hostname.partition(".")[0]
    names = hostname if short == hostname else f"{hostname} {short}"
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {names}\n::1 localhost ip6-localhost ip6-loopback\n"
    return (TextFile("/etc/hostname", f"{hostname}\n"), TextFile("/etc/hosts", hosts))


def network_files(kind: NetworkKind, network: NetworkConfig) -> tuple[TextFile, ...]:
    """Return the files of one kind of network set-up. No interfaces given: DHCP on every card."""
    match kind:
        case "netplan":
            return (TextFile("/etc/netplan/60-ops.yaml", _netplan(network), 0o600),)
        case "networkd":
            return _networkd(network)
        case "ifupdown":
            return _ifupdown(network)
        case "networkmanager":
            return _networkmanager(network)


def grub_files(kernel_args: str) -> tuple[TextFile, ...]:
    """Return what adds words to the kernel command line of a Debian or Ubuntu."""
    if not kernel_args:
        return ()
    words = kernel_args.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
    text = f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {words}"\n'
    return (TextFile("/etc/default/grub.d/60-ops.cfg", text),)


def worker_files(master_url: str, name: str, labels: dict[str, str], *, allow_plain_http: bool) -> tuple[TextFile, ...]:
    """Return the worker's configuration; its token lies in a file beside it."""
    quoted = json.dumps
    pairs = ", ".join(f"{quoted(key)}: {quoted(value)}" for key, value in sorted(labels.items()))
    text = (
        "# written by the install agent\n"
        "connect:\n"
        f"  master_url: {quoted(master_url)}\n"
        f'  token: "@{WORKER_CONFIG}/token"\n'
        f"  allow_plain_http: {'true' if allow_plain_http else 'false'}\n"
        f"  name: {quoted(name)}\n"
        f"  labels: {{{pairs}}}\n"
        "server:\n"
        f"  work_dir: {WORKER_DATA}\n"
    )
    return (TextFile(f"{WORKER_CONFIG}/worker.yaml", text),)


def _netplan(network: NetworkConfig) -> str:
    """JSON is YAML."""
    dns: dict[str, object] = {"nameservers": {"addresses": list(network.dns)}} if network.dns else {}
    cards: dict[str, object] = {}
    for number, card in enumerate(network.interfaces):
        entry: dict[str, object] = {"match": {"macaddress": normal_mac(card.mac)}, "dhcp4": not card.address, **dns}
        if card.address:
            entry["addresses"] = [card.address]
        if card.gateway:
            entry["routes"] = [{"to": "default", "via": card.gateway}]
        cards[f"ops{number}"] = entry
    if not cards:
        cards["ops"] = {"match": {"name": "e*"}, "dhcp4": True, **dns}
    return json.dumps({"network": {"version": 2, "ethernets": cards}}, indent=2) + "\n"


def _networkd(network: NetworkConfig) -> tuple[TextFile, ...]:
    dns = "".join(f"DNS={address}\n" for address in network.dns)
    files = []
    for number, card in enumerate(network.interfaces):
        own = f"Address={card.address}\n" if card.address else "DHCP=yes\n"
        way = f"Gateway={card.gateway}\n" if card.gateway else ""
        text = f"[Match]\nMACAddress={normal_mac(card.mac)}\n\n[Network]\n{own}{way}{dns}"
        files.append(TextFile(f"/etc/systemd/network/10-ops{number}.network", text))
    if not files:
        text = f"[Match]\nName=e*\n\n[Network]\nDHCP=yes\n{dns}"
        files.append(TextFile("/etc/systemd/network/10-ops.network", text))
    unit, wants = "/lib/systemd/system/systemd-networkd.service", "/etc/systemd/system/multi-user.target.wants"
    return (*files, *_resolv(network), TextFile(f"{wants}/systemd-networkd.service", link_to=unit))


def _ifupdown(network: NetworkConfig) -> tuple[TextFile, ...]:
    """Cards are renamed by their MAC: interfaces(5) knows names only."""
    lines, links = ["auto lo", "iface lo inet loopback"], []
    for number, card in enumerate(network.interfaces):
        name = f"net{number}"
        text = f"[Match]\nMACAddress={normal_mac(card.mac)}\n\n[Link]\nName={name}\n"
        links.append(TextFile(f"/etc/systemd/network/10-ops{number}.link", text))
        lines += ["", f"auto {name}", *_stanza(name, card, network)]
    if not network.interfaces:
        lines += ["", "auto /e*", "iface /e* inet dhcp"]
    return (TextFile("/etc/network/interfaces", "\n".join(lines) + "\n"), *links, *_resolv(network))


def _stanza(name: str, card: Interface, network: NetworkConfig) -> list[str]:
    family = "inet6" if ":" in card.address else "inet"
    if not card.address:
        return [f"iface {name} inet dhcp"]
    lines = [f"iface {name} {family} static", f"    address {card.address}"]
    lines += [f"    gateway {card.gateway}"] if card.gateway else []
    return lines + ([f"    dns-nameservers {' '.join(network.dns)}"] if network.dns else [])


def _networkmanager(network: NetworkConfig) -> tuple[TextFile, ...]:
    cards = network.interfaces or (None,)
    return tuple(
        TextFile(f"/etc/NetworkManager/system-connections/ops{n}.nmconnection", _keyfile(n, card, network), 0o600)
        for n, card in enumerate(cards)
    )


def _keyfile(number: int, card: Interface | None, network: NetworkConfig) -> str:
    text = f"[connection]\nid=ops{number}\ntype=ethernet\n\n[ethernet]\n"
    if card is not None:
        text += f"mac-address={normal_mac(card.mac).upper()}\n"
    own, other = ("ipv6", "ipv4") if card and ":" in card.address else ("ipv4", "ipv6")
    text += f"\n[{other}]\nmethod=auto\n\n[{own}]\n"
    dns = f"dns={';'.join(network.dns)};\n" if network.dns else ""
    if card is None or not card.address:
        return f"{text}method=auto\n{dns}"
    way = f",{card.gateway}" if card.gateway else ""
    return f"{text}method=manual\naddress1={card.address}{way}\n{dns}"


def _resolv(network: NetworkConfig) -> tuple[TextFile, ...]:
    if not network.dns:
        return ()
    return (TextFile("/etc/resolv.conf", "".join(f"nameserver {address}\n" for address in network.dns)),)
