"""Which addresses are of the open internet: a table of those that are not, in every disguise, and what a setting opens."""

import asyncio
import threading
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from clearhouse.refusals import Refusal
from clearhouse.transport.webhooks.addresses import LOOKUPS_MAX, Lookups, Network, is_open, read

TABLE = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.0.1
169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.9 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1
192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 233.252.0.1 239.255.255.255 240.0.0.1
255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:100.64.0.1
::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
2001:db8::1 2001:2::1 2002:7f00:1::1 2002:a00:1::1 2002:c0a8:101::1 2002:a9fe:a9fe::1 3fff::1 5f00::1 fc00::1
fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1 4000::1 8000::1 fe00::1
"""
CLOSED = TABLE.split()
OPEN = [
    "1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.32.0.1",
    "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", CLOSED)
def test_an_address_that_is_not_of_the_open_internet_is_closed_in_every_disguise(address: str) -> None:
    assert not is_open(ip_address(address))


@pytest.mark.parametrize("address", OPEN)
def test_an_address_of_the_open_internet_is_open(address: str) -> None:
    assert is_open(ip_address(address))


def named(*addresses: str, allowed: str = "") -> Network:
    """Return a network in which every name leads to these addresses."""

    async def resolve(_: str) -> Sequence[str]:
        return addresses

    return Network(tuple(ip_network(each) for each in allowed.split()), resolve)


async def code(network: Network, url: str) -> str:
    try:
        await network.check(url)
    except Refusal as refusal:
        return refusal.code
    return "fine"


@pytest.mark.parametrize(
    ("addresses", "allowed", "url", "wanted"),
    [
        (["8.8.8.8"], "", "https://hooks.example/", "fine"),
        (["8.8.8.8", "10.0.0.1"], "", "https://hooks.example/", "address_refused"),
        (["10.0.0.1"], "10.0.0.0/24", "https://hooks.example/", "fine"),
        (["10.0.0.1"], "10.0.0.0/24", "http://hooks.example/", "fine"),
        (["10.0.1.1"], "10.0.0.0/24", "https://hooks.example/", "address_refused"),
        (["8.8.8.8"], "10.0.0.0/24", "http://hooks.example/", "url_refused"),
        (["10.0.0.1", "8.8.8.8"], "10.0.0.0/24", "http://hooks.example/", "url_refused"),
        (["fd00::1"], "fd00::/8", "http://hooks.example/", "fine"),
        ([], "", "https://hooks.example/", "host_unknown"),
        (["rubbish"], "", "https://hooks.example/", "host_unknown"),
    ],
)
async def test_a_name_is_good_if_all_that_it_leads_to_is(addresses: list[str], allowed: str, url: str, wanted: str) -> None:
    assert await code(named(*addresses, allowed=allowed), url) == wanted


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/", "https://0x7f.1/", "https://127.1/", "https://0/", "https://localhost/", "https://LOCALHOST./",
        "https://[::ffff:7f00:1]/", "https://[::1]:8443/",
    ],
)  # fmt: skip
async def test_no_spelling_of_our_own_machine_is_good(url: str) -> None:
    assert await code(Network(), url) in {"address_refused", "host_unknown"}


async def test_names_whose_servers_never_answer_keep_no_other_from_being_looked_up() -> None:
    over = threading.Event()
    asked: list[str] = []

    def ask(host: str) -> Sequence[str]:
        asked.append(host)
        if host.startswith("slow"):
            over.wait()
        return ["8.8.8.8"]

    network = Network(resolve=Lookups(ask))
    slow = [asyncio.create_task(network.check(f"https://slow{each % 50}.example/")) for each in range(500)]
    await asyncio.sleep(0)
    try:
        await network.check("https://hooks.example/")
        assert sorted(asked) == sorted(["hooks.example", *(f"slow{each}.example" for each in range(50))])
    finally:
        over.set()
        await asyncio.gather(*slow)


async def test_a_thread_pool_that_is_full_keeps_no_name_from_being_looked_up() -> None:
    over = threading.Event()
    full = [asyncio.create_task(asyncio.to_thread(over.wait)) for _ in range(100)]
    await asyncio.sleep(0)
    try:
        assert await code(Network(), "https://localhost/") == "address_refused"
    finally:
        over.set()
        await asyncio.gather(*full)


async def test_more_names_than_can_be_looked_up_at_once_are_refused_and_not_queued() -> None:
    over = threading.Event()

    def ask(_: str) -> Sequence[str]:
        over.wait()
        return ["8.8.8.8"]

    network = Network(resolve=Lookups(ask))
    slow = [asyncio.create_task(network.check(f"https://slow{each}.example/")) for each in range(LOOKUPS_MAX)]
    await asyncio.sleep(0)
    try:
        assert await code(network, "https://one-more.example/") == "host_unknown"
    finally:
        over.set()
        await asyncio.gather(*slow)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://8.8.8.8/", "file:///etc/passwd", "https://", "https:///x", "https://a:b@8.8.8.8/", "https://a@8.8.8.8/",
        "https://8.8.8.8/#x", "gopher://8.8.8.8", "8.8.8.8", "https://8.8.8.8:99999/", "https://[8.8.8.8/",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_webhook_is_refused_as_it_is_read(url: str) -> None:
    with pytest.raises(Refusal, match="webhook"):
        read(url)
