"""Every command of reconciliation: its name, its scope, what runs it, and what the journal says of it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.approvals.defaults import Default
from clearhouse.kernel.approvals.effects import Effect
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.reconciliation import amendments, breaks, entries, items, matches, releases, resolutions, rules, runs
from clearhouse.kernel.reconciliation.amendments import ClaimMatch, UndoMatch
from clearhouse.kernel.reconciliation.breaks import Assign, Break, MakeRemark, Proposal
from clearhouse.kernel.reconciliation.entries import EntryLoad, LoadEntries
from clearhouse.kernel.reconciliation.items import Load, LoadItems
from clearhouse.kernel.reconciliation.matches import Amendment, Match, MatchByHand
from clearhouse.kernel.reconciliation.resolutions import Propose
from clearhouse.kernel.reconciliation.rules import DefineRules, RuleSet
from clearhouse.kernel.reconciliation.runs import Run, StartRun

WRITE = "reconciliation:write"


class ProposedEvent(msgspec.Struct, frozen=True):
    """What a reader of the journal is told of a proposal."""

    proposal: Proposal | None
    approval: str | None


class AmendedEvent(msgspec.Struct, frozen=True):
    """What a reader of the journal is told of what is to become of a match."""

    proposal: Amendment | None
    approval: str | None


def _defined(_: Asked[DefineRules], answer: RuleSet) -> Line:
    return Line("reconciliation.rules_defined", answer.name, answer)


def _loaded(_: Asked[LoadItems], answer: Load) -> Line:
    return Line("reconciliation.loaded", answer.id, answer)  # the items stand in their table, which nobody changes


def _entries_loaded(_: Asked[LoadEntries], answer: EntryLoad) -> Line:
    return Line("reconciliation.entries_loaded", answer.id, answer)


def _ran(_: Asked[StartRun], answer: Run) -> Line:
    return Line("reconciliation.ran", answer.id, answer)


def _matched(_: Asked[MatchByHand], answer: Match) -> Line:
    return Line("reconciliation.matched", answer.id, answer)


def _undo_proposed(_: Asked[UndoMatch], answer: Match) -> Line:
    return Line("reconciliation.undo_proposed", answer.id, AmendedEvent(answer.proposal, answer.approval))


def _claim_proposed(_: Asked[ClaimMatch], answer: Match) -> Line:
    return Line("reconciliation.claim_proposed", answer.id, AmendedEvent(answer.proposal, answer.approval))


def _assigned(asked: Asked[Assign], answer: Break) -> Line:
    return Line("reconciliation.assigned", answer.id, asked.command)


def _remarked(asked: Asked[MakeRemark], answer: Break) -> Line:
    return Line("reconciliation.remarked", answer.id, asked.command)


def _proposed(_: Asked[Propose], answer: Break) -> Line:
    return Line("reconciliation.proposed", answer.id, ProposedEvent(answer.proposal, answer.approval))


DEFINE = Kind(
    "reconciliation.define", WRITE, rules.define, RuleSet, _defined, natural=False,
    events={"reconciliation.rules_defined": RuleSet},
)  # fmt: skip
LOAD = Kind(
    "reconciliation.load", WRITE, items.load, Load, _loaded, natural=False,
    events={"reconciliation.loaded": Load},
)  # fmt: skip
LOAD_ENTRIES = Kind(
    "reconciliation.load_entries", WRITE, entries.load, EntryLoad, _entries_loaded, natural=False,
    events={"reconciliation.entries_loaded": EntryLoad},
)  # fmt: skip
RUN = Kind(
    "reconciliation.run", WRITE, runs.start, Run, _ran, natural=False,
    events={"reconciliation.ran": Run},
)  # fmt: skip
MATCH = Kind(
    "reconciliation.match", WRITE, matches.match_by_hand, Match, _matched, natural=False,
    events={"reconciliation.matched": Match},
)  # fmt: skip
UNDO = Kind(
    "reconciliation.undo", WRITE, amendments.propose, Match, _undo_proposed, natural=False,
    events={"reconciliation.undo_proposed": AmendedEvent},
)  # fmt: skip
CLAIM = Kind(
    "reconciliation.claim", WRITE, amendments.propose, Match, _claim_proposed, natural=False,
    events={"reconciliation.claim_proposed": AmendedEvent},
)  # fmt: skip
ASSIGN = Kind(
    "reconciliation.assign", WRITE, breaks.assign, Break, _assigned, natural=False,
    events={"reconciliation.assigned": Assign},
)  # fmt: skip
REMARK = Kind(
    "reconciliation.remark", WRITE, breaks.remark, Break, _remarked, natural=False,
    events={"reconciliation.remarked": MakeRemark},
)  # fmt: skip
PROPOSE = Kind(
    "reconciliation.propose", WRITE, resolutions.propose, Break, _proposed, natural=False,
    events={"reconciliation.proposed": ProposedEvent},
)  # fmt: skip

ALL = (DEFINE, LOAD, LOAD_ENTRIES, RUN, MATCH, UNDO, CLAIM, ASSIGN, REMARK, PROPOSE)
EVENTS: Mapping[str, Any] = {resolutions.RESOLVED: Match, amendments.UNDONE: Match, amendments.CLAIMED: Match}
EFFECTS: Mapping[str, Effect] = releases.EFFECTS
POLICIES = (Default(breaks.SUBJECT), Default(amendments.SUBJECT))
