"""Every command of the operations slice: its name, its scope, what runs it, and what the journal says of it."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access import books, keys, principals
from clearhouse.kernel.access.books import Book, OpenBook
from clearhouse.kernel.access.keys import IssuedKey, IssueKey, Key, RevokeKey
from clearhouse.kernel.access.principals import AddPrincipal, ChangeRoles, DisablePrincipal, Principal
from clearhouse.kernel.approvals import decisions, policies
from clearhouse.kernel.approvals.approval import Approval, State, Subject
from clearhouse.kernel.approvals.decisions import Approve, Reject, Withdraw
from clearhouse.kernel.approvals.policies import Policy, SetPolicy
from clearhouse.kernel.calendars import own
from clearhouse.kernel.calendars.own import ChangeCalendar, Definition, OpenCalendar
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger import accounts, days, opening, posting
from clearhouse.kernel.ledger.accounts import Account, AddAsset, Asset, ChangeAccount, OpenAccount
from clearhouse.kernel.ledger.days import CloseDay, ClosedDay
from clearhouse.kernel.ledger.opening import Imported, ImportOpening
from clearhouse.kernel.ledger.transfers import Posted, PostTransaction
from clearhouse.kernel.pipelines import aside, schedules
from clearhouse.kernel.pipelines.aside import Retried, Retry
from clearhouse.kernel.pipelines.schedules import Named, Schedule, SetSchedule


class PostedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a reader of the journal is told of a transaction."""

    command: PostTransaction
    booked: datetime
    effective: date


class ImportedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a reader of the journal is told of an import."""

    imported: Imported
    against: str
    reference: str | None = None


class DecidedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a reader of the journal is told of a word on an approval."""

    subject: Subject
    content: str
    state: State
    level: int
    remark: str = ""


def _chosen(command: PostTransaction) -> UUID | None:
    return None if command.id is None else ids.parse("trx", command.id)


def _posted(asked: Asked[PostTransaction], answer: Posted) -> Line:
    if answer.exists:
        return Line("ledger.repeated", answer.id)
    return Line("ledger.posted", answer.id, PostedEvent(asked.command, answer.booked, answer.effective))


def _imported(asked: Asked[ImportOpening], answer: Imported) -> Line:
    event = "ledger.import_tried" if answer.dry_run else "ledger.imported"
    told = ImportedEvent(answer, asked.command.against, asked.command.reference)
    return Line(event, answer.transaction or str(asked.id), told)


def _asset(_: Asked[AddAsset], answer: Asset) -> Line:
    return Line("ledger.asset_added", answer.code, answer)


def _opened(asked: Asked[OpenAccount], answer: Account) -> Line:
    return Line("ledger.account_opened", answer.id, asked.command)


def _changed(asked: Asked[ChangeAccount], answer: Account) -> Line:
    return Line("ledger.account_changed", answer.id, asked.command)


def _closed(_: Asked[CloseDay], answer: ClosedDay) -> Line:
    return Line("ledger.day_closed", str(answer.day), answer)


def _calendar_opened(asked: Asked[OpenCalendar], answer: Definition) -> Line:
    return Line("calendars.opened", answer.name, asked.command)


def _calendar_changed(asked: Asked[ChangeCalendar], answer: Definition) -> Line:
    return Line("calendars.changed", answer.name, asked.command)


def _book(_: Asked[OpenBook], answer: Book) -> Line:
    return Line("access.book_opened", answer.name, answer)


def _added(asked: Asked[AddPrincipal], answer: Principal) -> Line:
    return Line("access.principal_added", answer.id, asked.command)


def _roles(asked: Asked[ChangeRoles], answer: Principal) -> Line:
    return Line("access.roles_changed", answer.id, asked.command)


def _disabled(_: Asked[DisablePrincipal], answer: Principal) -> Line:
    return Line("access.principal_disabled", answer.id)


def _issued(asked: Asked[IssueKey], answer: IssuedKey) -> Line:
    return Line("access.key_issued", answer.id, asked.command)  # never the answer: it holds the secret


def _revoked(_: Asked[RevokeKey], answer: Key) -> Line:
    return Line("access.key_revoked", answer.id, answer)


def _policy(_: Asked[SetPolicy], answer: Policy) -> Line:
    return Line("approvals.policy_set", answer.kind, answer)


def _decided(asked: Asked[Approve] | Asked[Reject] | Asked[Withdraw], answer: Approval) -> Line:
    said = answer.steps[-1]
    event = "approvals.agreed" if answer.state is State.PENDING else f"approvals.{answer.state.value}"
    told = DecidedEvent(answer.subject, answer.content, answer.state, said.level, asked.command.remark)
    return Line(event, answer.id, told)


def _scheduled(asked: Asked[SetSchedule], _: Schedule) -> Line:
    return Line("schedules.set", asked.command.name, asked.command)


def _rested(_: Asked[Named], answer: Schedule) -> Line:
    return Line(f"schedules.{answer.state}", answer.name)


def _fired(asked: Asked[Named], answer: Schedule) -> Line:
    return Line("schedules.run", answer.name, {"firing": ids.text(schedules.RUN.prefix, asked.id)})


def _retried(_: Asked[Retry], answer: Retried) -> Line:
    return Line("jobs.retried", answer.job, answer.ids)


POST = Kind("ledger.post", "ledger:post", posting.post, Posted, _posted, identify=_chosen)
OPEN_ACCOUNT = Kind("ledger.open_account", "ledger:accounts", accounts.open_accounts, Account, _opened)
CHANGE_ACCOUNT = Kind("ledger.change_account", "ledger:accounts", accounts.change_accounts, Account, _changed, natural=False)
ADD_ASSET = Kind("ledger.add_asset", "ledger:accounts", accounts.add_assets, Asset, _asset)
CLOSE_DAY = Kind("ledger.close_day", "ledger:close", days.close_days, ClosedDay, _closed, natural=False)
IMPORT = Kind("ledger.import", "ledger:import", opening.import_openings, Imported, _imported, natural=False)
OPEN_CALENDAR = Kind("calendars.open", "calendars:write", own.open_calendars, Definition, _calendar_opened)
CHANGE_CALENDAR = Kind(
    "calendars.change", "calendars:write", own.change_calendars, Definition, _calendar_changed, natural=False
)
OPEN_BOOK = Kind("access.open_book", "access:write", books.open_books, Book, _book)
ADD_PRINCIPAL = Kind("access.add_principal", "access:write", principals.add_principals, Principal, _added)
CHANGE_ROLES = Kind("access.change_roles", "access:write", principals.change_roles, Principal, _roles, natural=False)
DISABLE = Kind(
    "access.disable_principal", "access:write", principals.disable_principals, Principal, _disabled, natural=False
)
ISSUE_KEY = Kind("access.issue_key", "access:write", keys.issue_keys, IssuedKey, _issued, kept=False)
REVOKE_KEY = Kind("access.revoke_key", "access:write", keys.revoke_keys, Key, _revoked)
SET_POLICY = Kind("approvals.set_policy", "approvals:policies", policies.set_policies, Policy, _policy, natural=False)
APPROVE = Kind("approvals.approve", "approvals:decide", decisions.approve, Approval, _decided, natural=False)
REJECT = Kind("approvals.reject", "approvals:decide", decisions.reject, Approval, _decided, natural=False)
WITHDRAW = Kind("approvals.withdraw", "approvals:withdraw", decisions.withdraw, Approval, _decided, natural=False)
SET_SCHEDULE = Kind("schedules.set", "jobs:write", schedules.set_schedules, Schedule, _scheduled, natural=False)
PAUSE = Kind("schedules.pause", "jobs:write", schedules.pause_schedules, Schedule, _rested, natural=False)
RESUME = Kind("schedules.resume", "jobs:write", schedules.resume_schedules, Schedule, _rested, natural=False)
RUN_SCHEDULE = Kind("schedules.run", "jobs:write", schedules.run_schedules, Schedule, _fired, natural=False)
RETRY = Kind("jobs.retry", "jobs:write", aside.retry, Retried, _retried, natural=False)

ALL: tuple[Kind[Any, Any], ...] = (
    POST, OPEN_ACCOUNT, CHANGE_ACCOUNT, ADD_ASSET, CLOSE_DAY, IMPORT, OPEN_CALENDAR, CHANGE_CALENDAR, OPEN_BOOK,
    ADD_PRINCIPAL, CHANGE_ROLES, DISABLE, ISSUE_KEY, REVOKE_KEY, SET_POLICY, APPROVE, REJECT, WITHDRAW,
    SET_SCHEDULE, PAUSE, RESUME, RUN_SCHEDULE, RETRY,
)  # fmt: skip
