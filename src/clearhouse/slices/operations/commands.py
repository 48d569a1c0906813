"""Every command of the operations slice: its name, its scope, what runs it, and what the journal says of it."""

from collections.abc import Mapping
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
from clearhouse.kernel.approvals import changes, decisions
from clearhouse.kernel.approvals.approval import Approval, State, Subject
from clearhouse.kernel.approvals.decisions import Approve, Reject, Withdraw
from clearhouse.kernel.approvals.policies import Policy, RetirePolicy, SetPolicy
from clearhouse.kernel.calendars import own
from clearhouse.kernel.calendars.own import ChangeCalendar, Definition, OpenCalendar
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.inbox import dead
from clearhouse.kernel.inbox.dead import Dismiss, Letter, Replay
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger import accounts, days, opening, posting
from clearhouse.kernel.ledger.accounts import Account, AddAsset, Asset, ChangeAccount, OpenAccount
from clearhouse.kernel.ledger.days import CloseDay, ClosedDay
from clearhouse.kernel.ledger.opening import Imported, ImportOpening
from clearhouse.kernel.ledger.transfers import Posted, PostTransaction


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


class AskedEvent(msgspec.Struct, frozen=True):
    """What a reader of the journal is told of a change of who decides that waits for the word of others."""

    command: Any


class SealedEvent(msgspec.Struct, frozen=True):
    """The head of the audit trail's chain, to be kept elsewhere."""

    number: int
    chain: str


class AdministratorKeyEvent(msgspec.Struct, frozen=True):
    """An administrator's key that was made on the machine of the database."""

    principal: str
    label: str


class LetterEvent(msgspec.Struct, frozen=True):
    """A message from outside that had no effect when it came: where it came in, its id there, and why."""

    subscription: str
    message: str
    code: str


class MoreRefusedEvent(msgspec.Struct, frozen=True):
    """How many more were refused entrance than are written down one by one."""

    count: int


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
    if answer.approval is not None:
        return _waits(answer.approval, asked.command)
    return Line("access.roles_changed", answer.id, asked.command)


def _disabled(_: Asked[DisablePrincipal], answer: Principal) -> Line:
    return Line("access.principal_disabled", answer.id)


def _issued(asked: Asked[IssueKey], answer: IssuedKey) -> Line:
    if answer.approval is not None:
        return _waits(answer.approval, asked.command)
    return Line("access.key_issued", answer.id, asked.command)  # never the answer: it holds the secret


def _revoked(_: Asked[RevokeKey], answer: Key) -> Line:
    return Line("access.key_revoked", answer.id, answer)


def _policy(asked: Asked[SetPolicy] | Asked[RetirePolicy], answer: Policy) -> Line:
    if not answer.version and answer.approval is not None:
        return _waits(answer.approval, asked.command)
    return Line("approvals.policy_retired" if answer.retired else "approvals.policy_set", answer.kind, answer)


def _waits(approval: str, command: SetPolicy | RetirePolicy | ChangeRoles | IssueKey) -> Line:
    return Line("approvals.asked", approval, AskedEvent(command))


def _decided(asked: Asked[Approve] | Asked[Reject] | Asked[Withdraw], answer: Approval) -> Line:
    if answer.exists:
        return Line("approvals.repeated", answer.id)
    said = answer.steps[-1]
    event = "approvals.agreed" if answer.state is State.PENDING else f"approvals.{answer.state.value}"
    told = DecidedEvent(answer.subject, answer.content, answer.state, said.level, asked.command.remark)
    return Line(event, answer.id, told)


def _letter_due(asked: Asked[Replay], answer: Letter) -> Line:
    return Line("inbox.replay_asked", answer.id, asked.command)


def _letter_dismissed(asked: Asked[Dismiss], answer: Letter) -> Line:
    return Line("inbox.dismissed", answer.id, asked.command)


POST = Kind(
    "ledger.post", "ledger:post", posting.post, Posted, _posted, identify=_chosen,
    events={"ledger.posted": PostedEvent, "ledger.repeated": None},
)  # fmt: skip
OPEN_ACCOUNT = Kind(
    "ledger.open_account", "ledger:accounts", accounts.open_accounts, Account, _opened,
    events={"ledger.account_opened": OpenAccount},
)  # fmt: skip
CHANGE_ACCOUNT = Kind(
    "ledger.change_account", "ledger:accounts", accounts.change_accounts, Account, _changed, natural=False,
    events={"ledger.account_changed": ChangeAccount},
)  # fmt: skip
ADD_ASSET = Kind(
    "ledger.add_asset", "ledger:accounts", accounts.add_assets, Asset, _asset,
    events={"ledger.asset_added": Asset},
)  # fmt: skip
CLOSE_DAY = Kind(
    "ledger.close_day", "ledger:close", days.close_days, ClosedDay, _closed, natural=False,
    events={"ledger.day_closed": ClosedDay},
)  # fmt: skip
IMPORT = Kind(
    "ledger.import", "ledger:import", opening.import_openings, Imported, _imported, natural=False,
    events={"ledger.imported": ImportedEvent, "ledger.import_tried": ImportedEvent},
)  # fmt: skip
OPEN_CALENDAR = Kind(
    "calendars.open", "calendars:write", own.open_calendars, Definition, _calendar_opened,
    events={"calendars.opened": OpenCalendar},
)  # fmt: skip
CHANGE_CALENDAR = Kind(
    "calendars.change", "calendars:write", own.change_calendars, Definition, _calendar_changed, natural=False,
    events={"calendars.changed": ChangeCalendar},
)  # fmt: skip
OPEN_BOOK = Kind(
    "access.open_book", "access:write", books.open_books, Book, _book,
    events={"access.book_opened": Book},
)  # fmt: skip
ADD_PRINCIPAL = Kind(
    "access.add_principal", "access:write", changes.add_principals, Principal, _added,
    events={"access.principal_added": AddPrincipal},
)  # fmt: skip
CHANGE_ROLES = Kind(
    "access.change_roles", "access:write", changes.change_roles, Principal, _roles, natural=False,
    events={"access.roles_changed": ChangeRoles, "approvals.asked": AskedEvent},
)  # fmt: skip
DISABLE = Kind(
    "access.disable_principal", "access:write", principals.disable_principals, Principal, _disabled, natural=False,
    events={"access.principal_disabled": None},
)  # fmt: skip
ISSUE_KEY = Kind(
    "access.issue_key", "access:write", changes.issue_keys, IssuedKey, _issued, kept=False,
    events={"access.key_issued": IssueKey, "approvals.asked": AskedEvent},
)  # fmt: skip
REVOKE_KEY = Kind(
    "access.revoke_key", "access:write", keys.revoke_keys, Key, _revoked,
    events={"access.key_revoked": Key},
)  # fmt: skip
SET_POLICY = Kind(
    "approvals.set_policy", "approvals:policies", changes.set_policies, Policy, _policy, natural=False,
    events={"approvals.policy_set": Policy, "approvals.asked": AskedEvent},
)  # fmt: skip
RETIRE_POLICY = Kind(
    "approvals.retire_policy", "approvals:policies", changes.retire_policies, Policy, _policy, natural=False,
    events={"approvals.policy_retired": Policy, "approvals.asked": AskedEvent},
)  # fmt: skip
APPROVE = Kind(
    "approvals.approve", "approvals:decide", decisions.approve, Approval, _decided, natural=False,
    events={
        "approvals.agreed": DecidedEvent, "approvals.approved": DecidedEvent, "approvals.repeated": None,
        "approvals.key_allowed": Subject,
    },
)  # fmt: skip
REJECT = Kind(
    "approvals.reject", "approvals:decide", decisions.reject, Approval, _decided, natural=False,
    events={"approvals.rejected": DecidedEvent, "approvals.repeated": None},
)  # fmt: skip
WITHDRAW = Kind(
    "approvals.withdraw", "approvals:withdraw", decisions.withdraw, Approval, _decided, natural=False,
    events={"approvals.withdrawn": DecidedEvent, "approvals.repeated": None},
)  # fmt: skip
REPLAY = Kind(
    "inbox.replay", "inbox:decide", dead.replay, Letter, _letter_due, natural=False,
    events={"inbox.replay_asked": Replay},
)  # fmt: skip
DISMISS = Kind(
    "inbox.dismiss", "inbox:decide", dead.dismiss, Letter, _letter_dismissed, natural=False,
    events={"inbox.dismissed": Dismiss},
)  # fmt: skip

# What happens without a command: by the worker, at the entrance, and on the machine itself.
EVENTS: Mapping[str, Any] = {
    "ledger.hold_expired": None,
    "approvals.expired": Subject,
    "audit.sealed": SealedEvent,
    "access.administrator_key": AdministratorKeyEvent,
    "inbox.dead": LetterEvent,
    "inbox.dead_again": LetterEvent,
    "inbox.replayed": LetterEvent,
    "access.refused": None,
    "access.more_refused": MoreRefusedEvent,
}
ALL: tuple[Kind[Any, Any], ...] = (
    POST, OPEN_ACCOUNT, CHANGE_ACCOUNT, ADD_ASSET, CLOSE_DAY, IMPORT, OPEN_CALENDAR, CHANGE_CALENDAR, OPEN_BOOK,
    ADD_PRINCIPAL, CHANGE_ROLES, DISABLE, ISSUE_KEY, REVOKE_KEY, SET_POLICY, RETIRE_POLICY, APPROVE, REJECT, WITHDRAW,
    REPLAY, DISMISS,
)  # fmt: skip
