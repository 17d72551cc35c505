"""Where channels may lead: to https on public addresses, and elsewhere only where the operator allows it.

The name is resolved here and the connection goes to the address that was checked, so that a name which answers
differently the second time leads nowhere else.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from controlplane.kit.addresses import Network

Address = IPv4Address | IPv6Address
Lookup = Callable[[str, int], Awaitable[list[str]]]

_NEVER_PUBLIC = tuple(map(IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "fec0::/10")))
"""IPv4-compatible and IPv4-translated addresses, local NAT64 (RFC 8215) and site-local ones: a router may lead them into
a private network, and Python calls them global."""


class UnreachableError(Exception):
    """One sentence without the address. `forbidden`: it is not allowed to be reached."""

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.forbidden = forbidden


class Reach:
    """`private`: networks that may be reached although they are not public, also without TLS."""

    def __init__(self, private: Sequence[Network] = (), lookup: Lookup | None = None) -> None:
        """`lookup`: the addresses of a host's name; the system's resolver when it is None."""
        self._private = tuple(private)
        self._lookup = lookup or look_up

    def allowed(self, address: Address) -> bool:
        bare = plain(address)
        public = bare.is_global and not bare.is_multicast and not any(bare in network for network in _NEVER_PUBLIC)
        return public or self.is_private(bare)

    def is_private(self, address: Address) -> bool:
        """Whether the operator has listed it."""
        return any(plain(address) in network for network in self._private)

    async def resolve(self, host: str, port: int, *, encrypted: bool) -> str:
        """The address to connect to.

        Raises:
            UnreachableError: there is none, or none that may be reached.
        """
        addresses = await self._addresses(host, port)
        found = [each for each in addresses if self.allowed(each) and (encrypted or self.is_private(each))]
        if not found:
            if not encrypted and any(self.allowed(each) for each in addresses):
                raise UnreachableError("the channel does not encrypt", forbidden=True)
            raise UnreachableError("the channel leads to a private address", forbidden=True)
        return str(found[0])

    async def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            return [ip_address(each.partition("%")[0]) for each in await self._lookup(host, port)]
        except (OSError, UnicodeError):
            raise UnreachableError("the name of the channel's host has no address") from None


def plain(address: Address) -> Address:
    """An IPv4 address that is written as IPv6 counts as what it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if (packed := address.packed)[:12] == bytes.fromhex("0064ff9b") + bytes(8):
            return IPv4Address(packed[12:])  # NAT64, RFC 6052
    return address


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system knows them. Raises OSError or UnicodeError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


def url_fault(url: str) -> str:
    """What is wrong with the URL of a channel, in words that do not repeat it; empty when nothing is."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "not a URL"
    if parts.scheme not in {"https", "http"} or not parts.hostname or port == 0:
        return "must be a URL that begins with https://"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user name or password"
    if len(url) > 2_000 or any(not 32 < ord(char) < 127 for char in url):
        return "must be at most 2000 printable ASCII characters"
    return ""
