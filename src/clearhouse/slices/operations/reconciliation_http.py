"""Reconciliation over HTTP: rule sets, loads, runs, matches and breaks."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.enums import RequestEncodingType
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import PathParameter, QueryParameter

from clearhouse import clock, ids
from clearhouse.kernel.approvals.decisions import Reason as Words
from clearhouse.kernel.approvals.decisions import Remark
from clearhouse.kernel.ledger.transfers import AccountName, Currency, Instant
from clearhouse.kernel.reconciliation import breaks, matches, rules, runs
from clearhouse.kernel.reconciliation.amendments import ClaimMatch, UndoMatch
from clearhouse.kernel.reconciliation.breaks import Action, Assign, Break, BreakRef, Filter, MakeRemark, Reason, State
from clearhouse.kernel.reconciliation.entries import ENTRIES_MAX, EntryLoad, LoadEntries
from clearhouse.kernel.reconciliation.items import ITEMS_MAX, Item, Load, LoadItems, Side
from clearhouse.kernel.reconciliation.matches import Match, MatchByHand
from clearhouse.kernel.reconciliation.resolutions import Propose
from clearhouse.kernel.reconciliation.rules import DefineRules, RuleSet
from clearhouse.kernel.reconciliation.runs import Run, RunVerified, StartRun
from clearhouse.refusals import Malformed
from clearhouse.slices.operations import reconciliation_commands as commands
from clearhouse.transport.http.bulk import BODY_BYTES_MAX, NDJSON, TooManyItems
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

READ = "reconciliation:read"
CSV = "text/csv"
Asking = Request[Any, Any, Any]
SetPath = Annotated[str, PathParameter(description="A rule set's name.", max_length=64)]
RunPath = Annotated[str, PathParameter(description="A run's id.", max_length=64)]
MatchPath = Annotated[str, PathParameter(description="A match's id.", max_length=64)]
BreakPath = Annotated[str, PathParameter(description="A break's id.", max_length=64)]

_RULES = {
    "name": "nostro-eur",
    "rules": [
        {"by": "reference", "tolerance": [{"amount": "0.05", "currency": "EUR"}]},
        {"by": "end_to_end"},
        {"by": "reference", "many": True},
        {"by": "amount", "days": 3},
    ],
    "account": "nostro",
    "write_off": "differences",
    "suspense": "suspense",
}
_ITEM = {"id": "line 17", "amount": "100.00", "currency": "EUR", "date": "2026-11-20", "reference": "invoice 4711"}


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Whose a break is: somebody's, or with null nobody's."""

    owner: Annotated[str, msgspec.Meta(max_length=30)] | None = None


class Remarked(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What there is to say about a break, and why it is there, if that is known now."""

    remark: Words
    reason: Reason | None = None


class Proposed(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a break is to be resolved; `breaks` are the others that it is matched with."""

    action: Action
    breaks: Annotated[list[BreakRef], msgspec.Meta(max_length=matches.BREAKS_MAX)] = []
    remark: Remark = ""


class Entries(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which entries: in one currency or in all, where the first load begins, and what is left for the next one."""

    currency: Currency | None = None
    since: Instant | None = None
    until: Instant | None = None
    most: Annotated[int, msgspec.Meta(ge=1, le=ENTRIES_MAX)] = ENTRIES_MAX


class Undo(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Why a match is to be undone."""

    remark: Remark = ""


class Claim(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The account that money in suspense belongs to, and why."""

    account: AccountName
    remark: Remark = ""


@dataclass
class _Written(Schema):
    """The schema of one item, where no route's own types name it."""

    def to_schema(self) -> dict[str, Any]:
        """Return it as it stands in the document."""
        _, components = msgspec.json.schema_components([Item])
        return components[Item.__name__]


@dataclass
class Loaded(Operation):
    """How a load is documented: items as an array, one on each line, or a table."""

    def __post_init__(self) -> None:
        """Say what the body may be."""
        each = _Written()
        table = "\n".join([",".join(_ITEM), ",".join(_ITEM.values())])
        many = Schema(type=OpenAPIType.ARRAY, items=each, max_items=ITEMS_MAX, examples=[[_ITEM]])
        self.request_body = RequestBody(
            required=True,
            content={
                RequestEncodingType.JSON.value: OpenAPIMediaType(schema=many),
                NDJSON: OpenAPIMediaType(schema=each, examples={"a line": Example(value=_ITEM)}),
                CSV: OpenAPIMediaType(
                    schema=Schema(type=OpenAPIType.STRING, min_length=1), examples={"a table": Example(value=table)}
                ),
            },
        )  # fmt: skip


# Rule sets and what is reconciled by them ------------------------------------------------------------------------------


@post("/rule-sets", summary="Define a rule set, or replace its rules")
async def define_rules(
    request: Asking, data: Annotated[DefineRules, body(_RULES)], book: Book = None, key: IdempotencyKey = None
) -> RuleSet:
    """Set the rules for what is reconciled under a name; earlier runs keep theirs."""
    return await here(request).submit(commands.DEFINE, data, book=book, key=key)


@get("/rule-sets", summary="List rule sets")
async def list_rules(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[RuleSet]]:  # fmt: skip
    """Return rule sets as they are now, by name."""
    async with here(request).reading(READ, book) as tx:
        after = "" if cursor is None else (await rules.find(tx, cursor)).name
        found = await rules.listed(tx, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.name)


@get("/rule-sets/{rule_set:str}", summary="Show a rule set")
async def show_rules(request: Asking, rule_set: SetPath, book: Book = None) -> RuleSet:
    """Return a rule set as it is now."""
    async with here(request).reading(READ, book) as tx:
        return (await rules.find(tx, rule_set)).shown


@post(
    "/rule-sets/{rule_set:str}/items", summary="Load items of one side", request_max_body_size=BODY_BYTES_MAX,
    operation_class=Loaded, opt={"reads": [CSV]},
)  # fmt: skip
async def load_items(
    request: Asking, rule_set: SetPath, book: Book = None, key: IdempotencyKey = None,
    side: Annotated[Side, QueryParameter(name="side", description="Whose record it is.")] = "ours",
) -> Load:  # fmt: skip
    """Take in items for the next run, all or none: a JSON array, NDJSON, or CSV with a heading. Known items stay."""
    here(request).require(commands.WRITE, book)
    items = _items(await request.body(), request.headers.get("content-type", ""))
    async with here(request).reading(READ, book) as tx:
        found = await rules.find(tx, rule_set)
    load = LoadItems(found.name, side, items)
    return await here(request).submit(commands.LOAD, load, book=book, key=key)


@post("/rule-sets/{rule_set:str}/entries", summary="Load entries of our account")
async def load_entries(
    request: Asking, rule_set: SetPath, data: Annotated[Entries, body({"currency": "EUR"})], book: Book = None,
    key: IdempotencyKey = None,
) -> EntryLoad:  # fmt: skip
    """Load what the ledger booked on the rule set's account since the last load, each entry once, as items of our side."""
    async with here(request).reading(READ, book) as tx:
        found = await rules.find(tx, rule_set)
    command = LoadEntries(found.name, data.currency, data.since, data.until, data.most)
    return await here(request).submit(commands.LOAD_ENTRIES, command, book=book, key=key)


@post("/rule-sets/{rule_set:str}/runs", summary="Reconcile")
async def start_run(request: Asking, rule_set: SetPath, book: Book = None, key: IdempotencyKey = None) -> Run:
    """Match what was loaded since the last run, and what that left open."""
    async with here(request).reading(READ, book) as tx:
        found = await rules.find(tx, rule_set)
    return await here(request).submit(commands.RUN, StartRun(found.name), book=book, key=key)


@get("/rule-sets/{rule_set:str}/runs", summary="List the runs of a rule set")
async def list_runs(
    request: Asking, rule_set: SetPath, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Run]]:
    """Return runs with their counts and sums, newest first."""
    async with here(request).reading(READ, book) as tx:
        found = await runs.listed(tx, rule_set, before=cursor, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


# Runs and matches ----------------------------------------------------------------------------------------------------


@get("/runs/{run:str}", summary="Show a run")
async def show_run(request: Asking, run: RunPath, book: Book = None) -> Run:
    """Return a run with its counts and sums per side and currency."""
    async with here(request).reading(READ, book) as tx:
        return await runs.find(tx, run)


@get("/runs/{run:str}/matches", summary="List what a run matched")
async def list_matches(
    request: Asking, run: RunPath, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Match]]:
    """Return the matches of a run, with their items, in order; undone ones say so."""
    async with here(request).reading(READ, book) as tx:
        own = ids.parse("run", (await runs.find(tx, run)).id)
        after = 0 if cursor is None else await matches.place_in(tx, own, cursor)
        found = await matches.of_batch(tx, own, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@post("/runs/{run:str}/verify", summary="Make a run again, and compare", status_code=200)
async def verify_run(request: Asking, run: RunPath, book: Book = None) -> RunVerified:
    """Match again what a run was given, by its own rules, and say whether the same comes of it; nothing is changed."""
    visit = here(request)
    number = visit.require(commands.WRITE, book)
    async with visit.door.database.writing(book=number) as tx:
        return await runs.verify(tx, run, clock.now())


@post("/matches", summary="Match by hand")
async def match_items(
    request: Asking,
    data: Annotated[MatchByHand, body({"breaks": ["brk_0000000000000000000000002A", "brk_0000000000000000000000002B"]})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Match:
    """Match open items of both sides that add up to the same; what differs is proposed, and approved by somebody else."""
    return await here(request).submit(commands.MATCH, data, book=book, key=key)


@get("/matches/{match:str}", summary="Show a match")
async def show_match(request: Asking, match: MatchPath, book: Book = None) -> Match:
    """Return a match with its items and what was posted for it."""
    async with here(request).reading(READ, book) as tx:
        return await matches.find(tx, match)


@post("/matches/{match:str}/undo", summary="Propose to undo a match", status_code=200)
async def undo_match(
    request: Asking, match: MatchPath, data: Annotated[Undo, body({"remark": "another invoice"})], book: Book = None,
    key: IdempotencyKey = None,
) -> Match:  # fmt: skip
    """Ask for approval to open the items of a match again and to reverse what was posted; the last approval does it."""
    async with here(request).reading(READ, book) as tx:
        found = await matches.find(tx, match)
    return await here(request).submit(commands.UNDO, UndoMatch(found.id, data.remark), book=book, key=key)


@post("/matches/{match:str}/claim", summary="Propose whose money it is", status_code=200)
async def claim_match(
    request: Asking, match: MatchPath, data: Annotated[Claim, body({"account": "customers:4711"})], book: Book = None,
    key: IdempotencyKey = None,
) -> Match:  # fmt: skip
    """Ask for approval to move money that waits in suspense to an account; the last approval does it."""
    async with here(request).reading(READ, book) as tx:
        found = await matches.find(tx, match)
    command = ClaimMatch(found.id, data.account, data.remark)
    return await here(request).submit(commands.CLAIM, command, book=book, key=key)


@get("/suspense", summary="List what nobody has claimed")
async def list_suspense(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Match]]:  # fmt: skip
    """Return the matches whose money waits in suspense, those that wait longest first."""
    async with here(request).reading(READ, book) as tx:
        after = None if cursor is None else await matches.find(tx, cursor)
        found = await matches.unclaimed(tx, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


# Breaks --------------------------------------------------------------------------------------------------------------


@get("/breaks", summary="List breaks")
async def list_breaks(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100,
    standing: Annotated[State, QueryParameter(name="state", required=False, description="Those that are.")] = "open",
    owner: Annotated[
        str | None, QueryParameter(name="owner", required=False, max_length=64, description="Whose they are.")
    ] = None,
    reason: Annotated[Reason | None, QueryParameter(name="reason", required=False, description="Why.")] = None,
    rule_set: Annotated[
        str | None, QueryParameter(name="rule_set", required=False, max_length=64, description="Of this rule set.")
    ] = None,
    age: Annotated[
        int, QueryParameter(name="age", required=False, ge=0, le=4_000_000, description="So many days old, at least.")
    ] = 0,
) -> Response[Page[Break]]:  # fmt: skip
    """Return breaks, those of the oldest items first."""
    until = breaks.before(clock.today(), age) if age else Filter().until
    which = Filter(standing, owner, reason, rule_set, until)
    async with here(request).reading(READ, book) as tx:
        after = None if cursor is None else await breaks.find(tx, cursor)
        found = await breaks.listed(tx, which, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@get("/breaks/{broken:str}", summary="Show a break")
async def show_break(request: Asking, broken: BreakPath, book: Book = None) -> Break:
    """Return a break with its item, what was said about it, and how it is to be resolved or was."""
    async with here(request).reading(READ, book) as tx:
        return await breaks.find(tx, broken)


@post("/breaks/{broken:str}/assign", summary="Give a break to somebody", status_code=200)
async def assign_break(
    request: Asking, broken: BreakPath, data: Annotated[Assignment, body({"owner": None})], book: Book = None,
    key: IdempotencyKey = None,
) -> Break:  # fmt: skip
    """Say whose a break is; with null it is nobody's."""
    return await here(request).submit(commands.ASSIGN, Assign(broken, data.owner), book=book, key=key)


@post("/breaks/{broken:str}/remark", summary="Say something about a break", status_code=200)
async def remark_break(
    request: Asking, broken: BreakPath,
    data: Annotated[Remarked, body({"remark": "their fee, see the tariff", "reason": "fee"})],
    book: Book = None, key: IdempotencyKey = None,
) -> Break:  # fmt: skip
    """Add a remark, which stays, and the reason, if it is known now."""
    return await here(request).submit(commands.REMARK, MakeRemark(broken, data.remark, data.reason), book=book, key=key)


@post("/breaks/{broken:str}/propose", summary="Propose how a break is resolved", status_code=200)
async def propose_resolution(
    request: Asking, broken: BreakPath,
    data: Annotated[Proposed, body({"action": "write_off", "remark": "below what a question costs"})],
    book: Book = None, key: IdempotencyKey = None,
) -> Break:  # fmt: skip
    """Ask for approval to write off, suspend, accept, or match with others; the last approval carries it out."""
    command = Propose(broken, data.action, data.breaks, data.remark)
    return await here(request).submit(commands.PROPOSE, command, book=book, key=key)


# Bodies --------------------------------------------------------------------------------------------------------------


_array = msgspec.json.Decoder(list[Item])
_line = msgspec.json.Decoder(Item)


def _items(content: bytes, media_type: str) -> list[Item]:
    """Read items, all of them or none."""
    kind = media_type.partition(";")[0].strip().lower()
    if kind == CSV:
        found = list(_rows(content))
    else:
        found = _line.decode_lines(content) if kind == NDJSON else _array.decode(content)
    if len(found) > ITEMS_MAX:
        raise TooManyItems(count=str(len(found)), most=str(ITEMS_MAX))
    return found


def _rows(content: bytes) -> Iterator[Item]:
    table = csv.DictReader(StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    try:
        for row in table:
            filled = {name: cell.strip() for name, cell in row.items() if isinstance(cell, str) and cell.strip()}
            yield msgspec.convert(filled, Item)
    except (msgspec.ValidationError, csv.Error, AttributeError) as error:
        raise Malformed(field=f"line {table.line_num}", problem=str(error)[:300].rstrip(".")) from error


router = Router(
    "/reconciliation",
    route_handlers=[
        define_rules, list_rules, show_rules, load_items, load_entries, start_run, list_runs, show_run, list_matches,
        verify_run, match_items, show_match, undo_match, claim_match, list_suspense, list_breaks, show_break, assign_break,
        remark_break, propose_resolution,
    ],
    tags=["reconciliation"],
)  # fmt: skip
