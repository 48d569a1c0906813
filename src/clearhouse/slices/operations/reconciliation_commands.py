"""Every command of reconciliation: its name, its scope, what runs it, and what the journal says of it."""

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.reconciliation import breaks, items, matches, resolutions, rules, runs
from clearhouse.kernel.reconciliation.breaks import Assign, Break, MakeRemark, Proposal
from clearhouse.kernel.reconciliation.items import Load, LoadItems
from clearhouse.kernel.reconciliation.matches import Match, MatchByHand, UndoMatch
from clearhouse.kernel.reconciliation.resolutions import Propose, Resolve
from clearhouse.kernel.reconciliation.rules import DefineRules, RuleSet
from clearhouse.kernel.reconciliation.runs import Run, StartRun

WRITE = "reconciliation:write"


class ProposedEvent(msgspec.Struct, frozen=True):
    """What a reader of the journal is told of a proposal."""

    proposal: Proposal | None
    approval: str | None


def _defined(_: Asked[DefineRules], answer: RuleSet) -> Line:
    return Line("reconciliation.rules_defined", answer.name, answer)


def _loaded(_: Asked[LoadItems], answer: Load) -> Line:
    return Line("reconciliation.loaded", answer.id, answer)  # the items stand in their table, which nobody changes


def _ran(_: Asked[StartRun], answer: Run) -> Line:
    return Line("reconciliation.ran", answer.id, answer)


def _matched(_: Asked[MatchByHand], answer: Match) -> Line:
    return Line("reconciliation.matched", answer.id, answer)


def _undone(_: Asked[UndoMatch], answer: Match) -> Line:
    return Line("reconciliation.undone", answer.id, answer)


def _assigned(asked: Asked[Assign], answer: Break) -> Line:
    return Line("reconciliation.assigned", answer.id, asked.command)


def _remarked(asked: Asked[MakeRemark], answer: Break) -> Line:
    return Line("reconciliation.remarked", answer.id, asked.command)


def _proposed(_: Asked[Propose], answer: Break) -> Line:
    return Line("reconciliation.proposed", answer.id, ProposedEvent(answer.proposal, answer.approval))


def _resolved(asked: Asked[Resolve], answer: Match) -> Line:
    return Line("reconciliation.resolved", asked.command.broken, answer)


DEFINE = Kind(
    "reconciliation.define", WRITE, rules.define, RuleSet, _defined, natural=False,
    events={"reconciliation.rules_defined": RuleSet},
)  # fmt: skip
LOAD = Kind(
    "reconciliation.load", WRITE, items.load, Load, _loaded, natural=False,
    events={"reconciliation.loaded": Load},
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
    "reconciliation.undo", WRITE, matches.undo, Match, _undone, natural=False,
    events={"reconciliation.undone": Match},
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
RESOLVE = Kind(
    "reconciliation.resolve", WRITE, resolutions.resolve, Match, _resolved, natural=False,
    events={"reconciliation.resolved": Match},
)  # fmt: skip

ALL = (DEFINE, LOAD, RUN, MATCH, UNDO, ASSIGN, REMARK, PROPOSE, RESOLVE)
