"""The journal through its doors: who did what, in which order, and how anyone sees that nobody touched it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from clearhouse import clock, ids
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.sequencing import SEALED_EVERY, sweep
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger.transfers import Leg, PostTransaction
from clearhouse.slices.operations import commands
from house import House, client, movement, ok, post, refused, transaction
from trails import AUDIT, COPY, head, replayed, verdict

ACCESS = "/api/v1/access"
LEDGER = "/api/v1/ledger"
GENESIS = "0:" + "00" * 32


@pytest.fixture
async def operator(house: House) -> httpx.AsyncClient:
    """Give somebody who posts, in a book with two accounts."""
    found = await house.caller("operator")
    await house.open_accounts(found, "shop", "revenue")
    return found


@pytest.fixture
async def trail(house: House, operator: httpx.AsyncClient) -> House:
    """Give a house with a sealed trail of more than ten rows."""
    for number in range(8):
        await post(operator, movement("shop", "revenue", "1.00"), reference=f"invoice {number}")
    await house.seal()
    return house


@pytest.fixture
def owner(owner_dsn: str) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """Give somebody who can do whatever the owner of the database can, with the journal's triggers out of the way."""
    with psycopg.connect(owner_dsn, autocommit=True, options="-c search_path=clearhouse") as connection:
        connection.execute("ALTER TABLE journal DISABLE TRIGGER USER")
        yield connection


async def entries(viewer: httpx.AsyncClient, **which: Any) -> list[dict[str, Any]]:
    """Return the rows of the trail, each with its lines read."""
    found = ok(await viewer.get(f"{AUDIT}/lines", params={"limit": 1_000, **which}))["items"]
    return [each | {"lines": json.loads(each["lines"])} for each in found]


async def lines(viewer: httpx.AsyncClient, **which: Any) -> list[dict[str, Any]]:
    """Return the lines of the trail, each with its row's principal where it names nobody else."""
    return [{"by": each["principal"]} | line for each in await entries(viewer, **which) for line in each["lines"]]


async def open_other(house: House) -> None:
    """Open a book called other, whose administrator need not wait until the gate looks again."""
    ok(await house.admin.post(f"{ACCESS}/books", json={"name": "other"}))
    house.gate._known.clear()


async def me(caller: httpx.AsyncClient) -> str:
    return str(ok(await caller.get(f"{ACCESS}/whoami"))["id"])


def event_of(line: dict[str, Any]) -> tuple[str, str]:
    return line["event"], line["by"]


# Who and what --------------------------------------------------------------------------------------------------------


async def test_every_write_to_the_ledger_leaves_a_line_with_who_and_what(house: House, operator: httpx.AsyncClient) -> None:
    await house.seal()
    start = len(await entries(house.admin))
    account = ok(await operator.get(f"{LEDGER}/accounts/shop", params={"asset": "USD"}))["id"]
    ok(await operator.post(f"{LEDGER}/assets", json={"code": "WETH", "exponent": 18}))
    ok(await operator.patch(f"{LEDGER}/accounts/{account}", json={"metadata": {"kind": "till"}}))
    posted = await post(operator, movement("shop", "revenue", "1.00"), reference="invoice 1")
    undone = ok(await operator.post(f"{LEDGER}/transactions/{posted['id']}/reverse", json={}))
    closed = ok(await operator.post(f"{LEDGER}/days", json={"day": "2026-01-31"}))
    await house.seal()
    found = await lines(house.admin, cursor=start)
    assert {each["by"] for each in found} == {await me(operator)}
    assert [(each["event"], each["subject"]) for each in found] == [
        ("ledger.asset_added", "WETH"),
        ("ledger.account_changed", account),
        ("ledger.posted", posted["id"]),
        ("ledger.posted", undone["id"]),
        ("ledger.day_closed", closed["day"]),
    ]
    assert found[2]["data"]["command"]["reference"] == "invoice 1"


async def test_every_change_of_access_leaves_a_line_with_who_and_what(house: House) -> None:
    await house.seal()
    start = len(await entries(house.admin))
    book = ok(await house.admin.post(f"{ACCESS}/books", json={"name": "program-42"}))
    added = ok(await house.admin.post(f"{ACCESS}/principals", json={"name": "Mira Novak"}))
    path = f"{ACCESS}/principals/{added['id']}"
    ok(await house.admin.put(f"{path}/roles", json={"roles": ["viewer"]}))
    key = ok(await house.admin.post(f"{path}/keys", json={}))
    ok(await house.admin.post(f"{ACCESS}/keys/{key['id']}/revoke"))
    ok(await house.admin.post(f"{path}/disable"))
    await house.seal()
    found = await lines(house.admin, cursor=start)
    assert {each["by"] for each in found} == {await me(house.admin)}
    assert [(each["event"], each["subject"]) for each in found] == [
        ("access.book_opened", book["name"]),
        ("access.principal_added", added["id"]),
        ("access.roles_changed", added["id"]),
        ("access.key_issued", key["id"]),
        ("access.key_revoked", key["id"]),
        ("access.principal_disabled", added["id"]),
    ]


async def test_a_refused_command_leaves_a_line_with_its_code(house: House, operator: httpx.AsyncClient) -> None:
    answer = await operator.post(f"{LEDGER}/transactions", json=transaction(movement("shop", "nobody", "1.00")))
    assert refused(answer, 422) == "account_unknown"
    assert refused(await operator.post(f"{LEDGER}/accounts", json={"code": "a b", "asset": "USD"}), 422) == "malformed_code"
    await house.seal()
    found = (await lines(house.admin))[-2:]
    assert [(each["event"], each["refused"]) for each in found] == [
        ("ledger.post", "account_unknown"),
        ("ledger.open_account", "malformed_code"),
    ]
    assert {each["by"] for each in found} == {await me(operator)}
    assert found[0]["data"]["transfers"][0]["credit"] == "nobody"


async def test_a_batch_leaves_one_row_with_a_line_for_each_item(house: House, operator: httpx.AsyncClient) -> None:
    items = [transaction(movement("shop", name, "1.00")) for name in ("revenue", "nobody", "revenue")]
    answers = ok(await operator.post(f"{LEDGER}/transactions/batch", json=items))["results"]
    await house.seal()
    row = (await entries(house.admin))[-1]
    assert [each["event"] for each in row["lines"]] == ["ledger.posted", "ledger.post", "ledger.posted"]
    assert [each.get("refused") for each in row["lines"]] == [None, "account_unknown", None]
    assert [each["subject"] for each in row["lines"]][::2] == [each["ok"]["id"] for each in answers[::2]]


@pytest.mark.usefixtures("operator")
async def test_callers_whose_commands_share_a_transaction_are_told_apart(house: House) -> None:
    people = [Caller(ids.fresh(), name, scopes={1: frozenset({"ledger:post"})}) for name in ("Ann", "Bob")]
    asked = PostTransaction([Leg(debit="shop", credit="revenue", amount="1.00", currency="USD")])
    await asyncio.gather(*(house.door.submit(commands.POST, [asked], caller=each, book=1) for each in people))
    await house.seal()
    row = (await entries(house.admin))[-1]
    assert [each["by"] for each in row["lines"]] == [ids.text("prn", each.id) for each in people]
    assert row["principal"] == ids.text("prn", writing.SYSTEM)


async def test_whoever_is_turned_away_leaves_a_line_too(house: House, operator: httpx.AsyncClient) -> None:
    assert refused(await operator.post(f"{ACCESS}/books", json={"name": "mine"}), 403) == "denied"
    assert refused(await client(house.entrance, "ck_guessed").get(f"{AUDIT}/head"), 401) == "unauthenticated"
    await house.gate.flush()
    await house.seal()
    denied, stranger = (await lines(house.admin))[-2:]
    assert (denied["event"], denied["subject"], denied["refused"]) == ("access.denied", await me(operator), "denied")
    assert stranger["event"] == "access.refused"
    assert "guessed" not in json.dumps(stranger)


async def test_no_secret_is_ever_written_down(house: House) -> None:
    added = ok(await house.admin.post(f"{ACCESS}/principals", json={"name": "Mira Novak"}))
    issued = ok(await house.admin.post(f"{ACCESS}/principals/{added['id']}/keys", json={}))
    await house.seal()
    exported = (await house.admin.get(f"{AUDIT}/export")).text
    assert issued["id"] in exported
    assert issued["secret"].split("_", 2)[2] not in exported
    assert house.admin.headers["authorization"].split("_", 2)[2] not in exported


async def test_a_repeated_request_leaves_no_second_posting(house: House, operator: httpx.AsyncClient) -> None:
    body, key = transaction(movement("shop", "revenue", "1.00")), {"Idempotency-Key": "once"}
    answers = [ok(await operator.post(f"{LEDGER}/transactions", json=body, headers=key)) for _ in range(3)]
    await house.seal()
    told = [each["event"] for each in await lines(house.admin) if each["subject"] == answers[0]["id"]]
    assert told == ["ledger.posted"]


# Numbers and cursors -------------------------------------------------------------------------------------------------


async def test_numbers_have_no_gap_however_many_write_and_number_at_once(house: House, operator: httpx.AsyncClient) -> None:
    async def number() -> None:
        for _ in range(15):
            await sweep(house.database)

    wanted = [transaction(movement("shop", name, "1.00")) for name in ("revenue", "nobody")] * 20
    posting = [operator.post(f"{LEDGER}/transactions", json=each) for each in wanted]
    await asyncio.gather(*posting, number(), number(), number())
    with pytest.raises(ZeroDivisionError):
        await roll_back(house)
    await post(operator, movement("shop", "revenue", "1.00"))
    await house.seal()
    found = await entries(house.admin)
    assert [each["number"] for each in found] == list(range(1, len(found) + 1))
    assert sum(each["event"] == "ledger.posted" for row in found for each in row["lines"]) == 21
    assert (await verdict(house.admin))["intact"]


async def roll_back(house: House) -> None:
    """Write a row and take it back, so that its id is lost."""
    async with house.database.writing(book=1) as tx:
        writing.write(tx, [Line("test", "never")], book=1, kind="test", by=writing.SYSTEM, at=clock.now())
        await tx.flush()
        raise ZeroDivisionError


async def test_a_row_that_commits_late_is_numbered_after_those_that_did_not_wait_for_it(house: House) -> None:
    async with house.database.writing(book=1) as tx:
        writing.write(tx, [Line("test", "late")], book=1, kind="test", by=writing.SYSTEM, at=clock.now())
        await tx.flush()
        added = ok(await house.admin.post(f"{ACCESS}/principals", json={"name": "Mira Novak"}))
        await house.seal()
        before = await lines(house.admin)
    await house.seal()
    assert before[-1]["subject"] == added["id"]
    assert [each["subject"] for each in (await lines(house.admin))[len(before) :]] == ["late"]
    assert (await verdict(house.admin))["intact"]


async def test_a_reader_that_keeps_its_cursor_sees_everything_once(house: House, operator: httpx.AsyncClient) -> None:
    seen: list[dict[str, Any]] = []

    async def read() -> None:
        found = ok(await house.admin.get(f"{AUDIT}/lines", params={"limit": 3, "cursor": len(seen)}))
        seen.extend(found["items"])

    for number in range(6):
        posting = (post(operator, movement("shop", "revenue", "1.00"), reference=f"{number} {place}") for place in range(2))
        await asyncio.gather(*posting, sweep(house.database), read())
    await house.seal()
    for _ in range(10):
        await read()
    assert seen == ok(await house.admin.get(f"{AUDIT}/lines", params={"limit": 1_000}))["items"]
    assert sum(each["lines"].count('"ledger.posted"') for each in seen) == 12


async def test_pages_lead_on_to_the_end_and_no_further(trail: House) -> None:
    seen: list[int] = []
    path = f"{AUDIT}/lines?limit=3"
    while path:
        answer = await trail.admin.get(path)
        assert len(ok(answer)["items"]) <= 3
        seen += [each["number"] for each in answer.json()["items"]]
        path = answer.links.get("next", {}).get("url", "")
        assert (answer.json()["next"] is None) == (not path)
    assert seen == [each["number"] for each in await entries(trail.admin)]
    assert await entries(trail.admin, cursor=2**63 - 1) == []


@pytest.mark.parametrize("cursor", ["-1", str(2**63), "x", "1.5"])
async def test_a_cursor_that_is_none_is_refused(house: House, cursor: str) -> None:
    assert refused(await house.admin.get(f"{AUDIT}/lines", params={"cursor": cursor}), 400) == "malformed"


# Books and roles -----------------------------------------------------------------------------------------------------


async def test_each_book_has_a_chain_of_its_own(house: House, operator: httpx.AsyncClient) -> None:
    await open_other(house)
    stranger = await house.caller("operator", "auditor", book="other")
    await house.open_accounts(stranger, "shop", "revenue")
    await post(operator, movement("shop", "revenue", "1.00"))
    await house.seal()
    for viewer, which in ((stranger, {}), (house.admin, {}), (house.admin, {"book": "other"})):
        found = await entries(viewer, **which)
        assert [each["number"] for each in found] == list(range(1, len(found) + 1))
        assert (await verdict(viewer, **which))["rows"] == len(found)
    assert "ledger.posted" not in {each["event"] for each in await lines(stranger)}
    assert await head(stranger) == await head(house.admin, book="other") != await head(house.admin)


@pytest.mark.parametrize(("method", "path"), [("GET", "lines"), ("GET", "head"), ("GET", "export"), ("POST", "verify")])
async def test_the_trail_is_for_those_who_may_read_it(house: House, method: str, path: str) -> None:
    await open_other(house)
    for role in ("viewer", "operator", "approver"):
        caller = await house.caller(role)
        assert refused(await caller.request(method, f"{AUDIT}/{path}"), 403) == "denied"
        there = await caller.request(method, f"{AUDIT}/{path}", params={"book": "other"})
        assert refused(there, 404) == "not_found"
    auditor = await house.caller("auditor")
    assert (await auditor.request(method, f"{AUDIT}/{path}")).is_success
    assert refused(await auditor.request(method, f"{AUDIT}/{path}", params={"book": "other"}), 404) == "not_found"


# Verification --------------------------------------------------------------------------------------------------------


async def test_what_nobody_touched_is_intact_up_to_its_head(trail: House) -> None:
    found = await entries(trail.admin)
    assert await head(trail.admin) == f"{found[-1]['number']}:{found[-1]['chain']}"
    expected = {"intact": True, "rows": len(found), "head": await head(trail.admin)}
    assert await verdict(trail.admin) == expected
    assert await verdict(trail.admin, head=await head(trail.admin)) == expected
    assert await verdict(trail.admin, head=f"{found[3]['number']}:{found[3]['chain']}") == expected


async def test_rows_that_have_no_number_yet_are_counted(trail: House, operator: httpx.AsyncClient) -> None:
    for _ in range(2):
        await post(operator, movement("shop", "revenue", "1.00"))
    assert (await verdict(trail.admin))["unsealed"] == 2
    await trail.seal()
    assert "unsealed" not in await verdict(trail.admin)


PLACES = (
    "DROP INDEX journal_number;"
    "UPDATE journal SET number = n.number, chain = n.chain FROM"
    " (SELECT 9 - number AS place, number, chain FROM journal WHERE number IN (4, 5)) AS n WHERE journal.number = n.place"
)
TEXTS = (
    "UPDATE journal SET lines = n.lines FROM"
    " (SELECT 9 - number AS place, lines FROM journal WHERE number IN (4, 5)) AS n WHERE journal.number = n.place"
)


@pytest.mark.parametrize(
    ("crime", "fault"),
    [
        ("UPDATE journal SET lines = replace(lines, 'shop', 'shed') WHERE number >= 4", "altered"),
        ("UPDATE journal SET lines = lines || ' ' WHERE number = 4", "altered"),
        ("UPDATE journal SET principal = 'prn_00000000000000000000000000' WHERE number = 4", "altered"),
        ("UPDATE journal SET kind = kind || '.' WHERE number = 4", "altered"),
        ("UPDATE journal SET at = at - interval '1 microsecond' WHERE number = 4", "altered"),
        ("UPDATE journal SET at = 'infinity' WHERE number = 4", "altered"),
        ("UPDATE journal SET at = '4713-01-01 BC' WHERE number = 4", "altered"),
        ("UPDATE journal SET digest = sha256('another') WHERE number = 4", "altered"),
        ("UPDATE journal SET chain = sha256('another') WHERE number = 4", "inserted"),
        (TEXTS, "altered"),
        (PLACES, "inserted"),
        ("DELETE FROM journal WHERE number = 4", "missing"),
        ("DELETE FROM journal WHERE number BETWEEN 4 AND 6", "missing"),
        ("UPDATE journal SET number = NULL, chain = NULL WHERE number = 4", "missing"),
        ("UPDATE journal SET number = number + 1000 WHERE number = 4", "missing"),
        (f"DROP INDEX journal_number; UPDATE journal SET number = number + 1 WHERE number >= 4; {COPY}", "inserted"),
    ],
)  # fmt: skip
async def test_the_first_row_that_somebody_touched_is_named(
    trail: House, owner: "psycopg.Connection[tuple[Any, ...]]", crime: str, fault: str
) -> None:
    owner.execute(crime.encode())
    found = await verdict(trail.admin)
    assert (found["intact"], found.get("number"), found.get("fault")) == (False, 4, fault)
    row = (await entries(trail.admin, limit=3))[-1]
    assert (found["rows"], found["head"]) == (3, f"3:{row['chain']}")


async def test_a_row_that_is_there_twice_was_put_in(trail: House, owner: "psycopg.Connection[tuple[Any, ...]]") -> None:
    owner.execute("DROP INDEX journal_number")
    owner.execute(COPY.replace("number + 1", "number").encode())
    found = await verdict(trail.admin)
    assert (found["intact"], found["fault"], found["rows"]) == (False, "inserted", 3)


async def test_rows_cut_off_at_the_end_are_missed_only_against_a_head_kept_elsewhere(
    trail: House, owner: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    kept = await head(trail.admin)
    owner.execute("DELETE FROM journal WHERE number >= 6")
    assert (await verdict(trail.admin))["intact"]
    found = await verdict(trail.admin, head=kept)
    assert (found["intact"], found["number"], found["fault"]) == (False, 6, "missing")


async def test_a_chain_that_was_made_anew_is_found_only_against_a_head_kept_elsewhere(
    trail: House, owner: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    kept = await head(trail.admin)
    owner.execute("DELETE FROM journal WHERE number = 4")
    owner.execute("UPDATE journal SET number = NULL, chain = NULL")
    await trail.seal()
    ok(await trail.admin.post(f"{ACCESS}/principals", json={"name": "Mira Novak"}))
    await trail.seal()
    assert (await verdict(trail.admin))["intact"]
    found = await verdict(trail.admin, head=kept)
    assert (found["intact"], found["fault"]) == (False, "rewritten")
    assert str(found["number"]) == kept.partition(":")[0]


@pytest.mark.parametrize(
    "text", ["", "7", "x:00", "-1:" + "00" * 32, "1:" + "0" * 63, f"{2**63}:" + "00" * 32, "1:" + "zz" * 32]
)
async def test_a_head_that_is_none_is_refused(house: House, text: str) -> None:
    assert refused(await house.admin.post(f"{AUDIT}/verify", params={"head": text}), 400) == "malformed_head"


async def test_the_head_of_nothing_is_known_and_no_other_will_do(house: House) -> None:
    assert await head(house.admin) == GENESIS
    assert (await verdict(house.admin, head=GENESIS))["intact"]
    assert not (await verdict(house.admin, head="0:" + "11" * 32))["intact"]


async def test_now_and_then_the_chain_writes_its_own_head_down(house: House) -> None:
    async with house.database.writing(book=1) as tx:
        for number in range(SEALED_EVERY):
            told = [Line("test", str(number))]
            writing.write(tx, told, book=1, kind="test", by=writing.SYSTEM, at=clock.now())
    await house.seal()
    thousandth, *later = await entries(house.admin, cursor=SEALED_EVERY - 1)
    sealed = [line for each in later for line in each["lines"] if line["event"] == "audit.sealed"]
    assert [each["data"] for each in sealed] == [{"number": SEALED_EVERY, "chain": thousandth["chain"]}]


# Export --------------------------------------------------------------------------------------------------------------


async def test_an_export_is_verified_by_anyone_with_a_hash_function(trail: House) -> None:
    answer = await trail.admin.get(f"{AUDIT}/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert replayed(answer.text) == await head(trail.admin)
    shown = ok(await trail.admin.get(f"{AUDIT}/lines", params={"limit": 1_000}))["items"]
    assert [json.loads(each) for each in answer.text.splitlines()] == shown


async def test_an_export_holds_whatever_text_people_write(house: House, operator: httpx.AsyncClient) -> None:
    text = "Ünïcode \u2028 'quotes' \"double\" \\ back 🏦"
    await post(operator, movement("shop", "revenue", "1.00"), reference=text, metadata={text[:20]: text})
    await house.seal()
    exported = (await house.admin.get(f"{AUDIT}/export")).content.decode()
    rows = exported.removesuffix("\n").split("\n")
    assert json.loads(json.loads(rows[-1])["lines"])[0]["data"]["command"]["reference"] == text
    assert (await verdict(house.admin))["intact"]


async def test_an_export_of_nothing_is_empty(house: House) -> None:
    answer = await house.admin.get(f"{AUDIT}/export")
    assert (answer.status_code, answer.content) == (200, b"")
