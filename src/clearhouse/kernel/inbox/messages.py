"""Messages, and the subscriptions that say what each becomes: which command, in which book, on whose behalf."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.db.arrays import holdable
from clearhouse.refusals import Kind as RefusalKind
from clearhouse.refusals import Refusal

Command = TypeVar("Command")
PROBLEM_LENGTH_MAX = 500


class NotUnderstood(Refusal):
    """The message cannot be understood: {problem}."""

    code = "not_understood"
    kind = RefusalKind.MALFORMED


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came: `id` tells it from every other one; those of one `subject` are taken one after another."""

    id: str
    source: str
    body: bytes
    subject: str = ""


Decode = Callable[[Message], Any]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What is listened to (`address` is a topic or a subject), and what its messages become.

    `principal` is the name of a service at home in the book: its roles say what messages may do.
    """

    name: str
    bus: Literal["nats", "kafka"]
    address: str
    kind: Kind[Any, Any]
    decode: Decode
    principal: str
    book: str = "main"


def json_of(command: type[Command]) -> Callable[[Message], Command]:
    """Return a decoder of messages that are a command as JSON."""
    decoder = msgspec.json.Decoder(command)

    def decode(message: Message) -> Command:
        return decoder.decode(message.body)

    return decode


def understood(subscription: Subscription, message: Message) -> Any:
    """Return the command that a message is, or the refusal that says why it is none."""
    try:
        return subscription.decode(message)
    except Refusal as refusal:
        return refusal
    except Exception as error:  # noqa: BLE001 - whatever a decoder stumbles over, the message is what cannot be understood
        return NotUnderstood(problem=holdable(str(error))[:PROBLEM_LENGTH_MAX] or type(error).__name__)


def waves(messages: Sequence[Message]) -> list[list[Message]]:
    """Cut messages into waves, one after another, in none of which a subject is twice."""
    cut: list[list[Message]] = [[]]
    depths: dict[str, int] = {}
    for message in messages:
        depth = depths.get(message.subject, 0) if message.subject else 0
        depths[message.subject] = depth + 1
        if depth == len(cut):
            cut.append([])
        cut[depth].append(message)
    return cut
