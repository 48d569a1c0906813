"""Where Kafka is and how to get in: `host:9092,other:9092`, or with a security in front: `sasl_ssl://name:password@host:9093`.

`ssl`, `sasl_plaintext` and `sasl_ssl` are known; `?mechanism=SCRAM-SHA-512` chooses how the password is shown, else PLAIN.
NATS has all of it in its own URL: `tls://name:password@host:4222`.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from aiokafka.helpers import create_ssl_context

from clearhouse.refusals import Kind, Refusal

_SECURITIES = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class KafkaAddressRefused(Refusal):
    """KAFKA_BOOTSTRAP_SERVERS is `host:port`, several parted by commas, maybe after `ssl://` or `sasl_ssl://who:secret@`."""

    code = "kafka_address_refused"
    kind = Kind.MALFORMED


@dataclass(frozen=True, slots=True)
class Kafka:
    """A cluster."""

    servers: tuple[str, ...]
    security: str = "plaintext"
    name: str | None = None
    password: str | None = None
    mechanism: str = "PLAIN"

    @classmethod
    def read(cls, text: str) -> "Kafka":
        """Read an address."""
        scheme, _, rest = text.rpartition("://")
        credentials, _, place = rest.rpartition("@")
        hosts, _, query = place.partition("?")
        name, _, password = credentials.partition(":")
        servers = tuple(each.strip() for each in hosts.split(",") if each.strip())
        mechanism = parse_qs(query).get("mechanism", ["PLAIN"])[0].upper()
        security = scheme.lower() or "plaintext"
        sound = security in _SECURITIES and mechanism in _MECHANISMS and all(_port(each) for each in servers)
        if not servers or not sound or bool(credentials) != security.startswith("sasl"):
            raise KafkaAddressRefused
        return cls(servers, security, unquote(name) or None, unquote(password) or None, mechanism)

    @property
    def options(self) -> dict[str, Any]:
        """What every client of it is made with."""
        given: dict[str, Any] = {"bootstrap_servers": list(self.servers), "security_protocol": self.security.upper()}
        if self.security.endswith("ssl"):
            given["ssl_context"] = create_ssl_context()
        if self.name is not None:
            given |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.name,
                "sasl_plain_password": self.password or "",
            }
        return given


def _port(server: str) -> bool:
    host, _, port = server.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 2**16
