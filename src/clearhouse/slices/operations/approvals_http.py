"""Approvals over HTTP: the rules, what waits for you, and your word on it."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import PathParameter, QueryParameter

from clearhouse import clock
from clearhouse.kernel.approvals import inbox, policies
from clearhouse.kernel.approvals.approval import Approval, State, Subject
from clearhouse.kernel.approvals.decisions import Approve, LevelNumber, Reason, Reject, Remark, Withdraw
from clearhouse.kernel.approvals.policies import Policy, SetPolicy
from clearhouse.refusals import Malformed
from clearhouse.slices.operations import commands
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

READ = "approvals:read"
Asking = Request[Any, Any, Any]
PolicyPath = Annotated[str, PathParameter(description="The kind of subject that the rules are for.", max_length=64)]
KindFilter = Annotated[
    str | None, QueryParameter(name="kind", required=False, description="Only of this kind of subject.", max_length=63)
]
SubjectFilter = Annotated[
    str | None, QueryParameter(name="subject", required=False, description="Only of this subject.", max_length=200)
]
StateFilter = Annotated[State | None, QueryParameter(name="state", required=False, description="Only in this state.")]
_POLICY = {
    "kind": "programs.payout_batch",
    "levels": [{"role": "approver"}, {"role": "approver", "at_least": [{"amount": "10000.00", "currency": "USD"}]}],
}
ApprovalPath = Annotated[str, PathParameter(description="An approval's id.", max_length=64)]


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
        after = "" if cursor is None else (await policies.find(tx, cursor)).kind
        found = await policies.policies(tx, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.kind)


@get("/policies/{policy:str}", summary="Show who approves a kind of subject")
async def show_policy(request: Asking, policy: PolicyPath, book: Book = None) -> Policy:
    """Return the rules that hold now for a kind of subject."""
    async with here(request).reading(READ, book) as tx:
        return await policies.find(tx, policy)


@post("/policies", summary="Set who approves a kind of subject")
async def set_policy(
    request: Asking, data: Annotated[SetPolicy, body(_POLICY)], book: Book = None, key: IdempotencyKey = None
) -> Policy:
    """Set the rules for a kind of subject; requests that are under way keep theirs."""
    return await here(request).submit(commands.SET_POLICY, data, book=book, key=key)


@get("/inbox", summary="What waits for me")
async def show_inbox(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Approval]]:
    """Return what you are asked to approve and may, oldest first."""
    visit = here(request)
    async with visit.reading(READ, book) as tx:
        after = None if cursor is None else await inbox.find(tx, cursor)
        found = await inbox.waiting(tx, visit.caller.id, at=clock.now(), after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@get("/", summary="List approvals")
async def list_approvals(
    request: Asking, kind: KindFilter = None, subject: SubjectFilter = None, in_state: StateFilter = None,
    book: Book = None, cursor: Cursor = None, limit: Limit = 100,
) -> Response[Page[Approval]]:  # fmt: skip
    """Return approvals, newest first: in any state or in one, of everything or of one subject (its kind and its id)."""
    if (kind is None) != (subject is None):
        raise Malformed(field="subject", problem="a kind and a subject come together")
    of = None if kind is None or subject is None else Subject(kind, subject)
    async with here(request).reading(READ, book) as tx:
        before = None if cursor is None else await inbox.find(tx, cursor)
        found = await inbox.listed(tx, subject=of, state=in_state, before=before, most=limit + 1)
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


router = Router(
    "/approvals",
    route_handlers=[
        list_policies, show_policy, set_policy, show_inbox, list_approvals, show_approval, approve, reject, withdraw,
    ],
    tags=["approvals"],
)  # fmt: skip
