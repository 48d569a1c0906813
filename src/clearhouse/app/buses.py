"""Which buses get the events, by the settings."""

from clearhouse.app.config import Config
from clearhouse.kernel.journal.readers import Reader
from clearhouse.slices.operations import health
from clearhouse.transport.bus.addresses import Kafka
from clearhouse.transport.bus.jetstream import JetStreamBus
from clearhouse.transport.bus.kafka import KafkaBus
from clearhouse.transport.http.health import Check


def readers(config: Config) -> list[Reader]:
    """Return a reader for each bus that is set."""
    found: list[Reader] = []
    if config.nats_url is not None:
        found.append(JetStreamBus(config.nats_url).reader)
    if config.kafka_servers is not None:
        found.append(KafkaBus(Kafka.read(config.kafka_servers), config.kafka_topic).reader)
    return found


def checks(config: Config) -> list[Check]:
    """Return how each bus that is set is, for `/health`."""
    return [health.reader(each.name) for each in readers(config)]
