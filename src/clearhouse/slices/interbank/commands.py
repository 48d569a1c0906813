"""Every command of interbank: its name, its scope, what runs it, and what the journal says of it."""

from collections.abc import Mapping
from typing import Any

from clearhouse.asking import Asked
from clearhouse.kernel.access.roles import Role, Scope
from clearhouse.kernel.approvals.defaults import Default
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.journal.writing import Line
from clearhouse.slices.interbank import answers, banks, executing, rules, stopping
from clearhouse.slices.interbank.answers import Heard, Word
from clearhouse.slices.interbank.banks import (
    Bank,
    BankAccount,
    ChangeBankAccount,
    FundBankAccount,
    KeepBank,
    OpenBankAccount,
)
from clearhouse.slices.interbank.parties import EVERY_BANK, READ
from clearhouse.slices.interbank.reconciling import RECONCILE, SCOPE
from clearhouse.slices.interbank.rows import Change
from clearhouse.slices.interbank.rules import Limit, NamesSet, SetLimit, SetNames, SettlementWindow, SetWindow
from clearhouse.slices.interbank.settlement import ExecuteSettlement, Settlement, State
from clearhouse.slices.interbank.stopping import CancelSettlement, Release, ReleaseSettlement

EXECUTE, GIVE_UP, ACCOUNTS, RULES, ENGINE = (
    "interbank:execute", "interbank:release", "interbank:accounts", "interbank:rules", "interbank:engine",
)  # fmt: skip


def _change(settlement: Settlement) -> Change:
    return Change(
        settlement.state, settlement.from_bank, settlement.to_bank, settlement.amount, settlement.currency,
        settlement.obligation_id, None, settlement.waiting_for, settlement.reason,
    )  # fmt: skip


def _executed(_: Asked[ExecuteSettlement], answer: Settlement) -> Line:
    return Line(f"interbank.{answer.state.value.lower()}", answer.id, _change(answer))


def _cancelled(_: Asked[CancelSettlement], answer: Settlement) -> Line:
    return Line(f"interbank.{answer.state.value.lower()}", answer.id, _change(answer))


def _released(asked: Asked[ReleaseSettlement], answer: Release) -> Line:
    if answer.approval is not None:
        return Line("interbank.release_asked", answer.settlement.id, asked.command)
    return Line("interbank.failed", answer.settlement.id, _change(answer.settlement))


def _heard(asked: Asked[Word], answer: Heard) -> Line:
    if answer.event:
        return Line(answer.event, answer.settlement, answer.change)
    return Line("interbank.word", answer.settlement, asked.command)


def _bank(_: Asked[KeepBank], answer: Bank) -> Line:
    return Line("interbank.bank_kept", answer.bic, answer)


def _account(event: str) -> Any:
    def line(asked: Asked[Any], answer: BankAccount) -> Line:
        return Line(event, answer.account, asked.command)

    return line


def _window(_: Asked[SetWindow], answer: SettlementWindow) -> Line:
    return Line("interbank.window_set", answer.currency, answer)


def _limit(_: Asked[SetLimit], answer: Limit) -> Line:
    return Line("interbank.limit_set", answer.bank or "every bank", answer)


def _names(_: Asked[SetNames], answer: NamesSet) -> Line:
    return Line("interbank.names_set", answer.source, answer)


EXECUTE_SETTLEMENT = Kind(
    "interbank.execute", EXECUTE, executing.execute, Settlement, _executed,
    events={"interbank.pending": Change, "interbank.funds_locked": Change},
)  # fmt: skip
CANCEL = Kind(
    "interbank.cancel", EXECUTE, stopping.cancel, Settlement, _cancelled, natural=False,
    events={"interbank.rolled_back": Change, "interbank.failed": Change},
)  # fmt: skip
RELEASE = Kind(
    "interbank.release", GIVE_UP, stopping.release_by_hand, Release, _released, natural=False,
    events={"interbank.release_asked": ReleaseSettlement, "interbank.failed": Change},
)  # fmt: skip
HEAR = Kind("interbank.hear", ENGINE, answers.hear, Heard, _heard, events={"interbank.word": Word})
KEEP_BANK = Kind(
    "interbank.keep_bank", ACCOUNTS, banks.keep_banks, Bank, _bank, natural=False, events={"interbank.bank_kept": Bank}
)
OPEN_ACCOUNT = Kind(
    "interbank.open_account", ACCOUNTS, banks.open_accounts, BankAccount, _account("interbank.account_opened"),
    natural=False, events={"interbank.account_opened": OpenBankAccount},
)  # fmt: skip
CHANGE_ACCOUNT = Kind(
    "interbank.change_account", ACCOUNTS, banks.change_accounts, BankAccount, _account("interbank.account_changed"),
    natural=False, events={"interbank.account_changed": ChangeBankAccount},
)  # fmt: skip
FUND_ACCOUNT = Kind(
    "interbank.fund_account", ACCOUNTS, banks.fund_accounts, BankAccount, _account("interbank.account_funded"),
    natural=False, events={"interbank.account_funded": FundBankAccount},
)  # fmt: skip
SET_WINDOW = Kind(
    "interbank.set_window", RULES, rules.set_windows, SettlementWindow, _window, natural=False,
    events={"interbank.window_set": SettlementWindow},
)  # fmt: skip
SET_LIMIT = Kind(
    "interbank.set_limit", RULES, rules.set_limits, Limit, _limit, natural=False, events={"interbank.limit_set": Limit}
)
SET_NAMES = Kind(
    "interbank.set_names", RULES, rules.set_names, NamesSet, _names, natural=False,
    events={"interbank.names_set": NamesSet},
)  # fmt: skip

ALL: tuple[Kind[Any, Any], ...] = (
    EXECUTE_SETTLEMENT, CANCEL, RELEASE, HEAR, KEEP_BANK, OPEN_ACCOUNT, CHANGE_ACCOUNT, FUND_ACCOUNT,
    SET_WINDOW, SET_LIMIT, SET_NAMES, RECONCILE,
)  # fmt: skip
# What a settlement comes to by itself, whatever brought it there.
EVENTS: Mapping[str, Any] = dict.fromkeys(
    [
        *(f"interbank.{state.value.lower()}" for state in State), "interbank.confirmed_partly", "interbank.returned",
        "interbank.compensated", "interbank.alert",
    ],
    Change,
)  # fmt: skip

# A hit is looked at, and what is in doubt is given up, by one who had no hand in it, unless a book says otherwise.
POLICIES = (Default(executing.REVIEW), Default(stopping.RELEASE))

SCOPES: Mapping[Role, tuple[Scope, ...]] = {
    "viewer": (READ, EVERY_BANK),
    "operator": (READ, EVERY_BANK, EXECUTE, GIVE_UP, ACCOUNTS, RULES, SCOPE),
    "approver": (READ, EVERY_BANK),
    "auditor": (READ, EVERY_BANK),
    "party": (READ, EXECUTE),
}
