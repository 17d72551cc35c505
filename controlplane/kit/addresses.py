"""Whose address it is, when proxies stand in between: only those named in the settings are believed.

Every address has one form here, since limits count by it: `::ffff:192.0.2.1`, `192.0.2.1:4711` and `192.0.2.1` are one
caller, and so are all the addresses of an IPv6 /64.
"""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def url(host: str, port: int, scheme: str = "http") -> str:
    """Where a server that listens on `host` is reached: an IPv6 address in brackets, any address as this machine."""
    reached = {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host)  # noqa: S104 - compared, not bound
    if reached is None:
        bare = host.strip("[]")
        reached = f"[{bare.replace('%', '%25')}]" if ":" in bare else bare
    return f"{scheme}://{reached}:{port}"


def parse_networks(text: str) -> tuple[Network, ...]:
    """`10.0.0.0/8, 127.0.0.1` → networks. Raises ValueError, naming the wrong one."""
    found = (ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    return tuple(_unmapped(each) for each in found)


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The last address that no trusted proxy vouches for, in its normal form.

    Read from the right: what is left of the first untrusted hop was written by whoever that is.

    Args:
        peer: who is connected to us.
        forwarded_for: the header X-Forwarded-For, or empty; with or without ports.
        trusted: the proxies that are believed.
    """
    hops = [hop.strip() for hop in forwarded_for.split(",") if hop.strip()]
    address = peer
    while is_trusted(address, trusted) and hops:
        address = hops.pop()
    return normal(address) if _parsed(address) is not None else normal(peer)


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    ip = _parsed(address)
    return ip is not None and any(ip in each for each in trusted)


def normal(address: str) -> str:
    """The one way to write `address`; what is no address stays as it is."""
    ip = _parsed(address)
    return address if ip is None else str(ip)


def network(address: str) -> str:
    """What one attacker cannot change cheaply: an IPv4 address, an IPv6 /64."""
    ip = _parsed(address)
    if ip is None:
        return address
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


def _parsed(text: str) -> Address | None:
    """Without port, brackets and zone; an IPv4 address that came mapped into IPv6 is itself."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if ip.version == 6 else ip


def _unmapped(given: Network) -> Network:
    if given.version == 6 and given.subnet_of(_MAPPED):
        first = given.network_address.ipv4_mapped
        return ipaddress.ip_network((str(first), given.prefixlen - 96))
    return given
