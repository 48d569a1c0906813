"""Which messages are taken in: what products subscribe to, and what the setting INBOX says.

INBOX is a list, parted by blanks, of `<command>@<bus>:<subject or topic>?as=<service>&book=<book>&name=<name>`, such as
`ledger.post@kafka:payments?as=gateway`: each message there is a command as JSON, and does what that service may do.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from clearhouse.app.config import Config, SettingRefused
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.inbox.messages import Subscription, json_of
from clearhouse.kernel.ledger.transfers import PostTransaction
from clearhouse.slices.operations.commands import POST
from clearhouse.transport.bus import jetstream_source, kafka_source
from clearhouse.transport.bus.addresses import Kafka
from clearhouse.transport.bus.sources import consume

COMMANDS: Mapping[str, tuple[Kind[Any, Any], type[Any]]] = {POST.name: (POST, PostTransaction)}
_WANTED = "<command>@nats:<subject>?as=<service> or <command>@kafka:<topic>?as=<service>, with a bus that is set"
_NAMED = re.compile(r"(?P<command>[a-z_.]+)@(?P<bus>nats|kafka):(?P<address>[^?\s]{1,200})\?(?P<query>\S+)")


def subscriptions(text: str) -> list[Subscription]:
    """Read the setting."""
    return [_subscription(each) for each in text.split()]


def _subscription(text: str) -> Subscription:
    found = _NAMED.fullmatch(text)
    if found is None or found["command"] not in COMMANDS:
        raise SettingRefused(name="INBOX", wanted=_WANTED, given=text[:200])
    query = {name: values[0] for name, values in parse_qs(found["query"]).items()}
    if "as" not in query or query.keys() - {"as", "book", "name"}:
        raise SettingRefused(name="INBOX", wanted=_WANTED, given=text[:200])
    kind, command = COMMANDS[found["command"]]
    name = re.sub(r"[^A-Za-z0-9_-]", "-", query.get("name", f"{kind.name}-{found['address']}"))[:63]
    bus = "nats" if found["bus"] == "nats" else "kafka"
    return Subscription(name, bus, found["address"], kind, json_of(command), query["as"], query.get("book", "main"))


def works(config: Config, door: Door, declared: Iterable[Subscription] = ()) -> list[Callable[[Database], Awaitable[None]]]:
    """Return what takes messages in, for each subscription; one that is configured needs its bus."""
    configured = subscriptions(config.inbox)
    for each in configured:
        if (config.nats_url if each.bus == "nats" else config.kafka_servers) is None:
            raise SettingRefused(name="INBOX", wanted=_WANTED, given=f"{each.bus}:{each.address}")
    found = [_work(config, door, each) for each in (*configured, *declared)]
    return [work for work in found if work is not None]


def _work(config: Config, door: Door, subscription: Subscription) -> Callable[[Database], Awaitable[None]] | None:
    url, servers = config.nats_url, config.kafka_servers
    if subscription.bus == "nats" and url is not None:
        return lambda _: consume(door, subscription, lambda: jetstream_source.opened(url, subscription))
    if subscription.bus == "kafka" and servers is not None:
        kafka = Kafka.read(servers)
        return lambda _: consume(door, subscription, lambda: kafka_source.opened(kafka, subscription))
    return None
