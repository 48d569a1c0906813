"""Changes of who decides: rules, roles and keys. Once a book has rules for `approvals.policy`, each waits for others' word.

Promise: from then on nobody alone makes the eyes fewer, or makes themselves two: not by writing or retiring rules, not by
giving somebody a say, and not by holding the key of somebody who has one. The first rules are set by one administrator.
What is carried out is what was approved, on what stood when it was asked for, under the rules that hold for it now.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access import keys, principals
from clearhouse.kernel.access.keys import IssuedKey, IssueKey
from clearhouse.kernel.access.principals import AddPrincipal, ChangeRoles, Principal, readable
from clearhouse.kernel.access.roles import Role
from clearhouse.kernel.approvals import policies, requests
from clearhouse.kernel.approvals.approval import GUARD, Approval, Case, Change, Subject, digest
from clearhouse.kernel.approvals.policies import Policy, PolicyNotFound, RetirePolicy, Rules, SetPolicy, sql
from clearhouse.kernel.approvals.requests import Wanted
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.refusals import Kind, Refusal

# Whoever has one of these can ask for something, release it, or say who may.
VOICES: frozenset[Role] = frozenset({"operator", "approver", "admin"})


class ChangeOutdated(Refusal):
    """What {id} changes, or the rules for changing it, are not as they were when it was asked for; ask for it again."""

    code = "change_outdated"
    kind = Kind.CONFLICT


class RolesAfter(Refusal):
    """Here others agree to who becomes {roles}: add the principal without, and then ask for the roles."""

    code = "roles_after"
    kind = Kind.REFUSED


class GuardedElsewhere(Refusal):
    """{principal} has a say in a book where others agree to keys; set rules for approvals.policy in this book first."""

    code = "guarded_elsewhere"
    kind = Kind.REFUSED


# Rules ---------------------------------------------------------------------------------------------------------------


async def set_policies(tx: Tx, asked: Sequence[Asked[SetPolicy]], at: datetime) -> list[Policy | Refusal]:
    """Set rules one after another, or ask for it; the same again changes nothing."""
    return [await _set(tx, each, at) for each in asked]


async def _set(tx: Tx, asked: Asked[SetPolicy], at: datetime) -> Policy | Refusal:
    command = asked.command
    known = await policies.last(tx, [command.kind, GUARD])
    before = known.get(command.kind)
    made = await _next(tx, command, before, by=asked.by, at=at)
    if isinstance(made, Refusal):
        return made
    if made is before:
        return made.policy
    change = Change("set_policy", command.kind, policies.number(before), policy=command)
    return await _ruled(tx, asked, made, change, f"set who approves {command.kind}", guarded=_guards(known), at=at)


async def _next(tx: Tx, command: SetPolicy, before: Rules | None, *, by: UUID, at: datetime) -> Rules | Refusal:
    """Return the next version; whoever sets the rules for rules must leave somebody else who can approve the next ones."""
    return await policies.written(tx, command, before, by=by, at=at, without={by} if command.kind == GUARD else ())


async def retire_policies(tx: Tx, asked: Sequence[Asked[RetirePolicy]], at: datetime) -> list[Policy | Refusal]:
    """Take rules back, one after another, or ask for it."""
    return [await _retire(tx, each, at) for each in asked]


async def _retire(tx: Tx, asked: Asked[RetirePolicy], at: datetime) -> Policy | Refusal:
    kind = asked.command.kind
    known = await policies.last(tx, [kind, GUARD])
    before = known.get(kind)
    if before is None or before.retired:
        return PolicyNotFound(kind=kind)
    made = policies.retired(before, by=asked.by, at=at)
    change = Change("retire_policy", kind, before.version)
    return await _ruled(tx, asked, made, change, f"let nobody approve {kind} any more", guarded=_guards(known), at=at)


async def _ruled(
    tx: Tx, asked: Asked[object], made: Rules, change: Change, title: str, *, guarded: bool, at: datetime
) -> Policy | Refusal:
    """Write a version, or ask for it. Each version is a subject: who had a hand in one is free to approve the next."""
    if not guarded:
        await policies.add(tx, made)
        return made.policy
    answer = await _ask(tx, asked, change, f"{made.kind}:{made.version}", title=title, at=at)
    if isinstance(answer, Refusal):
        return answer
    return replace(made, version=0, approval=ids.parse("apr", answer.id)).policy


# Roles and keys ------------------------------------------------------------------------------------------------------


async def add_principals(tx: Tx, asked: Sequence[Asked[AddPrincipal]], at: datetime) -> list[Principal | Refusal]:
    """Add principals, where rules are guarded without a say."""
    guarded = await _guarded(tx)
    wanted = [each for each in asked if not (guarded and VOICES.intersection(each.command.roles))]
    added = iter(await principals.add_principals(tx, wanted, at))
    allowed = {id(each) for each in wanted}
    return [
        next(added) if id(each) in allowed else RolesAfter(roles=_listed(VOICES.intersection(each.command.roles)))
        for each in asked
    ]


async def change_roles(tx: Tx, asked: Sequence[Asked[ChangeRoles]], at: datetime) -> list[Principal | Refusal]:
    """Set roles, or ask for it if they give somebody a say."""
    guarded = await _guarded(tx)
    return [await _give(tx, each, guarded=guarded, at=at) for each in asked]


async def _give(tx: Tx, asked: Asked[ChangeRoles], *, guarded: bool, at: datetime) -> Principal | Refusal:
    wanted = sorted(set(asked.command.roles))
    known = await principals.grantable(tx, asked.command.principal, by=asked.by) if guarded else None
    if isinstance(known, Refusal):
        return known
    if known is None or VOICES.isdisjoint(set(wanted).difference(known.roles)):
        return (await principals.change_roles(tx, [asked], at))[0]
    change = Change("change_roles", known.id, roles=wanted, before=known.roles)
    title = f"roles of {known.name}: {_listed(wanted)} instead of {_listed(known.roles)}"
    subject = f"{known.id}:{ids.text('apr', asked.id)}"
    answer = await _ask(tx, asked, change, subject, title=title, at=at, about=ids.parse("prn", known.id))
    return answer if isinstance(answer, Refusal) else msgspec.structs.replace(known, approval=answer.id)


async def issue_keys(tx: Tx, asked: Sequence[Asked[IssueKey]], at: datetime) -> list[IssuedKey | Refusal]:
    """Issue keys, or ask for it if they are of somebody else who has a say; once approved, the same again issues it."""
    return [await _issue(tx, each, at) for each in asked]


async def _issue(tx: Tx, asked: Asked[IssueKey], at: datetime) -> IssuedKey | Refusal:
    command, whose = asked.command, readable("prn", asked.command.principal)
    values: dict[str, object] = {"kind": GUARD, "principal": whose, "roles": sorted(VOICES)}
    free = whose == asked.by or not await tx.tuples(sql["guarded"], values)
    if free or await tx.tuples(keys.sql["key"], {"book": tx.book, "id": asked.id}):
        return (await keys.issue_keys(tx, [asked], at))[0]
    if not await _guarded(tx):
        return GuardedElsewhere(principal=command.principal)
    known = await principals.find_principal(tx, command.principal)
    count = len(await keys.keys_of(tx, known.id))
    change = Change("issue_key", known.id, count, label=command.label, until=command.expires_at)
    # The number of keys makes each approval good for one key, and the asker for nobody else's eyes.
    subject = f"{known.id}:key:{count}:{ids.text('prn', asked.by)}"
    found = (await requests.approved(tx, [(Subject(GUARD, subject), digest(change))], at))[0]
    if not isinstance(found, Refusal):
        return (await keys.issue_keys(tx, [asked], at))[0]
    answer = await _ask(tx, asked, change, subject, title=f"a key of {known.name}", at=at, about=whose)
    if isinstance(answer, Refusal):
        return answer
    return IssuedKey(ids.text("key", asked.id), known.id, "", command.expires_at, approval=answer.id)


def _listed(roles: Sequence[str] | frozenset[Role]) -> str:
    return ", ".join(sorted(roles)) or "none"


# Asking and carrying out ---------------------------------------------------------------------------------------------


def _guards(known: Mapping[str, Rules]) -> bool:
    return GUARD in known and not known[GUARD].retired


async def _guarded(tx: Tx) -> bool:
    return _guards(await policies.last(tx, [GUARD]))


async def _ask(
    tx: Tx, asked: Asked[object], change: Change, subject: str, *, title: str, at: datetime, about: UUID | None = None
) -> Approval | Refusal:
    """Ask for a change; whom it is about has a hand in it."""
    wanted = Wanted(
        id=asked.id, subject=Subject(GUARD, subject), content=digest(change), by=asked.by, creator=asked.by, title=title,
        editors=() if about is None else (about,),
    )  # fmt: skip
    answer = (await requests.request(tx, [wanted], at))[0]
    if not isinstance(answer, Refusal) and ids.parse("apr", answer.id) == asked.id:
        await tx.do(sql["add_change"], book=tx.book, request=asked.id, body=msgspec.json.encode(change).decode())
    return answer


async def carry_out(tx: Tx, case: Case, *, at: datetime, by: UUID) -> Refusal | None:
    """Do what a request asked for, now that all have approved it; refuse if it was asked for on other grounds."""
    rules, change = (await policies.current(tx, [GUARD])).get(GUARD), case.change
    outdated = ChangeOutdated(id=ids.text("apr", case.row.id))
    if change is None or rules is None or rules.version != case.row.version or digest(change) != case.row.content:
        return outdated
    line = await _DONE[change.act](tx, case, change, at)
    if isinstance(line, Refusal):
        return line
    if line is None:
        return outdated
    writing.write(tx, [line], book=tx.book, kind="approvals.carry_out", by=by, at=at)
    return None


async def _set_now(tx: Tx, case: Case, change: Change, at: datetime) -> Line | Refusal | None:
    before = (await policies.last(tx, [change.subject])).get(change.subject)
    if policies.number(before) != change.number or change.policy is None:
        return None
    made = await _next(tx, change.policy, before, by=case.row.requested_by, at=at)
    return made if isinstance(made, Refusal) else await _write(tx, made, case)


async def _retire_now(tx: Tx, case: Case, change: Change, at: datetime) -> Line | None:
    before = (await policies.last(tx, [change.subject])).get(change.subject)
    if before is None or before.version != change.number:  # pragma: no cover - another version voids this request first
        return None
    return await _write(tx, policies.retired(before, by=case.row.requested_by, at=at), case)


async def _write(tx: Tx, made: Rules, case: Case) -> Line:
    agreed = replace(made, approval=case.row.id)
    await policies.add(tx, agreed)
    return Line("approvals.policy_retired" if agreed.retired else "approvals.policy_set", agreed.kind, agreed.policy)


async def _give_now(tx: Tx, case: Case, change: Change, at: datetime) -> Line | Refusal | None:
    known = await principals.grantable(tx, change.subject, by=case.row.requested_by)
    if isinstance(known, Refusal) or known.roles != change.before:
        return None
    command = ChangeRoles(change.subject, change.roles)
    given = (await principals.change_roles(tx, [Asked(command, case.row.id, case.row.requested_by)], at))[0]
    return given if isinstance(given, Refusal) else Line("access.roles_changed", given.id, command)


async def _let_issue(_tx: Tx, case: Case, change: Change, _at: datetime) -> Line:
    """Say that a key may be issued: its secret is for whoever asked, so they ask again."""
    return Line("approvals.key_allowed", change.subject, case.subject)


_DONE: Mapping[str, Callable[[Tx, Case, Change, datetime], Awaitable[Line | Refusal | None]]] = {
    "set_policy": _set_now,
    "retire_policy": _retire_now,
    "change_roles": _give_now,
    "issue_key": _let_issue,
}
