"""Access through its doors: who may do what in which book, and what opens the doors, from the first key to the last."""

import asyncio
from datetime import timedelta
from typing import Any

import jwt
import msgspec
import psycopg
import pytest
import time_machine
from psycopg import sql

from clearhouse import clock, ids
from clearhouse.kernel.access.authentication import TRACES_MAX, Gate, Unauthenticated
from clearhouse.kernel.access.books import OpenBook, OpeningDenied
from clearhouse.slices.operations import commands
from house import SECRET, House, client, movement, ok, refused, transaction
from people import PRINCIPALS, add
from stage import caller

BOOKS = "/api/v1/access/books"
WHOAMI = "/api/v1/access/whoami"
TRANSACTIONS = "/api/v1/ledger/transactions"
HOUR = timedelta(hours=1)

PAYMENT = transaction(movement("payer", "payee", "1.00"))


async def journal(house: House, book: str = "main") -> list[dict[str, Any]]:
    """Return every line of a book's journal."""
    await house.gate.flush()
    await house.seal()
    rows = ok(await house.admin.get("/api/v1/audit/lines", params={"limit": 1000, "book": book}))["items"]
    return [line for row in rows for line in msgspec.json.decode(row["lines"])]


async def events(house: House, event: str, book: str = "main") -> list[dict[str, Any]]:
    return [line for line in await journal(house, book) if line["event"] == event]


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Put the clock of the loop forward."""
    loop = asyncio.get_running_loop()
    ordinary = loop.time
    monkeypatch.setattr(loop, "time", lambda: ordinary() + seconds)


def everything(dsn: str) -> str:
    """Return every row of every table of ours as text."""
    with psycopg.connect(dsn) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'clearhouse'").fetchall()
        queries = [sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier("clearhouse", name)) for (name,) in names]
        return "\n".join(str(row) for query in queries for row in connection.execute(query))


# Roles ---------------------------------------------------------------------------------------------------------------


async def test_a_refused_caller_is_told_which_scope_is_missing_and_how_to_show_a_key(house: House) -> None:
    viewer = await house.caller("viewer")
    denied = await viewer.post(TRANSACTIONS, json=PAYMENT)
    assert (refused(denied, 403), denied.json()["values"]) == ("denied", {"scope": "ledger:post", "book": "main"})
    unknown = await client(house.entrance, "").get(WHOAMI)
    assert (refused(unknown, 401), unknown.headers["www-authenticate"]) == ("unauthenticated", "Bearer")


async def test_an_empty_batch_asks_for_the_same_scope_as_a_full_one(house: House) -> None:
    viewer = await house.caller("viewer")
    for path in (f"{TRANSACTIONS}/batch", "/api/v1/ledger/accounts/batch"):
        assert refused(await viewer.post(path, json=[]), 403) == "denied"
        assert refused(await viewer.post(path, json=[{"no": "item"}]), 403) == "denied"


async def test_roles_are_set_by_somebody_else_and_count_at_once(house: House) -> None:
    person = await add(house, "viewer")
    assert refused(await person.client.get(PRINCIPALS), 403) == "denied"
    changed = ok(await house.admin.put(f"{PRINCIPALS}/{person.id}/roles", json={"roles": ["auditor", "operator"]}))
    assert changed["roles"] == ["auditor", "operator"]
    ok(await person.client.get(PRINCIPALS))
    ok(await house.admin.put(f"{PRINCIPALS}/{person.id}/roles", json={"roles": []}))
    assert refused(await person.client.get(PRINCIPALS), 404) == "not_found"


async def test_nobody_grants_themselves_anything_and_the_journal_says_who_tried(house: House) -> None:
    admin = await add(house, "admin")
    for answer in (
        await admin.client.put(f"{PRINCIPALS}/{admin.id}/roles", json={"roles": ["admin", "operator"]}),
        await admin.client.post(f"{PRINCIPALS}/{admin.id}/disable"),
    ):
        assert refused(answer, 403) == "own_grant"
    assert ok(await house.admin.get(f"{PRINCIPALS}/{admin.id}"))["roles"] == ["admin"]
    refusals = [(line["event"], line["refused"]) for line in await journal(house) if "refused" in line]
    assert refusals == [("access.change_roles", "own_grant"), ("access.disable_principal", "own_grant")]


async def test_a_name_is_given_once_in_a_book(house: House) -> None:
    await add(house, name="Mira Novak")
    again = await house.admin.post(PRINCIPALS, json={"name": "Mira Novak"})
    assert refused(again, 422) == "name_taken"


async def test_principals_are_listed_by_name_in_pages_and_each_once(house: House) -> None:
    for name in ("Zoe", "Ann", "Mira"):
        await add(house, "viewer", "operator", name=name)
    seen: list[str] = []
    path = f"{PRINCIPALS}?limit=2"
    while path:
        answer = await house.admin.get(path)
        seen += [each["name"] for each in ok(answer)["items"]]
        path = answer.links.get("next", {}).get("url", "")
    assert seen == ["Ann", "Mira", "Zoe", "admin"]


# Keys ----------------------------------------------------------------------------------------------------------------


async def test_the_secret_of_a_key_is_shown_once_and_is_nowhere_afterwards(house: House, owner_dsn: str) -> None:
    person = await add(house, label="the night batch")
    ok(await person.client.get(WHOAMI))
    listed = ok(await house.admin.get(f"{PRINCIPALS}/{person.id}/keys"))
    assert [(each["id"], each["label"]) for each in listed] == [(person.key, "the night batch")]
    exported = (await house.admin.get("/api/v1/audit/export")).text
    told = msgspec.json.encode([listed, await journal(house), exported]).decode() + everything(owner_dsn)
    assert person.key in told
    assert person.secret not in told
    assert person.secret.split("_", 2)[2] not in told


async def test_issuing_again_under_the_same_key_shows_no_secret_twice(house: House) -> None:
    person = await add(house)
    path, once = f"{PRINCIPALS}/{person.id}/keys", {"Idempotency-Key": "issue-once"}
    issued = ok(await house.admin.post(path, json={}, headers=once))
    again = await house.admin.post(path, json={}, headers=once)
    assert (refused(again, 409), again.json()["values"]) == ("key_shown_once", {"id": issued["id"]})
    assert issued["secret"] not in again.text
    assert len(ok(await house.admin.get(path))) == 2


async def test_a_revoked_key_opens_nothing_here_and_a_second_later_nothing_anywhere(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, elsewhere = await add(house), Gate(house.database)
    ok(await person.client.get(WHOAMI))
    await elsewhere.caller(f"Bearer {person.secret}")
    revoked = ok(await house.admin.post(f"/api/v1/access/keys/{person.key}/revoke"))
    again = ok(await house.admin.post(f"/api/v1/access/keys/{person.key}/revoke"))
    assert revoked["revoked_at"] == again["revoked_at"]
    assert refused(await person.client.get(WHOAMI), 401) == "unauthenticated"
    later(monkeypatch, 1)
    with pytest.raises(Unauthenticated):
        await elsewhere.caller(f"Bearer {person.secret}")


async def test_a_key_that_has_ended_opens_nothing(house: House) -> None:
    with time_machine.travel(clock.now() - 2 * HOUR):
        ended = await add(house, name="ended", expires_at=clock.text(clock.now() + HOUR))
    lasting = await add(house, name="lasting", expires_at=clock.text(clock.now() + HOUR))
    assert refused(await ended.client.get(WHOAMI), 401) == "unauthenticated"
    ok(await lasting.client.get(WHOAMI))


async def test_a_key_that_would_have_ended_already_is_not_issued(house: House) -> None:
    person = await add(house)
    body = {"expires_at": clock.text(clock.now() - HOUR)}
    assert refused(await house.admin.post(f"{PRINCIPALS}/{person.id}/keys", json=body), 422) == "expiry_passed"
    assert len(ok(await house.admin.get(f"{PRINCIPALS}/{person.id}/keys"))) == 1


async def test_a_key_with_another_secret_or_of_another_id_opens_nothing(house: House) -> None:
    mira, zoe = await add(house, name="Mira"), await add(house, name="Zoe")
    (_, own, _), secret = mira.secret.split("_", 2), zoe.secret.split("_", 2)[2]
    for forged in (f"ck_{own}_{secret}", mira.secret[:-1], mira.secret + "A", mira.secret.lower(), mira.key):
        assert refused(await client(house.entrance, forged).get(WHOAMI), 401) == "unauthenticated"


async def test_a_key_may_come_in_either_header(house: House) -> None:
    person = await add(house)
    stranger = client(house.entrance, "")
    assert ok(await stranger.get(WHOAMI, headers={"X-API-Key": person.secret}))["id"] == person.id
    assert ok(await stranger.get(WHOAMI, headers={"Authorization": f"bearer {person.secret}"}))["id"] == person.id
    assert refused(await stranger.get(WHOAMI, headers={"Authorization": f"Basic {person.secret}"}), 401)


async def test_whoever_is_shut_out_stays_on_record_and_gets_no_new_key(house: House) -> None:
    person = await add(house, "viewer")
    token = ok(await person.client.post("/api/v1/access/tokens"))["token"]
    disabled = ok(await house.admin.post(f"{PRINCIPALS}/{person.id}/disable"))
    for credential in (person.secret, token):
        assert refused(await client(house.entrance, credential).get(WHOAMI), 401) == "unauthenticated"
    assert ok(await house.admin.get(f"{PRINCIPALS}/{person.id}")) == disabled
    assert refused(await house.admin.post(f"{PRINCIPALS}/{person.id}/keys", json={}), 404) == "principal_not_found"
    assert ok(await house.admin.post(f"{PRINCIPALS}/{person.id}/disable")) == disabled


# Tokens --------------------------------------------------------------------------------------------------------------


async def test_a_token_stands_for_its_principal_for_an_hour(house: House) -> None:
    person = await add(house, "viewer")
    issued = ok(await person.client.post("/api/v1/access/tokens"))
    assert ok(await client(house.entrance, issued["token"]).get(WHOAMI)) == ok(await person.client.get(WHOAMI))
    left = clock.parse(issued["expires_at"]) - clock.now()
    assert HOUR - timedelta(minutes=1) < left <= HOUR
    with time_machine.travel(clock.now() + HOUR), pytest.raises(Unauthenticated):
        await Gate(house.database, secret=SECRET).caller(f"Bearer {issued['token']}")


async def test_a_token_that_is_not_ours_or_has_ended_opens_nothing(house: House) -> None:
    person = await add(house, "viewer")
    soon, before = clock.now() + HOUR, clock.now() - HOUR
    good = {"sub": person.id, "exp": soon}
    forged = [
        jwt.encode(good, SECRET * 2, algorithm="HS512"),
        jwt.encode(good, "", algorithm="none"),
        jwt.encode(good, SECRET + "!", algorithm="HS256"),
        *(jwt.encode(claims, SECRET, algorithm="HS256") for claims in _claims(person.id, soon=soon, before=before)),
    ]
    for token in forged:
        assert refused(await client(house.entrance, token).get(WHOAMI), 401) == "unauthenticated"
    ok(await client(house.entrance, jwt.encode(good, SECRET, algorithm="HS256")).get(WHOAMI))


def _claims(principal: str, **when: Any) -> list[dict[str, Any]]:
    """Return what must not be in a token of ours."""
    return [
        {"sub": principal, "exp": when["before"]},
        {"sub": principal},
        {"exp": when["soon"]},
        {"sub": ids.text("prn", ids.fresh()), "exp": when["soon"]},
        {"sub": principal.replace("prn_", "key_"), "exp": when["soon"]},
        {"sub": "admin", "exp": when["soon"]},
        {"sub": principal, "exp": when["soon"], "nbf": when["soon"]},
    ]


async def test_a_server_without_a_secret_gives_out_no_tokens_and_takes_none(house: House) -> None:
    person = await add(house, "viewer")
    token = ok(await person.client.post("/api/v1/access/tokens"))["token"]
    empty = jwt.encode({"sub": person.id, "exp": clock.now() + HOUR}, "", algorithm="none")
    house.gate.secret = ""
    assert refused(await person.client.post("/api/v1/access/tokens"), 503) == "tokens_off"
    for credential in (token, empty):
        assert refused(await client(house.entrance, credential).get(WHOAMI), 401) == "unauthenticated"


async def test_a_token_is_not_exchanged_for_a_longer_one(house: House) -> None:
    person = await add(house, "viewer")
    token = ok(await person.client.post("/api/v1/access/tokens"))["token"]
    again = await client(house.entrance, token).post("/api/v1/access/tokens")
    assert refused(again, 403) == "token_for_token"


# What is refused -----------------------------------------------------------------------------------------------------


async def test_refused_logins_are_in_the_journal_by_the_id_of_the_key_and_nothing_else(house: House) -> None:
    person = await add(house)
    forged = person.secret[:-4] + "AAAA"
    for credential in ("", "somebody's password", forged):
        assert refused(await client(house.entrance, credential).get(WHOAMI), 401)
    shown = [line["subject"] for line in await events(house, "access.refused")]
    assert shown == ["none", "unreadable", person.key]
    assert "password" not in str(await journal(house))


async def test_denials_are_in_the_journal_of_the_book_with_who_wanted_what(house: House) -> None:
    ok(await house.admin.post(BOOKS, json={"name": "second"}))
    viewer = await add(house, "viewer", book="second")
    assert refused(await viewer.client.post(TRANSACTIONS, json=PAYMENT), 403) == "denied"
    assert refused(await viewer.client.get(PRINCIPALS), 403) == "denied"
    told = await events(house, "access.denied", "second")
    assert [(line["subject"], line["data"]["scope"]) for line in told] == [
        (viewer.id, "ledger:post"),
        (viewer.id, "access:read"),
    ]
    assert await events(house, "access.denied") == []


async def test_an_attacker_fills_the_journal_only_so_fast(house: House) -> None:
    stranger = client(house.entrance, "")
    for _ in range(TRACES_MAX + 5):
        assert (await stranger.get(WHOAMI)).status_code == 401
    assert len(await events(house, "access.refused")) == TRACES_MAX
    assert [line["data"] for line in await events(house, "access.more_refused")] == [{"count": 5}]


# Books ---------------------------------------------------------------------------------------------------------------


async def test_whoever_opens_a_book_is_its_first_administrator(house: House) -> None:
    opened = ok(await house.admin.post(BOOKS, json={"name": "second", "title": "The second"}))
    assert ok(await house.admin.post(BOOKS, json={"name": "second", "title": "Another"})) == opened
    assert [each["name"] for each in ok(await house.admin.get(BOOKS))] == ["main", "second"]
    scopes = ok(await house.admin.get(WHOAMI))["scopes"]
    assert scopes["second"] == scopes["main"]
    assert {"access:write", "approvals:policies"} <= set(scopes["main"])
    assert [each for each in scopes["main"] if each.partition(":")[2] in {"post", "accounts", "settle", "decide"}] == []


async def test_only_an_administrator_of_the_main_book_opens_books(house: House) -> None:
    ok(await house.admin.post(BOOKS, json={"name": "second"}))
    operator, other = await add(house, "operator"), await add(house, "admin", book="second")
    assert refused(await operator.client.post(BOOKS, json={"name": "third"}), 403) == "denied"
    assert refused(await other.client.post(BOOKS, json={"name": "third"}), 404) == "not_found"
    assert [each["name"] for each in ok(await other.client.get(BOOKS))] == ["second"]
    assert len(ok(await house.admin.get(BOOKS))) == 2


async def test_whoever_has_rights_in_several_books_but_the_main_one_says_which_is_meant(house: House) -> None:
    opener = await add(house, "admin", name="the opener")
    for name in ("second", "third"):
        ok(await opener.client.post(BOOKS, json={"name": name}))
    ok(await house.admin.put(f"{PRINCIPALS}/{opener.id}/roles", json={"roles": []}))
    assert refused(await opener.client.get(PRINCIPALS), 400) == "book_needed"
    for name, status in {"second": 200, "third": 200, "main": 404, "fourth": 404}.items():
        assert (await opener.client.get(PRINCIPALS, params={"book": name})).status_code == status


async def test_the_main_book_is_meant_where_none_is_named_and_the_only_one_where_there_is_one(house: House) -> None:
    ok(await house.admin.post(BOOKS, json={"name": "second"}))
    other = await add(house, "admin", name="of the second", book="second")
    assert [each["name"] for each in ok(await house.admin.get(PRINCIPALS))["items"]] == ["admin"]
    assert [each["name"] for each in ok(await other.client.get(PRINCIPALS))["items"]] == ["admin", "of the second"]


async def test_whoever_administers_two_books_lets_the_people_of_one_into_the_other(house: House) -> None:
    ok(await house.admin.post(BOOKS, json={"name": "second"}))
    person, other = await add(house, "viewer"), await add(house, "admin", name="of the second", book="second")
    path, wanted = f"{PRINCIPALS}/{person.id}/roles", {"roles": ["operator"]}
    assert refused(await other.client.put(path, json=wanted), 404) == "principal_not_found"
    ok(await house.admin.put(path, params={"book": "second"}, json=wanted))
    assert set(ok(await person.client.get(WHOAMI))["scopes"]) == {"main", "second"}
    assert refused(await person.client.post(TRANSACTIONS, json=PAYMENT), 403) == "denied"
    assert refused(await person.client.post(TRANSACTIONS, params={"book": "second"}, json=PAYMENT), 422) == "account_unknown"


async def test_a_book_is_opened_from_the_main_one_only_whoever_asks(house: House) -> None:
    ok(await house.admin.post("/api/v1/access/books", json={"name": "second"}))
    ann, asked = caller("Ann", "access:write"), [OpenBook("third")]
    assert await house.door.submit(commands.OPEN_BOOK, asked, caller=ann, book=2) == [OpeningDenied()]
    house.gate.forget()
    assert [each["name"] for each in ok(await house.admin.get("/api/v1/access/books"))] == ["main", "second"]
