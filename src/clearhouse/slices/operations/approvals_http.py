"""Approvals over HTTP: the rules, what waits for you, and your word on it."""

import re
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response, Router
from litestar.params import PathParameter, QueryParameter

from clearhouse import clock
from clearhouse.kernel.approvals import inbox, policies
from clearhouse.kernel.approvals.approval import Approval, State
from clearhouse.kernel.approvals.decisions import Approve, LevelNumber, Reason, Reject, Remark, Withdraw
from clearhouse.kernel.approvals.inbox import Only
from clearhouse.kernel.approvals.policies import Policy, PolicyNotFound, RetirePolicy, SetPolicy
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.refusals import Malformed, Refusal
from clearhouse.slices.operations import commands
from clearhouse.transport.http import bulk
from clearhouse.transport.http.bulk import Results
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

READ = "approvals:read"
Asking = Request[Any, Any, Any]
PolicyPath = Annotated[str, PathParameter(description="The kind of subject that the rules are for.", max_length=64)]
AMOUNT = r"^\d{1,38}([.]\d{1,38})?$"
CurrencyFilter = Annotated[
    str | None,
    QueryParameter(name="currency", required=False, description="Only what moves this, such as USD.", max_length=16),
]
FromFilter = Annotated[
    str | None,
    QueryParameter(name="at_least", required=False, description="Only from this amount on.", max_length=77, pattern=AMOUNT),
]
BelowFilter = Annotated[
    str | None,
    QueryParameter(name="below", required=False, description="Only below this amount.", max_length=77, pattern=AMOUNT),
]
KindFilter = Annotated[
    str | None, QueryParameter(name="kind", required=False, description="Only of this kind of subject.", max_length=63)
]
SubjectFilter = Annotated[
    str | None, QueryParameter(name="subject", required=False, description="Only of this subject.", max_length=200)
]
StateFilter = Annotated[State | None, QueryParameter(name="state", required=False, description="Only in this state.")]
VersionCursor = Annotated[
    str | None,
    QueryParameter(
        name="cursor", required=False, max_length=9, pattern=r"^[0-9]{1,9}$", description="The last version that was read."
    ),
]
_POLICY = {
    "kind": "programs.payout_batch",
    "levels": [{"role": "approver"}, {"role": "approver", "at_least": [{"amount": "10000.00", "currency": "USD"}]}],
}
ApprovalPath = Annotated[str, PathParameter(description="An approval's id.", max_length=64)]


Word = TypeVar("Word", Approve, Reject, Withdraw)
WORDS_MAX = 1_000
_APPROVAL = "apr_01KAHG7R9Q7XKJ8W3M5N2P4T6V"


class Agreement(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The level that you see, and what you have to say."""

    level: LevelNumber
    remark: Remark = ""


class Rejection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why not."""

    remark: Reason


class Withdrawal(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Why not any more, if you want to say."""

    remark: Remark = ""


@get("/policies", summary="List who approves what")
async def list_policies(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Policy]]:
    """Return the rules that hold now, by kind of subject."""
    async with here(request).reading(READ, book) as tx:
        after = "" if cursor is None else await policies.known(tx, cursor)
        found = await policies.policies(tx, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.kind)


@get("/policies/{policy:str}", summary="Show who approves a kind of subject")
async def show_policy(request: Asking, policy: PolicyPath, book: Book = None) -> Policy:
    """Return the rules that hold now for a kind of subject."""
    async with here(request).reading(READ, book) as tx:
        return await policies.find(tx, policy)


@get("/policies/{policy:str}/versions", summary="Who approved a kind of subject when")
async def list_versions(
    request: Asking, policy: PolicyPath, book: Book = None, cursor: VersionCursor = None, limit: Limit = 100
) -> Response[Page[Policy]]:
    """Return every version of the rules for a kind of subject, newest first, and where they were taken back."""
    before = policies.VERSION_MAX if cursor is None else int(cursor)
    async with here(request).reading(READ, book) as tx:
        found = await policies.versions(tx, policy, before=before, most=limit + 1)
    return page(request, found, limit, lambda each: str(each.version))


def _agreed(policy: Policy) -> Response[Policy]:
    return Response(policy, status_code=201 if policy.version else 202)


@post("/policies", summary="Set who approves a kind of subject")
async def set_policy(
    request: Asking, data: Annotated[SetPolicy, body(_POLICY)], book: Book = None, key: IdempotencyKey = None
) -> Response[Policy]:
    """Set the rules for a kind of subject; requests that are under way keep theirs.

    Where there are rules for `approvals.policy`, the answer is 202 and names the approval by which others agree to it.
    """
    return _agreed(await here(request).submit(commands.SET_POLICY, data, book=book, key=key))


@post("/policies/{policy:str}/retire", summary="Let nobody approve a kind of subject any more")
async def retire_policy(
    request: Asking, policy: PolicyPath, book: Book = None, key: IdempotencyKey = None
) -> Response[Policy]:
    """Take rules back: requests that are under way keep theirs, and others of the kind are refused until there are new ones.

    Where there are rules for `approvals.policy`, the answer is 202 and names the approval by which others agree to it.
    """
    if not re.fullmatch(policies.KIND, policy):
        raise PolicyNotFound(kind=policy)
    return _agreed(await here(request).submit(commands.RETIRE_POLICY, RetirePolicy(policy), book=book, key=key))


@get("/inbox", summary="What waits for me")
async def show_inbox(
    request: Asking, kind: KindFilter = None, currency: CurrencyFilter = None, at_least: FromFilter = None,
    below: BelowFilter = None, book: Book = None, cursor: Cursor = None, limit: Limit = 100,
) -> Response[Page[Approval]]:  # fmt: skip
    """Return what you are asked to approve and may, oldest first: all of it, or of one kind, and by what it moves."""
    visit, only = here(request), Only(kind, currency, at_least, below)
    async with visit.reading(READ, book) as tx:
        after = None if cursor is None else await inbox.find(tx, cursor)
        found = await inbox.waiting(tx, visit.caller.id, only, at=clock.now(), after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@get("/", summary="List approvals")
async def list_approvals(
    request: Asking, kind: KindFilter = None, subject: SubjectFilter = None, in_state: StateFilter = None,
    currency: CurrencyFilter = None, at_least: FromFilter = None, below: BelowFilter = None, book: Book = None,
    cursor: Cursor = None, limit: Limit = 100,
) -> Response[Page[Approval]]:  # fmt: skip
    """Return approvals, newest first: in any state or in one, of any kind or of one, of one subject, by what they move."""
    if kind is None and subject is not None:
        raise Malformed(field="kind", problem="a subject is one of some kind: say which")
    only = Only(kind, currency, at_least, below)
    async with here(request).reading(READ, book) as tx:
        before = None if cursor is None else await inbox.find(tx, cursor)
        found = await inbox.listed(tx, only, subject=subject, state=in_state, before=before, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@get("/{approval:str}", summary="Show an approval")
async def show_approval(request: Asking, approval: ApprovalPath, book: Book = None) -> Approval:
    """Return an approval with its levels, who had a hand in it, and what was done on it."""
    async with here(request).reading(READ, book) as tx:
        return await inbox.find(tx, approval)


@post("/{approval:str}/approve", summary="Approve", status_code=200)
async def approve(
    request: Asking,
    approval: ApprovalPath,
    data: Annotated[Agreement, body({"level": 1})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Approval:
    """Approve at the level that you see; if it has passed meanwhile, nothing is done."""
    command = Approve(approval, data.level, data.remark)
    return await here(request).submit(commands.APPROVE, command, book=book, key=key)


@post("/{approval:str}/reject", summary="Reject", status_code=200)
async def reject(
    request: Asking,
    approval: ApprovalPath,
    data: Annotated[Rejection, body({"remark": "the account is another one"})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Approval:
    """Say no, with the reason; it ends there."""
    return await here(request).submit(commands.REJECT, Reject(approval, data.remark), book=book, key=key)


@post("/{approval:str}/withdraw", summary="Withdraw a request", status_code=200)
async def withdraw(
    request: Asking,
    approval: ApprovalPath,
    data: Annotated[Withdrawal, body({"remark": "sent twice"})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Approval:
    """Take back a request for what you created, edited or submitted."""
    return await here(request).submit(commands.WITHDRAW, Withdraw(approval, data.remark), book=book, key=key)


@post(
    "/batch/approve", summary="Approve up to 1,000 at once", status_code=200,
    operation_class=bulk.operation(Approve, {"approval": _APPROVAL, "level": 1}, most=WORDS_MAX),
)  # fmt: skip
async def approve_many(request: Asking, book: Book = None, key: IdempotencyKey = None) -> Results[Approval]:
    """Approve each at the level that you see, each by itself; the body is a JSON array or NDJSON."""
    return await _many(request, commands.APPROVE, Approve, book=book, key=key)


@post(
    "/batch/reject", summary="Reject up to 1,000 at once", status_code=200,
    operation_class=bulk.operation(Reject, {"approval": _APPROVAL, "remark": "the file was sent twice"}, most=WORDS_MAX),
)  # fmt: skip
async def reject_many(request: Asking, book: Book = None, key: IdempotencyKey = None) -> Results[Approval]:
    """Say no to each, with the reason, each by itself; the body is a JSON array or NDJSON."""
    return await _many(request, commands.REJECT, Reject, book=book, key=key)


@post(
    "/batch/withdraw", summary="Withdraw up to 1,000 requests at once", status_code=200,
    operation_class=bulk.operation(Withdraw, {"approval": _APPROVAL}, most=WORDS_MAX),
)  # fmt: skip
async def withdraw_many(request: Asking, book: Book = None, key: IdempotencyKey = None) -> Results[Approval]:
    """Take back requests for what you created, edited or submitted, each by itself; a JSON array or NDJSON."""
    return await _many(request, commands.WITHDRAW, Withdraw, book=book, key=key)


async def _many(
    request: Asking, kind: Kind[Word, Approval], word: type[Word], *, book: str | None, key: str | None
) -> Results[Approval]:
    """Say the words that can be read, and answer all of them in their order."""
    visit = here(request)
    visit.require(kind.scope, book)
    found = bulk.items(await request.body(), request.headers.get("content-type", ""), word, most=WORDS_MAX)
    said = [each for each in found if not isinstance(each, Refusal)]
    answers = iter(await visit.submit_all(kind, said, book=book, key=key) if said else ())
    return bulk.results([each if isinstance(each, Refusal) else next(answers) for each in found])


router = Router(
    "/approvals",
    route_handlers=[
        list_policies, show_policy, list_versions, set_policy, retire_policy, show_inbox, list_approvals, show_approval,
        approve, reject, withdraw, approve_many, reject_many, withdraw_many,
    ],
    tags=["approvals"],
)  # fmt: skip
