"""Settings: at most 25, each an environment variable with a default that works."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from clearhouse.refusals import Kind, Refusal


class SettingRefused(Refusal):
    """The setting {name} must be {wanted}, and is {given}."""

    code = "setting_refused"
    kind = Kind.MALFORMED


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting."""

    data: Path = Path("data")
    database_url: str | None = None
    redis_url: str | None = None
    nats_url: str | None = None  # NATS_URL: events go to its JetStream; tls:// and name:password@ as NATS has them
    kafka_servers: str | None = None  # KAFKA_BOOTSTRAP_SERVERS, as `transport.bus.addresses` has it: events go there
    kafka_topic: str = "clearhouse.events"  # KAFKA_TOPIC
    inbox: str = ""  # INBOX, as `app.inbox` has it: which messages of these buses become which commands
    http_host: str = "127.0.0.1"
    http_port: int = 8086
    grpc_port: int = 50056
    grpc_certificate: Path | None = None
    grpc_key: Path | None = None
    grpc_client_authority: Path | None = None
    admin_key: str | None = None
    jwt_secret: str | None = None
    secrets_keys: str | None = None  # SECRETS_KEYS, as `kernel.access.sealing` reads them; else a file of the data folder
    rate_limit: int = 20_000
    log_level: str = "info"
    memory_megabytes: int | None = None
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    bank_url: str | None = None  # BANK_URL: the one bank that all books settle with, by default the simulated one in process
    bank_key: str = ""  # BANK_KEY: our key with it; `clearhouse bank` asks its customer for the same
    bank_authority: Path | None = None  # BANK_AUTHORITY: who vouches for its certificate, if no public authority does
    bank_client_certificate: Path | None = None  # BANK_CLIENT_CERTIFICATE: what we show it, where it wants to be shown one
    bank_client_key: Path | None = None  # BANK_CLIENT_KEY: the key of that, if it is not in the same file

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Config":
        """Read the settings; an empty one counts as not set."""
        given = {name: value for name, value in environment.items() if value}
        return cls(
            data=Path(given.get("CLEARHOUSE_DATA", "data")),
            database_url=given.get("DATABASE_URL"),
            redis_url=given.get("REDIS_URL"),
            nats_url=given.get("NATS_URL"),
            kafka_servers=given.get("KAFKA_BOOTSTRAP_SERVERS"),
            kafka_topic=given.get("KAFKA_TOPIC", "clearhouse.events"),
            inbox=given.get("INBOX", ""),
            http_host=given.get("HTTP_HOST", "127.0.0.1"),
            http_port=_number(given, "HTTP_PORT", 8086, most=65_535),
            grpc_port=_number(given, "GRPC_PORT", 50056, most=65_535),
            grpc_certificate=_path(given, "GRPC_TLS_CERT"),
            grpc_key=_path(given, "GRPC_TLS_KEY"),
            grpc_client_authority=_path(given, "GRPC_TLS_CLIENT_CA"),
            admin_key=given.get("ADMIN_KEY"),
            jwt_secret=given.get("JWT_SECRET"),
            secrets_keys=given.get("SECRETS_KEYS"),
            rate_limit=_number(given, "RATE_LIMIT", 20_000, least=1),
            log_level=given.get("LOG_LEVEL", "info").lower(),
            memory_megabytes=_number(given, "MEMORY_MB", 0) or None,
            webhook_networks=_networks(given, "WEBHOOK_NETWORKS"),
            bank_url=_url(given, "BANK_URL"),
            bank_key=given.get("BANK_KEY", ""),
            bank_authority=_path(given, "BANK_AUTHORITY"),
            bank_client_certificate=_path(given, "BANK_CLIENT_CERTIFICATE"),
            bank_client_key=_path(given, "BANK_CLIENT_KEY"),
        )


def _url(given: dict[str, str], name: str) -> str | None:
    text = given.get(name)
    if text is not None and not text.startswith(("http://", "https://")):
        raise SettingRefused(name=name, wanted="an address that begins with http:// or https://", given=text[:40])
    return text


def _path(given: dict[str, str], name: str) -> Path | None:
    return Path(given[name]) if name in given else None


def _number(given: dict[str, str], name: str, default: int, *, least: int = 0, most: int = 2**31) -> int:
    text = given.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise SettingRefused(name=name, wanted=f"a whole number from {least} to {most}", given=text[:40])
    return int(text)


def _networks(given: dict[str, str], name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    texts = [each.strip() for each in given.get(name, "").split(",") if each.strip()]
    try:
        return tuple(ipaddress.ip_network(each) for each in texts)
    except ValueError as error:
        raise SettingRefused(
            name=name, wanted="networks like 10.1.0.0/16, with commas between", given=given[name][:40]
        ) from error
