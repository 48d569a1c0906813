"""Where webhooks may go: the open internet, and such networks as a setting names.

Promise: a connection is made to the very address that was looked at, so a name that is answered otherwise a moment later
leads nowhere else; an address of ours in any disguise (IPv4 in IPv6, 6to4, Teredo) is what it is, and NAT64 is closed.
"""

import asyncio
import ipaddress
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import httpx

from clearhouse.refusals import Kind, Refusal

RESOLVE_SECONDS_MAX = 5.0
LOOKUPS_MAX = 200
URL_LENGTH_MAX = 2_000
_HOST = re.compile(rb"[a-z0-9_][a-z0-9._-]*|[0-9a-f:.]+")
PORTS = {"http": 80, "https": 443}
Address = IPv4Address | IPv6Address
Resolve = Callable[[str], Awaitable[Sequence[str]]]
# What Python counts as global and is not for us, or counts in one version and not in the next.
CLOSED = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4", "::/96", "64:ff9b::/32", "100::/64", "2001:db8::/32", "3fff::/20", "5f00::/16",
        "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip


class UrlRefused(Refusal):
    """{url} is no address for a webhook: {problem}."""

    code = "url_refused"
    kind = Kind.REFUSED


class AddressRefused(Refusal):
    """{host} is at {address}, which is not on the open internet; webhooks go there only if WEBHOOK_NETWORKS names it."""

    code = "address_refused"
    kind = Kind.REFUSED


class HostUnknown(Refusal):
    """The name {host} leads nowhere just now."""

    code = "host_unknown"
    kind = Kind.REFUSED


class Lookups:
    """Asks the system for every address of a name, once at a time for each name.

    Each has a thread of its own that nobody waits for: a name whose servers never answer keeps its thread for half a minute,
    and would keep all of the loop's few, with everything else that is done there.
    """

    def __init__(self, ask: Callable[[str], Sequence[str]]) -> None:
        """Ask in this way, which may block."""
        self._ask = ask
        self._under_way: dict[str, Future[Sequence[str]]] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """Return the addresses of a name."""
        found = self._under_way.get(host)
        if found is None:
            if len(self._under_way) >= LOOKUPS_MAX:
                raise OSError("too many names are looked up")
            found = self._under_way[host] = Future[Sequence[str]]()
            found.set_running_or_notify_cancel()  # whoever waits may be cancelled; this may not
            threading.Thread(target=self._look, args=(host, found), daemon=True).start()
        return await asyncio.wrap_future(found)

    def _look(self, host: str, found: "Future[Sequence[str]]") -> None:
        try:
            answer = self._ask(host)
        except Exception as error:  # noqa: BLE001 - it is told to whoever waits
            self._under_way.pop(host, None)
            found.set_exception(error)
        else:
            self._under_way.pop(host, None)
            found.set_result(answer)


def _resolved(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def disguised(address: Address) -> Iterable[Address]:
    """Give an address, and those that it carries inside."""
    yield address
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


def is_open(address: Address) -> bool:
    """Tell whether an address is one of the open internet, whatever it carries inside."""
    return all(_global(each) for each in disguised(address))


def _global(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return True  # what it carries is asked by itself
    closed = any(address in each for each in CLOSED if each.version == address.version)
    return address.is_global and not closed and not address.is_multicast and not address.is_reserved


@dataclass(slots=True)
class Network:
    """Which addresses are allowed beside those of the open internet, and how a name becomes addresses."""

    allowed: tuple[IPv4Network | IPv6Network, ...] = ()
    resolve: Resolve = field(default_factory=lambda: Lookups(_resolved))

    def allow(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        """Let webhooks go to these networks too, and without TLS: the composition root says so before anybody asks."""
        self.allowed = tuple(networks)

    def is_named(self, address: Address) -> bool:
        """Tell whether a setting names the network of an address."""
        return any(address in each for each in self.allowed if each.version == address.version)

    async def addresses(self, host: str) -> list[Address]:
        """Return the addresses of a host, all of which are allowed, or refuse."""
        try:
            async with asyncio.timeout(RESOLVE_SECONDS_MAX):
                found = [ipaddress.ip_address(each) for each in await self.resolve(host)]
        except (OSError, UnicodeError, ValueError) as error:  # a time-out is an OSError as well
            raise HostUnknown(host=host[:100]) from error
        if not found:
            raise HostUnknown(host=host[:100])
        for each in found:
            if not self.is_named(each) and not is_open(each):
                raise AddressRefused(host=host[:100], address=str(each))
        return found

    async def check(self, text: str) -> None:
        """Refuse an address that no webhook is sent to."""
        url = read(text)
        found = await self.addresses(url.host)
        if url.scheme != "https" and not all(self.is_named(each) for each in found):
            raise UrlRefused(url=text[:200], problem="it must begin with https://")


def read(text: str) -> httpx.URL:
    """Read the address of a webhook, or refuse."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise UrlRefused(url=text[:200], problem="it cannot be read") from error
    problem = (
        "it must begin with https://" if url.scheme not in PORTS
        else "it names no host" if not _HOST.fullmatch(url.raw_host)
        else "there is no such port" if not 0 < (url.port or 1) < 2**16
        else "a name and a password in it would be sent around" if url.userinfo
        else "what follows # is never sent" if url.fragment
        else ""
    )  # fmt: skip
    if problem:
        raise UrlRefused(url=text[:200], problem=problem)
    return url


NETWORK = Network()
