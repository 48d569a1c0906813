"""What stages have set aside: rows that failed too often, and wait with their error for somebody to look at them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.pipelines import rows
from clearhouse.kernel.pipelines.declared import STAGES
from clearhouse.kernel.pipelines.stages import Stage
from clearhouse.refusals import Kind, Malformed, Refusal

IDS_MAX = 1_000
FIRST = UUID(int=0)
RowIds = Annotated[list[Annotated[str, msgspec.Meta(max_length=64)]], msgspec.Meta(max_length=IDS_MAX)]


class StageUnknown(Refusal):
    """There is no stage {stage} here."""

    code = "stage_unknown"
    kind = Kind.UNKNOWN


class Item(msgspec.Struct, frozen=True):
    """A row that a stage has set aside: how often it failed, and why the last time."""

    id: str
    attempts: int
    error: str


class Retry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Let a stage try again what it has set aside: these rows, or the first thousand."""

    job: str
    ids: RowIds = []


class Retried(msgspec.Struct, frozen=True):
    """The rows that are tried again; one that was not set aside is not among them."""

    job: str
    ids: list[str]


def find(name: str) -> Stage:
    """Return a stage by its name."""
    if name not in STAGES:
        raise StageUnknown(stage=name[:63])
    return STAGES[name]


async def items(tx: Tx, stage: Stage, *, after: str | None, most: int) -> list[Item]:
    """Return what a stage has set aside."""
    start = FIRST if after is None else ids.parse(stage.prefix, after)
    found = await rows.aside(tx, stage, after=start, most=most)
    return [Item(ids.text(stage.prefix, each.id), each.attempts, each.error) for each in found]


async def retry(tx: Tx, asked: Sequence[Asked[Retry]], at: datetime) -> list[Retried | Refusal]:
    """Let stages try again what they have set aside."""
    return [await _retry(tx, each.command, at) for each in asked]


async def _retry(tx: Tx, command: Retry, at: datetime) -> Retried | Refusal:
    try:
        stage = find(command.job)
        wanted = [ids.parse(stage.prefix, each) for each in command.ids]
    except StageUnknown as refusal:
        return refusal
    except Refusal as refusal:
        return Malformed(field="ids", problem=str(refusal))
    if not command.ids:
        wanted = [each.id for each in await rows.aside(tx, stage, after=FIRST, most=IDS_MAX)]
    found = await rows.retry(tx, stage, sorted(wanted), at)
    tx.wake(stage.name)
    return Retried(stage.name, [ids.text(stage.prefix, each) for each in sorted(found)])
