"""An approval: one subject with one content, its state, and what was done on it so far.

    pending ──→ approved ──→ voided
       └──→ rejected | withdrawn | voided | expired

What is pending or approved is live, and of a subject one approval is. Nothing leads back: another content is another one.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.kernel.access.roles import Role
from clearhouse.kernel.approvals import policies
from clearhouse.kernel.approvals.approvers import Rule, Standing
from clearhouse.kernel.approvals.policies import Level, SetPolicy, Sum, sql
from clearhouse.kernel.db.database import Tx
from clearhouse.refusals import Kind, Refusal

ApprovalRef = Annotated[str, msgspec.Meta(max_length=30, examples=["apr_01KAHG7R9Q7XKJ8W3M5N2P4T6V"])]
GUARD = "approvals.policy"
_sums = msgspec.json.Decoder(list[Sum])


class State(Enum):
    """Where an approval stands."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    VOIDED = "voided"
    EXPIRED = "expired"


# The trigger `legal` of the table knows the same.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset(State),
    State.APPROVED: frozenset({State.VOIDED}),
    State.REJECTED: frozenset(),
    State.WITHDRAWN: frozenset(),
    State.VOIDED: frozenset(),
    State.EXPIRED: frozenset(),
}


class ApprovalNotFound(Refusal):
    """There is no approval {id} here."""

    code = "approval_not_found"
    kind = Kind.UNKNOWN


class Subject(msgspec.Struct, frozen=True, order=True):
    """What is to be released: its kind, which names the rules, and its id there."""

    kind: str
    id: str


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody did on an approval; nobody stands for the passing of time."""

    act: State
    level: int
    at: datetime
    by: str | None = None
    remark: str = ""


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is done once it is approved: to the rules of a kind of subject, or to the roles or keys of a principal.

    `number` is the version of the rules, or the count of keys, and `before` are the roles, that there were at the time.
    """

    act: Literal["set_policy", "retire_policy", "change_roles", "issue_key"]
    subject: str
    number: int = 0
    policy: SetPolicy | None = None
    roles: list[Role] = []
    before: list[str] = []
    label: str = ""
    until: datetime | None = None


class Approval(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request for approval as it stands: `level` is asked now, and `given` of the people it asks for have approved.

    `exists` says that this very word was said already; `change` is what is done by itself once all have approved.
    """

    id: str
    subject: Subject
    content: str
    state: State
    level: int
    given: int
    levels: dict[str, Level]
    requested_at: datetime
    requested_by: str
    expires_at: datetime
    makers: list[str]
    steps: list[Step]
    title: str = ""
    amounts: list[Sum] = []
    replaces: str | None = None
    ended_at: datetime | None = None
    change: Change | None = None
    exists: bool = False


_change = msgspec.json.Decoder(Change)


@dataclass(frozen=True, slots=True)
class Row:
    """An approval as it is kept."""

    id: UUID
    kind: str
    version: int
    subject: str
    content: bytes
    title: str
    amounts: str
    levels: list[int]
    requested_at: datetime
    requested_by: UUID
    replaces: UUID | None
    state: str
    level: int
    given: int
    expires_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class _StepRow:
    request: UUID
    act: str
    level: int
    principal: UUID | None
    remark: str
    at: datetime


@dataclass(frozen=True, slots=True)
class _Proposed:
    request: UUID
    body: str


@dataclass(frozen=True, slots=True)
class _Maker:
    kind: str
    subject: str
    principal: UUID


@dataclass(frozen=True, slots=True)
class Done:
    """A step that is not written yet: who took it, and the id of the command by which they did."""

    step: Step
    by: UUID | None
    word: UUID | None


@dataclass(slots=True, eq=False)
class Case:
    """An approval while a batch decides on it: what was read, and what has become of it since.

    `approvers` are those who have approved, with the level at which each did.
    """

    row: Row
    rules: dict[int, Rule]
    makers: set[UUID]
    steps: list[Step] = field(default_factory=list[Step])
    approvers: dict[UUID, int] = field(default_factory=dict[UUID, int])
    done: list[Done] = field(default_factory=list[Done])
    change: Change | None = None
    state: State = field(init=False)
    level: int = field(init=False)
    given: int = field(init=False)
    expires_at: datetime = field(init=False)
    ended_at: datetime | None = field(init=False)

    def __post_init__(self) -> None:
        row = self.row
        self.state, self.level, self.given = State(row.state), row.level, row.given
        self.expires_at, self.ended_at = row.expires_at, row.ended_at

    @property
    def subject(self) -> Subject:
        """Return what it is about."""
        return Subject(self.row.kind, self.row.subject)

    @property
    def rule(self) -> Rule:
        """Return the level that is asked now."""
        return self.rules[self.level]

    def may(self, act: State) -> bool:
        """Tell whether its state lets this happen."""
        return act in TRANSITIONS[self.state]

    def lapsed(self, people: Mapping[UUID, Standing]) -> UUID | None:
        """Return who approved while it is pending and may no longer, now that a role was taken away or they are shut out."""
        if self.state is not State.PENDING:
            return None
        return next((who for who, level in self.approvers.items() if not self._asks(level, people.get(who))), None)

    def _asks(self, level: int, somebody: Standing | None) -> bool:
        return somebody is not None and self.rules[level].asks_for(somebody)

    def is_over(self, at: datetime) -> bool:
        """Tell whether its time has run out."""
        return at >= self.expires_at

    def act(self, act: State, at: datetime, by: UUID | None = None, remark: str = "", *, word: UUID | None = None) -> None:
        """Note what somebody did; `approved` moves the level and perhaps the state, all else ends it."""
        step = Step(act, self.level, at, None if by is None else ids.text("prn", by), remark)
        self.steps.append(step)
        self.done.append(Done(step, by, word))
        if act is not State.APPROVED:
            self.state, self.ended_at = act, at

    def take_back(self) -> None:
        """Forget the last approval, which made it approved and could not be carried out."""
        last = self.done.pop()
        self.steps.pop()
        self.approvers = {who: level for who, level in self.approvers.items() if who != last.by}
        self.state, self.ended_at, self.expires_at = State.PENDING, None, self.row.expires_at
        self.given -= 1

    def approval(self) -> Approval:
        """Return it as it is shown."""
        row = self.row
        return Approval(
            id=ids.text("apr", row.id), subject=self.subject, content=row.content.hex(), state=self.state, level=self.level,
            given=self.given, levels={str(place): policies.shown(rule) for place, rule in self.rules.items()},
            requested_at=row.requested_at, requested_by=person(row.requested_by), expires_at=self.expires_at,
            makers=[ids.text("prn", each) for each in sorted(self.makers)], steps=list(self.steps), title=row.title,
            amounts=_sums.decode(row.amounts), ended_at=self.ended_at,
            replaces=None if row.replaces is None else ids.text("apr", row.replaces), change=self.change,
        )  # fmt: skip


def person(principal: UUID) -> str:
    """Return a principal's id as text; the system is nobody."""
    return "" if principal == ids.NOBODY else ids.text("prn", principal)


def digest(content: object) -> bytes:
    """Return what tells a content from any other: the same values give the same bytes, in whatever order they were set."""
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).digest()


async def cases(tx: Tx, rows: Sequence[Row]) -> list[Case]:
    """Return approvals with their levels, their makers and what was done on them."""
    if not rows:
        return []
    known = await policies.levels(tx, [(row.kind, row.version) for row in rows])
    hands = await makers(tx, [Subject(row.kind, row.subject) for row in rows])
    found: dict[UUID, Case] = {}
    for row in rows:
        rules = {rule.level: rule for rule in known[row.kind, row.version] if rule.level in row.levels}
        found[row.id] = Case(row, rules, hands.get(Subject(row.kind, row.subject), set()))
    for step in await tx.rows(sql["steps"], _StepRow, book=tx.book, ids=list(found)):
        case = found[step.request]
        by = None if step.principal is None else ids.text("prn", step.principal)
        case.steps.append(Step(State(step.act), step.level, step.at, by, step.remark))
        if step.act == State.APPROVED.value and step.principal is not None:
            case.approvers[step.principal] = step.level
    proposed = [row.id for row in rows if row.kind == GUARD]
    if proposed:
        for each in await tx.rows(sql["proposed"], _Proposed, book=tx.book, ids=proposed):
            found[each.request].change = _change.decode(each.body)
    return list(found.values())


async def makers(tx: Tx, subjects: Iterable[Subject]) -> dict[Subject, set[UUID]]:
    """Return who had a hand in subjects."""
    asked = sorted(set(subjects))
    rows = await tx.rows(
        sql["makers"], _Maker, book=tx.book, kinds=[each.kind for each in asked], subjects=[each.id for each in asked]
    )
    found: dict[Subject, set[UUID]] = {}
    for row in rows:
        found.setdefault(Subject(row.kind, row.subject), set()).add(row.principal)
    return found


async def change(tx: Tx, changed: Sequence[Case], at: datetime) -> None:
    """Write what has become of locked approvals, and whom they ask now."""
    touched = sorted((case for case in changed if case.done), key=lambda case: case.row.id)
    if not touched:
        return
    own = [case.row.id for case in touched]
    await tx.do(
        sql["change_requests"], book=tx.book, at=at, ids=own,
        found=[case.row.state for case in touched], states=[case.state.value for case in touched],
        levels=[case.level for case in touched], given=[case.given for case in touched],
        expires=[case.expires_at for case in touched],
    )  # fmt: skip
    tx.later(sql["ask_nobody"], book=tx.book, ids=own)
    tx.later(sql["ask"], book=tx.book, ids=own)


async def note(tx: Tx, changed: Iterable[Case], at: datetime) -> None:
    """Write what was done on approvals."""
    done = [(case.row.id, each) for case in changed for each in case.done]
    if done:
        await tx.do(
            sql["add_steps"], book=tx.book, at=at, requests=[request for request, _ in done],
            acts=[each.step.act.value for _, each in done], levels=[each.step.level for _, each in done],
            principals=[each.by for _, each in done], remarks=[each.step.remark for _, each in done],
            words=[each.word for _, each in done],
        )  # fmt: skip
