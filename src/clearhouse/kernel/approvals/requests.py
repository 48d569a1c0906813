"""Requests, as slices make them inside their own transactions: ask, void what was edited, and ask again before a release.

The slice holds the lock on its own row of the subject meanwhile, so an edit and a release never pass each other; after its
rows come approvals, in id order.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.kernel.approvals import defaults, policies
from clearhouse.kernel.approvals.approval import (
    GUARD,
    Approval,
    Case,
    Row,
    State,
    Subject,
    cases,
    change,
    makers,
    note,
)
from clearhouse.kernel.approvals.approvers import Rule, Standing, candidates, shortage
from clearhouse.kernel.approvals.policies import NobodyCanApprove, Rules, Sum, sql
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Tx
from clearhouse.money import Amount, decimal_text
from clearhouse.refusals import Kind, Refusal

EXPIRED_AT_ONCE = 1_000


class NoPolicy(Refusal):
    """Nobody has said who approves {kind} in this book; an administrator sets the rules first."""

    code = "no_policy"
    kind = Kind.REFUSED


class NotApproved(Refusal):
    """{kind} {id} is not approved as it is now: {reason}."""

    code = "not_approved"
    kind = Kind.CONFLICT


class Wanted(msgspec.Struct, frozen=True):
    """A content that is to be approved, who asks, and who had a hand in it. `content` is its `digest`."""

    id: UUID
    subject: Subject
    content: bytes
    by: UUID
    creator: UUID
    editors: tuple[UUID, ...] = ()
    title: str = ""
    amounts: tuple[Amount, ...] = ()


class Edit(msgspec.Struct, frozen=True):
    """A subject that somebody changed; it is asked for again later."""

    subject: Subject
    by: UUID


async def request(tx: Tx, wanted: Sequence[Wanted], at: datetime) -> list[Approval | Refusal]:
    """Ask for approvals, in order. The same content again is the same approval; another voids the one before."""
    subjects = {each.subject for each in wanted}
    rules = await defaults.current(tx, {each.subject.kind: each.by for each in wanted}, at)
    live = {case.subject: case for case in await _live(tx, subjects)}
    hands = await makers(tx, subjects)
    asking = _Asking(rules, await candidates(tx), live, hands, at)
    answers = [asking.answer(each) for each in wanted]
    await change(tx, asking.replaced, at)
    await _add(tx, asking.made, at)
    _add_amounts(tx, asking.amounts)
    await note(tx, [*asking.replaced, *asking.made], at)
    await _add_makers(tx, asking.parts)
    return answers


class _Asking:
    """What a batch of requests knows, and what it comes to."""

    def __init__(
        self,
        rules: Mapping[str, Rules],
        people: Sequence[Standing],
        live: dict[Subject, Case],
        hands: dict[Subject, set[UUID]],
        at: datetime,
    ) -> None:
        self.rules, self.people, self.live, self.hands, self.at = rules, people, live, hands, at
        self.standing = {each.id: each for each in people}
        self.made: list[Case] = []
        self.amounts: list[tuple[UUID, str, tuple[int, int]]] = []
        self.replaced: list[Case] = []
        self.parts: set[tuple[Subject, UUID, str]] = set()

    def answer(self, wanted: Wanted) -> Approval | Refusal:
        """Decide on one."""
        parts = {(wanted.by, "submitter"), (wanted.creator, "creator"), *((each, "editor") for each in wanted.editors)}
        hands = self.hands.get(wanted.subject, set()) | {who for who, _ in parts if who != ids.NOBODY}
        case = self.live.get(wanted.subject)
        if case is None or not self._same(case, wanted, hands):
            found = self._asked(wanted, hands, case)
            if isinstance(found, Refusal):
                return found
            case = self.live[wanted.subject] = found
        self.parts |= {(wanted.subject, who, part) for who, part in parts if who != ids.NOBODY}
        self.hands[wanted.subject] = case.makers = hands
        return case.approval()

    def _same(self, case: Case, wanted: Wanted, hands: set[UUID]) -> bool:
        """Tell whether an approval is for this content and amount, still good, and by people who may still give it."""
        if (case.row.content, case.row.amounts) != (wanted.content, _sums(wanted.amounts)) or case.is_over(self.at):
            return False
        if case.row.kind == GUARD and case.row.version != policies.number(self.rules.get(GUARD)):
            return False  # such a change is never carried out, so it is asked for under the rules that hold now
        return hands.isdisjoint(case.approvers) and case.lapsed(self.standing) is None

    def _asked(self, wanted: Wanted, hands: set[UUID], before: Case | None) -> Case | Refusal:
        rules = self.rules.get(wanted.subject.kind)
        if rules is None:
            return NoPolicy(kind=wanted.subject.kind)
        totals = _totals(wanted.amounts)
        asked = [rule for rule in rules.levels if rule.is_for(totals)]
        short = shortage(asked, self.people, hands)
        if short is not None:
            level, found = short
            return NobodyCanApprove(kind=rules.kind, level=str(level.level), count=str(level.count), found=str(found))
        if before is not None:
            self._end(before, wanted.by)
        made = Case(_row(wanted, rules, asked, before, self.at), {rule.level: rule for rule in asked}, hands)
        self.made.append(made)
        self.amounts += [(wanted.id, asset, its) for asset, its in totals.items()]
        return made

    def _end(self, case: Case, by: UUID) -> None:
        end(case, by, self.at)
        if case not in self.made:
            self.replaced.append(case)


def end(case: Case, by: UUID, at: datetime) -> None:
    """Void a live approval, unless time did it already."""
    if case.state is State.PENDING and case.is_over(at):
        case.act(State.EXPIRED, at)
    else:
        case.act(State.VOIDED, at, None if by == ids.NOBODY else by)


def _totals(amounts: Iterable[Amount]) -> dict[str, tuple[int, int]]:
    """Return how much of each asset moves, and with how many decimals: what comes back does not lessen what goes out."""
    found: dict[str, tuple[int, int]] = {}
    for each in amounts:
        before, decimals = found.get(each.asset.code, (0, 0))
        most = max(decimals, each.asset.exponent)
        total = before * 10 ** (most - decimals) + abs(each.minor) * 10 ** (most - each.asset.exponent)
        found[each.asset.code] = (total, most)
    return found


def _sums(amounts: Iterable[Amount]) -> str:
    return msgspec.json.encode([Sum(each.text(), each.asset.code) for each in amounts]).decode()


def _row(wanted: Wanted, rules: Rules, asked: Sequence[Rule], before: Case | None, at: datetime) -> Row:
    return Row(
        id=wanted.id, kind=rules.kind, version=rules.version, subject=wanted.subject.id, content=wanted.content,
        title=wanted.title, amounts=_sums(wanted.amounts), levels=[rule.level for rule in asked],
        requested_at=at, requested_by=wanted.by, replaces=None if before is None else before.row.id,
        state=State.PENDING.value, level=asked[0].level, given=0, expires_at=at + timedelta(hours=rules.hours),
        ended_at=None,
    )  # fmt: skip


async def _add(tx: Tx, made: Sequence[Case], at: datetime) -> None:
    if made:
        rows = [case.row for case in made]
        await tx.do(
            sql["add_requests"], book=tx.book, at=at, ids=[row.id for row in rows], kinds=[row.kind for row in rows],
            versions=[row.version for row in rows], subjects=[row.subject for row in rows],
            contents=[row.content for row in rows], titles=[row.title for row in rows],
            amounts=[row.amounts for row in rows], levels=[array(row.levels) for row in rows],
            people=[row.requested_by for row in rows], replaces=[row.replaces for row in rows],
            states=[case.state.value for case in made], first=[row.level for row in rows],
            expires=[row.expires_at for row in rows],
        )  # fmt: skip
        tx.later(sql["ask"], book=tx.book, ids=[row.id for row in rows])


def _add_amounts(tx: Tx, moved: Sequence[tuple[UUID, str, tuple[int, int]]]) -> None:
    if moved:
        tx.later(
            sql["add_amounts"], book=tx.book, requests=[request for request, _, _ in moved],
            assets=[asset for _, asset, _ in moved], amounts=[decimal_text(*its) for _, _, its in moved],
        )  # fmt: skip


async def _add_makers(tx: Tx, parts: Iterable[tuple[Subject, UUID, str]]) -> None:
    rows = sorted(parts)
    if rows:
        await tx.do(
            sql["add_makers"], book=tx.book, kinds=[subject.kind for subject, _, _ in rows],
            subjects=[subject.id for subject, _, _ in rows], principals=[who for _, who, _ in rows],
            parts=[part for _, _, part in rows],
        )  # fmt: skip


async def _live(tx: Tx, subjects: Iterable[Subject]) -> list[Case]:
    """Return what is live of subjects, locked."""
    asked = sorted(set(subjects))
    rows = await tx.rows(
        sql["lock_live"], Row, book=tx.book, kinds=[each.kind for each in asked], subjects=[each.id for each in asked]
    )
    return await cases(tx, rows)


async def edited(tx: Tx, edits: Sequence[Edit], at: datetime) -> list[Approval]:
    """Note who changed subjects, and void what was asked or approved of them; return what was voided."""
    live = {case.subject: case for case in await _live(tx, [each.subject for each in edits])}
    for each in edits:
        case = live.get(each.subject)
        if case is not None and not case.done:
            end(case, each.by, at)
    await change(tx, list(live.values()), at)
    await note(tx, live.values(), at)
    await _add_makers(tx, {(each.subject, each.by, "editor") for each in edits if each.by != ids.NOBODY})
    return [case.approval() for case in live.values()]


async def approved(tx: Tx, claims: Sequence[tuple[Subject, bytes]], at: datetime) -> list[Approval | Refusal]:
    """Say of each subject whether exactly this content is approved; until the commit it stays so."""
    live = {case.subject: case for case in await _live(tx, [subject for subject, _ in claims])}
    return [_approved(live.get(subject), subject, content, at) for subject, content in claims]


def _approved(case: Case | None, subject: Subject, content: bytes, at: datetime) -> Approval | Refusal:
    if case is None:
        reason = "nobody has approved it"
    elif case.row.content != content:
        reason = "what was asked about is another content"
    elif case.is_over(at):
        reason = "its time has run out"
    elif case.state is not State.APPROVED:
        reason = f"level {case.level} has not approved it yet"
    else:
        return case.approval()
    return NotApproved(kind=subject.kind, id=subject.id, reason=reason)


async def expire(tx: Tx, at: datetime, *, most: int = EXPIRED_AT_ONCE) -> list[Approval]:
    """End the requests of the book whose time has run out."""
    due = await cases(tx, await tx.rows(sql["lock_due"], Row, book=tx.book, at=at, most=most))
    for case in due:
        case.act(State.EXPIRED, at)
    await change(tx, due, at)
    await note(tx, due, at)
    return [case.approval() for case in due]
