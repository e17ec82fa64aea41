"""The addresses that may be dialled: public ones, and those that `connect_to` maps a host to."""

import ipaddress
import re

from yarl import URL

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SPECIAL = tuple(
    ipaddress.ip_network(x)
    for x in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "3fff::/20", "5f00::/16")
)
"""Special-purpose networks of IANA's registries that Python 3.11 takes for global, in part or whole."""
_PORTED = re.compile(r":\d+$")


def is_public(address: str) -> bool:
    """Whether an IP address is global and unicast, and so is an IPv4 address embedded in it."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.is_site_local:
            return False
        last = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = ip.ipv4_mapped or ip.sixtofour or (last if ip in _NAT64 else ip)
    special = any(ip in network for network in _SPECIAL)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not special


class Dialler:
    """Maps hosts as `connect_to` says, and decides which addresses may be dialled for a URL."""

    def __init__(self, connect_to: dict[str, str]) -> None:
        self._mapped = {host.lower(): _address(target) for host, target in connect_to.items()}
        hosts = sorted(connect_to, key=lambda host: not _PORTED.search(host))
        self.connect_to = [
            f"{host}{'' if _PORTED.search(host) else ':'}:{connect_to[host]}" for host in hosts
        ]

    def is_mapped(self, url: URL) -> bool:
        """Whether the host of `url` is mapped, as libcurl compares it: to the dot at its end."""
        if not self._mapped:
            return False
        host = url.host_subcomponent or ""
        return host in self._mapped or f"{host}:{url.port}" in self._mapped

    def may_dial(self, address: str, port: int, *, url: URL) -> bool:
        """Whether `address` may be dialled for `url`: it is public, or what its host is mapped to."""
        if is_public(address):
            return True
        host = (url.host_subcomponent or "").rstrip(".").lower()
        mapped = self._mapped.get(f"{host}:{url.port}") or self._mapped.get(host)
        return (address, port) == mapped


def _address(target: str) -> tuple[str, int]:
    address, _, port = target.rpartition(":")
    return str(ipaddress.ip_address(address.strip("[]"))), int(port)
