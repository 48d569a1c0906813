"""Bad input: whatever comes in, the answer is a problem with a stable code, never a fault of ours; nothing is half done."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from house import House, balance, client, movement, ok, refused, transaction

LEDGER = "/api/v1/ledger"
SINGLE, BATCH = f"{LEDGER}/transactions", f"{LEDGER}/transactions/batch"
FRAMED = f"{SINGLE}?book=main"
JSON, LINES = {"Content-Type": "application/json"}, {"Content-Type": "application/x-ndjson"}
MEGABYTE = 1024 * 1024
VERBS = {"get", "post", "put", "patch", "delete"}
UNKNOWN_HOLD, GOOD = "trf_01KAHG7R9Q7XKJ8W3M5N2P4T6V", movement("payer", "payee", "1.00")
Case = tuple[Any, int, str]

# What may be wrong with a leg: what it says instead, and how it is refused.
LEGS: Mapping[str, Case] = {
    "a float": ({"amount": 1.5}, 400, "malformed"),
    "a number": ({"amount": 1}, 400, "malformed"),
    "no amount": ({"amount": None}, 422, "malformed_transfer"),
    "not a number": ({"amount": "NaN"}, 400, "malformed_amount"),
    "infinity": ({"amount": "Infinity"}, 400, "malformed_amount"),
    "an exponent": ({"amount": "1e3"}, 400, "malformed_amount"),
    "a plus": ({"amount": "+1.00"}, 400, "malformed_amount"),
    "spaces": ({"amount": " 1.00"}, 400, "malformed_amount"),
    "a comma": ({"amount": "1,00"}, 400, "malformed_amount"),
    "no digits": ({"amount": ""}, 400, "malformed_amount"),
    "foreign digits": ({"amount": "\N{ARABIC-INDIC DIGIT ONE}.00"}, 400, "malformed_amount"),
    "a NUL among the digits": ({"amount": "1\0.00"}, 400, "malformed_amount"),
    "zero": ({"amount": "0.00"}, 422, "amount_not_positive"),
    "less than zero": ({"amount": "-1.00"}, 422, "amount_not_positive"),
    "too many decimals": ({"amount": "1.001"}, 400, "too_many_decimals"),
    "39 digits": ({"amount": "9" * 39}, 400, "malformed_amount"),
    "an overlong amount": ({"amount": "1" * 81}, 400, "malformed"),
    "a small currency": ({"currency": "usd"}, 422, "account_unknown"),
    "another currency": ({"currency": "EUR"}, 422, "account_unknown"),
    "no currency of anybody": ({"currency": "XYZ"}, 422, "account_unknown"),
    "a NUL in the currency": ({"currency": "US\0"}, 422, "account_unknown"),
    "an overlong currency": ({"currency": "U" * 17}, 400, "malformed"),
    "an unknown account": ({"credit": "nobody"}, 422, "account_unknown"),
    "an unknown account's id": ({"credit": "acc_01KAHG7R9Q7XKJ8W3M5N2P4T6V"}, 422, "account_unknown"),
    "a closed account": ({"credit": "closed"}, 422, "account_closed"),
    "a frozen account": ({"debit": "frozen"}, 422, "account_frozen"),
    "one account twice": ({"credit": "payer"}, 422, "same_account"),
    "a NUL in a code": ({"debit": "pay\0er"}, 422, "account_unknown"),
    "an empty code": ({"debit": ""}, 400, "malformed"),
    "an overlong code": ({"debit": "x" * 521}, 400, "malformed"),
    "a code that is a list": ({"debit": ["payer"]}, 400, "malformed"),
    "an unknown field": ({"colour": "blue"}, 400, "malformed"),
    "a text for a truth": ({"pending": "yes"}, 400, "malformed"),
    "an expiry in year 0": ({"pending": True, "expires_at": "0000-01-01T00:00:00Z"}, 400, "malformed"),
    "an expiry in year 1": ({"pending": True, "expires_at": "0001-01-01T00:00:00Z"}, 422, "expiry_in_the_past"),
    "an expiry before year 1": ({"pending": True, "expires_at": "0001-01-01T00:00:00+23:00"}, 400, "malformed_time"),
    "an expiry after year 9999": ({"pending": True, "expires_at": "9999-12-31T23:59:59-23:00"}, 400, "malformed_time"),
    "an expiry nobody knows when": ({"pending": True, "expires_at": "2030-01-01T00:00:00"}, 400, "malformed"),
    "an expiry of what is posted": ({"expires_at": "2030-01-01T00:00:00Z"}, 422, "malformed_transfer"),
    "an id that is none": ({"id": "trf_x"}, 400, "malformed_id"),
    "nobody's id": ({"id": "trf_" + "0" * 26}, 400, "malformed_id"),
    "an overlong id": ({"id": "trf_" + "0" * 27}, 400, "malformed"),
    "a movement that captures": ({"capture": UNKNOWN_HOLD}, 422, "malformed_transfer"),
    "a final movement": ({"final": True}, 422, "malformed_transfer"),
}
# What may be wrong with a transaction as a whole.
WHOLE: Mapping[str, Case] = {
    "no legs": ({"transfers": []}, 400, "malformed"),
    "too many legs": ({"transfers": [GOOD] * 1001}, 400, "malformed"),
    "a leg that is none": ({"transfers": [GOOD, 1]}, 400, "malformed"),
    "an empty leg": ({"transfers": [GOOD, {}]}, 422, "malformed_transfer"),
    "more than 38 digits in sum": ({"transfers": [GOOD, GOOD | {"amount": "9" * 36}]}, 422, "counter_overflow"),
    "an unknown hold": ({"transfers": [GOOD, {"capture": UNKNOWN_HOLD}]}, 422, "transfer_unknown"),
    "a hold that is no id": ({"transfers": [GOOD, {"release": "x"}]}, 400, "malformed_id"),
    "a reversal of nobody's": ({"transfers": [GOOD, {"reverse": "trf_" + "0" * 26}]}, 400, "malformed_id"),
    "an unknown field": ({"colour": "blue"}, 400, "malformed"),
    "year 0": ({"effective": "0000-01-01"}, 400, "malformed"),
    "year 1": ({"effective": "0001-01-01"}, 422, "day_closed"),
    "year 10000": ({"effective": "10000-01-01"}, 400, "malformed"),
    "month 13": ({"effective": "2026-13-01"}, 400, "malformed"),
    "a number for a day": ({"effective": 20261121}, 400, "malformed"),
    "a closed day": ({"effective": "2020-01-01"}, 422, "day_closed"),
    "a small id": ({"id": "trx_" + "0" * 25 + "a"}, 400, "malformed"),
    "nobody's id": ({"id": "trx_" + "0" * 26}, 400, "malformed"),
    "the last id of all": ({"id": "trx_7" + "Z" * 25}, 400, "malformed"),
    "the id of something else": ({"id": "prn_01KAHG7R9Q7XKJ8W3M5N2P4T6V"}, 400, "malformed"),
    "an empty reference": ({"reference": ""}, 400, "malformed"),
    "an overlong reference": ({"reference": "x" * 201}, 400, "malformed"),
    "a NUL in a reference": ({"reference": "a\0b"}, 400, "malformed"),
    "a line break in a reference": ({"external_reference": "a\n"}, 400, "malformed"),
    "metadata of numbers": ({"metadata": {"a": 1}}, 400, "malformed"),
    "metadata without a name": ({"metadata": {"": "x"}}, 400, "malformed"),
    "a NUL in metadata": ({"metadata": {"a": "x\0"}}, 400, "malformed"),
    "a NUL in a name of metadata": ({"metadata": {"a\0": "x"}}, 400, "malformed"),
    "overlong metadata": ({"metadata": {"a": "x" * 501}}, 400, "malformed"),
    "too much metadata": ({"metadata": {str(number): "" for number in range(33)}}, 400, "malformed"),
}
# Bodies that are no JSON, or not the JSON that is wanted.
TEXTS: Mapping[str, bytes] = {
    "broken": b'{"transfers":[',
    "trailing": b'{"transfers":[]} x',
    "a constant of JavaScript": b'{"transfers":[{"amount":NaN}]}',
    "a huge number": b'{"transfers":[{"amount":' + b"9" * 5_000 + b"}]}",
    "a huge exponent": b'{"transfers":[{"amount":1e999999999}]}',
    "deep": b'{"transfers":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep where nobody looks": b'{"colour":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    "no UTF-8": b'{"transfers":[{"debit":"\xff\xfe"}]}',
    "an overlong form of UTF-8": b'{"transfers":[{"debit":"\xc0\xaf"}]}',
    "half a surrogate": b'{"transfers":[{"debit":"\\ud800"}]}',
    "the other half": b'{"transfers":[{"debit":"\\udc00"}]}',
    "a raw NUL": b'{"transfers":[{"debit":"\0"}]}',
    "UTF-16": '{"transfers":[]}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"transfers":[]}',
    "a null": b"null",
    "a number": b"1",
    "a text": b'"x"',
    "a list": b"[[]]",
}
MEDIA = ("text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense")


@pytest.fixture
async def operator(house: House) -> httpx.AsyncClient:
    """Give somebody with every role, in a book with open, frozen and closed accounts and a closed day."""
    found = await house.caller("operator", "admin", "auditor", name="the operator")
    await house.open_accounts(found, "payer", "payee", "frozen", "closed")
    for state in ("frozen", "closed"):
        ok(await found.patch(f"{LEDGER}/accounts/{state}", params={"asset": "USD"}, json={"state": state}))
    ok(await found.post(f"{LEDGER}/days", json={"day": "2020-01-01"}))
    return found


def transactions() -> dict[str, Case]:
    """Return every bad transaction; where one leg is bad a good one stands before it."""
    first = {f"{name}, first": (transaction(GOOD | leg), *no) for name, (leg, *no) in LEGS.items()}
    second = {f"{name}, second": (transaction(GOOD, GOOD | leg), *no) for name, (leg, *no) in LEGS.items()}
    whole = {f"{name}, of all": (transaction(GOOD) | more, *no) for name, (more, *no) in WHOLE.items()}
    return {name: (body, int(no[0]), str(no[1])) for name, (body, *no) in (first | second | whole).items()}


def answered(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a refusal, or what came instead of one."""
    if answer.is_success or answer.headers.get("content-type") != "application/problem+json":
        return answer.status_code, answer.text[:80]
    told = {"reason": answer.json()["code"], **answer.json()}  # a product may have codes of its own, with ours as the reason
    assert (told["status"], told["type"]) == (answer.status_code, f"urn:clearhouse:refusal:{told['reason']}")
    assert told["detail"].endswith(".")
    return answer.status_code, str(told["reason"])


def shown(answer: httpx.Response) -> tuple[int, dict[str, str], str]:
    """Return all that a caller sees of an answer, but for what must differ from one to the next."""
    made = re.compile(r'"(trx|trf)_\w+"|"booked":"[^"]+"')
    return answer.status_code, dict(answer.headers), made.sub("made", answer.text)


# Transactions --------------------------------------------------------------------------------------------------------


async def test_a_bad_transaction_is_refused_by_its_code_and_moves_nothing(operator: httpx.AsyncClient) -> None:
    wrong: dict[str, Any] = {}
    for name, (body, *expected) in transactions().items():
        got = answered(await operator.post(SINGLE, json=body))
        if got != tuple(expected):
            wrong[name] = got
    assert wrong == {}
    assert await balance(operator, "payee") == "0.00"
    lines = ok(await operator.get(f"{LEDGER}/accounts/payer/statement", params={"asset": "USD"}))
    assert lines["items"] == []


@pytest.mark.parametrize("lines", [False, True])
async def test_a_bad_transaction_of_a_batch_is_refused_alone(operator: httpx.AsyncClient, lines: bool) -> None:
    cases = transactions()
    bodies = [each for body, *_ in cases.values() for each in (transaction(GOOD), body)]
    content = b"\n".join(json.dumps(each).encode() for each in bodies) if lines else json.dumps(bodies).encode()
    answer = ok(await operator.post(BATCH, content=content, headers=LINES if lines else JSON))
    results = answer["results"]
    assert all("ok" in each for each in results[::2])
    codes = {name: each.get("refused", each) for name, each in zip(cases, results[1::2], strict=True)}
    expected = {name: no for name, (_, *no) in cases.items()}
    assert {name: [each["status"], each["code"]] for name, each in codes.items()} == expected
    assert await balance(operator, "payee") == f"{len(cases)}.00"


async def test_the_express_lane_refuses_to_the_letter_as_the_framework_does(operator: httpx.AsyncClient) -> None:
    contents = {**{name: json.dumps(body).encode() for name, (body, *_) in transactions().items()}, **TEXTS}
    wrong: dict[str, Any] = {}
    for name, content in contents.items():
        plain, framed = [shown(await operator.post(path, content=content, headers=JSON)) for path in (SINGLE, FRAMED)]
        if plain != framed:
            wrong[name] = (plain, framed)
    assert wrong == {}


async def test_the_express_lane_answers_what_is_good_to_the_letter_as_the_framework_does(
    operator: httpx.AsyncClient,
) -> None:
    bodies = [
        transaction(GOOD),
        transaction(GOOD, GOOD, reference="a", external_reference="b", effective="2030-01-01", metadata={"ä": "é"}),
        transaction(GOOD | {"pending": True, "expires_at": "2030-01-01T00:00:00+02:00"}),
        transaction(GOOD, GOOD | {"id": "trf_01KAHG7R9Q7XKJ8W3M5N2P4T6V"}, id="trx_01KAHG7R9Q7XKJ8W3M5N2P4T6A"),
    ]
    for body in bodies:
        for headers in ({}, {"Idempotency-Key": f"key-{bodies.index(body)}"}):
            first = await operator.post(SINGLE, json=body, headers=headers)
            plain = shown(await operator.post(SINGLE, json=body, headers=headers))
            assert shown(await operator.post(FRAMED, json=body, headers=headers)) == plain
            assert (first.status_code in {200, 201}, first.headers["content-type"]) == (True, "application/json")


async def test_the_express_lane_knows_a_key_as_the_framework_does(operator: httpx.AsyncClient) -> None:
    for first, again in ((SINGLE, FRAMED), (FRAMED, SINGLE)):
        once = {"Idempotency-Key": f"first-at-{len(first)}"}
        posted = ok(await operator.post(first, json=transaction(GOOD), headers=once))
        assert ok(await operator.post(again, json=transaction(GOOD), headers=once))["id"] == posted["id"]
        others = [await operator.post(path, json=transaction(GOOD, reference="x"), headers=once) for path in (first, again)]
        assert [refused(each, 422) for each in others] == [refused(others[0], 422)] * 2
        assert shown(others[0]) == shown(others[1])


async def test_the_express_lane_lets_in_whom_the_framework_does(house: House, operator: httpx.AsyncClient) -> None:
    askers = [await house.caller("viewer"), client(house.entrance, ""), client(house.entrance, "x")]
    for asker in askers:
        plain, framed = [shown(await asker.post(path, json=transaction(GOOD))) for path in (SINGLE, FRAMED)]
        assert plain == framed
        assert plain[0] in {401, 403}
    assert await balance(operator, "payee") == "0.00"


async def test_the_express_lane_reads_headers_as_the_framework_does(operator: httpx.AsyncClient) -> None:
    content = json.dumps(transaction(GOOD)).encode()
    headers = [
        *({"Content-Type": media} for media in (*MEDIA, "application/json; charset=utf-8", "APPLICATION/JSON", "")),
        *(JSON | {"Idempotency-Key": key} for key in ("", "a b", "x" * 201, "\x7f")),
        JSON | {"Idempotency-Key": "x" * 200},
    ]
    for given in headers:
        plain, framed = [await operator.post(path, content=content, headers=given) for path in (SINGLE, FRAMED)]
        assert [framed.status_code, framed.headers] == [plain.status_code, plain.headers], given
        assert plain.is_success or plain.content == framed.content


# Bodies --------------------------------------------------------------------------------------------------------------


async def taking(operator: httpx.AsyncClient) -> list[tuple[str, str]]:
    """Return our own routes that take one body, with something for each part of the path."""
    paths = ok(await operator.get("/openapi.json"))["paths"]
    ours = {path: its for path, its in paths.items() if path.startswith("/api/") and "/batch" not in path}
    routes = {(verb, path) for path, its in ours.items() for verb in VERBS & set(its) if "requestBody" in its[verb]}
    return [(verb, path.replace("{account}", "payer?asset=USD")) for verb, path in sorted(routes)]


async def test_a_body_that_cannot_be_read_is_refused_by_every_route(operator: httpx.AsyncClient) -> None:
    wrong: dict[str, Any] = {}
    for verb, path in await taking(operator):
        for name, content in TEXTS.items():
            got = answered(await operator.request(verb, path, content=content, headers=JSON))
            if got != (400, "malformed"):
                wrong[f"{verb} {path}: {name}"] = got
        unknown = await operator.request(verb, path, json={"colour": "blue"})
        assert answered(unknown) == (400, "malformed")
    assert wrong == {}


async def test_an_item_that_cannot_be_read_is_refused_alone_or_with_its_batch(operator: httpx.AsyncClient) -> None:
    good, done = json.dumps(transaction(GOOD)).encode(), 0
    for name, content in TEXTS.items():
        for body, headers in ((b"[" + good + b"," + content + b"]", JSON), (good + b"\n" + content, LINES)):
            answer = await operator.post(BATCH, content=body, headers=headers)
            if answer.is_success:
                first, second = answer.json()["results"]
                assert (list(first), second["refused"]["code"]) == (["ok"], "malformed"), name
                done += 1
            else:
                assert answered(answer) == (400, "malformed"), name
    assert done > 0
    assert await balance(operator, "payee") == f"{done}.00"


async def test_a_body_of_another_media_type_is_refused_by_every_route(operator: httpx.AsyncClient) -> None:
    routes = [*await taking(operator), ("post", BATCH), ("post", f"{LEDGER}/accounts/batch")]
    for verb, path in routes:
        for media in MEDIA:
            answer = await operator.request(verb, path, content=b"{}", headers={"Content-Type": media})
            assert answered(answer) == (415, "unsupported_media_type")


async def megabytes(count: int, sent: list[int]) -> AsyncIterator[bytes]:
    """Give a text without an end that anybody would believe in."""
    yield b'[{"transfers":"'
    for number in range(count):
        sent.append(number)
        yield b"x" * MEGABYTE


@pytest.mark.parametrize(("path", "most"), [(SINGLE, 1), (FRAMED, 1), (BATCH, 32), (f"{LEDGER}/import", 32)])
async def test_a_body_of_fifty_megabytes_is_not_even_taken(operator: httpx.AsyncClient, path: str, most: int) -> None:
    for headers in (JSON, LINES) if path == BATCH else (JSON,):
        sent: list[int] = []
        answer = await operator.post(path, content=megabytes(50, sent), headers=headers)
        assert answered(answer) == (413, "too_large")
        assert len(sent) <= most + 1
        whole = await operator.post(path, content=b"[" + b" " * (50 * MEGABYTE) + b"]", headers=headers)
        assert shown(whole) == shown(answer)


async def test_more_items_than_are_taken_at_once_are_refused_and_none_is_done(operator: httpx.AsyncClient) -> None:
    for item in (transaction(GOOD), None):
        assert answered(await operator.post(BATCH, json=[item] * 10_001)) == (413, "too_many_items")
    accounts = [{"code": f"new:{number}", "asset": "USD"} for number in range(10_001)]
    assert answered(await operator.post(f"{LEDGER}/accounts/batch", json=accounts)) == (413, "too_many_items")
    assert await balance(operator, "payee") == "0.00"
    assert ok(await operator.get(f"{LEDGER}/accounts", params={"prefix": "new:"}))["items"] == []


# Everything else -----------------------------------------------------------------------------------------------------

ACCESS = "/api/v1/access"
NEW = {"code": "new", "asset": "USD"}
LINE = {"code": "brought", "asset": "USD", "balance": "1.00"}
# Bodies of other routes: what is sent where, and how it is refused.
BODIES: Mapping[tuple[str, str], list[Case]] = {
    ("post", f"{LEDGER}/accounts"): [
        (NEW | {"code": "a b"}, 422, "malformed_code"),
        (NEW | {"code": "a\0"}, 422, "malformed_code"),
        (NEW | {"code": "a\n"}, 422, "malformed_code"),
        (NEW | {"code": "acc_x"}, 422, "malformed_code"),
        (NEW | {"code": ":"}, 422, "malformed_code"),
        (NEW | {"code": "x" * 65}, 422, "malformed_code"),
        (NEW | {"code": "x" * 521}, 400, "malformed"),
        (NEW | {"asset": "XYZ"}, 422, "asset_unknown"),
        (NEW | {"asset": "US\0"}, 422, "asset_unknown"),
        (NEW | {"normal": "left"}, 400, "malformed"),
        (NEW | {"floor": 0.5}, 400, "malformed"),
        (NEW | {"floor": "NaN"}, 400, "malformed_amount"),
        (NEW | {"floor": ""}, 400, "malformed_amount"),
        (NEW | {"ceiling": "0.001"}, 400, "too_many_decimals"),
        (NEW | {"ceiling": "9" * 38}, 400, "malformed_amount"),
        (NEW | {"floor": "1", "ceiling": "0"}, 422, "limits_crossed"),
        (NEW | {"metadata": {"a": None}}, 400, "malformed"),
        (NEW | {"metadata": {"a": "\0"}}, 400, "malformed"),
    ],
    ("patch", f"{LEDGER}/accounts/payer?asset=USD"): [
        ({"state": "gone"}, 400, "malformed"),
        ({"floor": 1}, 400, "malformed"),
        ({"floor": ""}, 400, "malformed_amount"),
        ({"floor": "2", "ceiling": "1"}, 422, "limits_crossed"),
        ({"metadata": {"\0": "x"}}, 400, "malformed"),
    ],
    ("patch", f"{LEDGER}/accounts/closed?asset=USD"): [({"state": "open"}, 422, "account_state")],
    ("post", f"{LEDGER}/assets"): [
        ({"code": "POINT", "exponent": -1}, 400, "malformed"),
        ({"code": "POINT", "exponent": 31}, 400, "malformed"),
        ({"code": "POINT", "exponent": 1.5}, 400, "malformed"),
        ({"code": "POINT", "exponent": 10**30}, 400, "malformed"),
        ({"code": "point", "exponent": 0}, 422, "malformed_code"),
        ({"code": "PO\0NT", "exponent": 0}, 422, "malformed_code"),
        ({"code": "P", "exponent": 0}, 400, "malformed"),
        ({"code": "USD", "exponent": 3}, 422, "asset_exists"),
    ],
    ("post", f"{LEDGER}/days"): [
        ({"day": "0000-01-01"}, 400, "malformed"),
        ({"day": 20261121}, 400, "malformed"),
        ({"day": "2026-02-30"}, 400, "malformed"),
        ({"day": "9999-12-31"}, 422, "day_not_begun"),
        ({"day": "0001-01-01"}, 422, "day_already_closed"),
    ],
    ("post", f"{LEDGER}/import"): [
        ({"lines": []}, 400, "malformed"),
        ({"lines": [LINE, LINE | {"balance": 1.0}]}, 400, "malformed"),
        *(({"lines": [LINE, LINE | {"balance": bad}]}, 422, "opening_line_refused") for bad in ("x", "", "-", ".", "--1")),
        ({"lines": [LINE, LINE | {"code": "a b"}]}, 422, "opening_line_refused"),
        ({"lines": [LINE, LINE | {"asset": "XYZ"}]}, 422, "opening_line_refused"),
        ({"lines": [LINE], "against": "a\0"}, 422, "opening_line_refused"),
        ({"lines": [LINE], "effective": "0000-01-01"}, 400, "malformed"),
        ({"lines": [LINE], "effective": "2020-01-01"}, 422, "day_closed"),
        ({"lines": [LINE], "reference": "\0"}, 400, "malformed"),
    ],
    ("post", f"{LEDGER}/holds/{UNKNOWN_HOLD}/capture"): [
        ({"amount": 1.5}, 400, "malformed"),
        ({"reference": "\0"}, 400, "malformed"),
        ({}, 404, "hold_not_found"),
    ],
    ("post", f"{LEDGER}/holds/x/capture"): [({}, 404, "hold_not_found")],
    ("post", f"{ACCESS}/books"): [
        ({"name": ""}, 400, "malformed"),
        ({"name": "Second"}, 400, "malformed"),
        ({"name": "second\n"}, 400, "malformed"),
        ({"name": "x" * 64}, 400, "malformed"),
        ({"name": "second", "title": "\0"}, 400, "malformed"),
    ],
    ("post", f"{ACCESS}/principals"): [
        ({"name": ""}, 400, "malformed"),
        ({"name": "x" * 101}, 400, "malformed"),
        ({"name": "Mira\0"}, 400, "malformed"),
        ({"name": "Mira\n"}, 400, "malformed"),
        ({"name": "Mira", "roles": ["king"]}, 400, "malformed"),
        ({"name": "Mira", "roles": ["viewer"] * 7}, 400, "malformed"),
        ({"name": "Mira", "kind": "ghost"}, 400, "malformed"),
        ({"name": "Mira", "organisation": "\x7f"}, 400, "malformed"),
    ],
    ("post", f"{ACCESS}/principals/OWN/keys"): [
        ({"expires_at": "2030-01-01T00:00:00"}, 400, "malformed_time"),
        ({"expires_at": "0001-01-01T00:00:00+23:00"}, 400, "malformed_time"),
        ({"expires_at": "9999-12-31T23:59:59-23:00"}, 400, "malformed_time"),
        ({"expires_at": "0000-01-01T00:00:00Z"}, 400, "malformed"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422, "expiry_passed"),
        ({"label": "\0"}, 400, "malformed"),
    ],
}
# Addresses, and how they are refused.
ADDRESSES: Mapping[str, tuple[int, str]] = {
    "/api/v1/nowhere": (404, "not_found"),
    "/%00": (404, "not_found"),
    f"{LEDGER}/accounts/%00": (404, "account_not_found"),
    f"{LEDGER}/accounts/%ff%fe": (404, "account_not_found"),
    f"{LEDGER}/accounts/payer": (404, "account_not_found"),
    f"{LEDGER}/accounts/payer?asset=%00": (404, "account_not_found"),
    f"{LEDGER}/accounts/{'x' * 521}": (400, "malformed"),
    f"{LEDGER}/accounts?prefix=%00": (400, "malformed"),
    f"{LEDGER}/accounts?asset=%00": (400, "malformed"),
    f"{LEDGER}/accounts?asset={'X' * 17}": (400, "malformed"),
    f"{LEDGER}/accounts?prefix={'x' * 521}": (400, "malformed"),
    f"{LEDGER}/accounts?limit=0": (400, "malformed"),
    f"{LEDGER}/accounts?limit=1001": (400, "malformed"),
    f"{LEDGER}/accounts?limit=1.5": (400, "malformed"),
    f"{LEDGER}/accounts?limit={'9' * 5000}": (400, "malformed"),
    f"{LEDGER}/accounts?cursor=%00": (404, "account_not_found"),
    f"{LEDGER}/accounts?cursor={'x' * 701}": (400, "malformed"),
    f"{LEDGER}/accounts?book=%00": (404, "not_found"),
    f"{LEDGER}/accounts?book={'x' * 64}": (400, "malformed"),
    f"{LEDGER}/accounts/payer/balance?asset=USD&on=0000-01-01": (400, "malformed"),
    f"{LEDGER}/accounts/payer/balance?asset=USD&at=0000-01-01T00:00:00Z": (400, "malformed_time"),
    f"{LEDGER}/accounts/payer/balance?asset=USD&at=0001-01-01T00:00:00%2B23:00": (400, "malformed_time"),
    f"{LEDGER}/accounts/payer/balance?asset=USD&at=2026-01-01T00:00:00": (400, "malformed_time"),
    f"{LEDGER}/accounts/payer/balance?asset=USD&at=9999-12-31T23:59:59Z": (422, "too_recent"),
    f"{LEDGER}/accounts/payer/balance?asset=USD&at=2026-01-01T00:00:00Z&on=2026-01-01": (400, "malformed"),
    f"{LEDGER}/accounts/payer/statement?asset=USD&since=%00": (400, "malformed_time"),
    f"{LEDGER}/accounts/payer/statement?asset=USD&order=%00": (400, "malformed"),
    f"{LEDGER}/accounts/payer/statement?asset=USD&cursor=%00": (404, "malformed_cursor"),
    f"{LEDGER}/transactions": (400, "malformed"),
    f"{LEDGER}/transactions?reference=%00": (400, "malformed"),
    f"{LEDGER}/transactions?external_reference=%00": (400, "malformed"),
    f"{LEDGER}/transactions?reference={'x' * 201}": (400, "malformed"),
    f"{LEDGER}/transactions?reference=a&external_reference=b": (400, "malformed"),
    f"{LEDGER}/transactions/{'x' * 5000}": (404, "transaction_not_found"),
    f"{LEDGER}/transactions/trx_{'0' * 26}": (404, "transaction_not_found"),
    f"{LEDGER}/holds/%00": (404, "hold_not_found"),
    f"{LEDGER}/holds?cursor=%00": (404, "hold_not_found"),
    f"{LEDGER}/days/0000-01-01": (404, "not_found"),
    f"{LEDGER}/days/9999-12-31": (404, "day_not_found"),
    f"{LEDGER}/days?cursor=yesterday": (400, "malformed"),
    "/api/v1/audit/lines?cursor=-1": (400, "malformed"),
    f"/api/v1/audit/lines?cursor={2**63}": (400, "malformed"),
    f"{ACCESS}/principals/%00": (404, "principal_not_found"),
    f"{ACCESS}/principals?cursor=%00": (404, "principal_not_found"),
    f"{ACCESS}/principals?limit=-1": (400, "malformed"),
}


async def test_a_bad_body_is_refused_by_its_code_and_changes_nothing(operator: httpx.AsyncClient) -> None:
    own = ok(await operator.get(f"{ACCESS}/whoami"))["id"]
    before = await everything(operator)
    wrong: dict[str, Any] = {}
    for (verb, path), cases in BODIES.items():
        for body, *expected in cases:
            got = answered(await operator.request(verb, path.replace("OWN", own), json=body))
            if got != tuple(expected):
                wrong[f"{verb} {path} {body}"] = got
    assert wrong == {}
    assert await everything(operator) == before


async def everything(operator: httpx.AsyncClient) -> list[Any]:
    """Return whatever there is, and how much."""
    lists = (f"{LEDGER}/accounts", f"{LEDGER}/assets", f"{LEDGER}/days", f"{ACCESS}/books", f"{ACCESS}/principals")
    return [ok(await operator.get(path)) for path in (*lists, f"{LEDGER}/trial-balance", f"{LEDGER}/holds")]


async def test_a_bad_address_is_refused_by_its_code(operator: httpx.AsyncClient) -> None:
    answers = {path: answered(await operator.get(path)) for path in ADDRESSES}
    assert {path: got for path, got in answers.items() if got != ADDRESSES[path]} == {}
    for head in ("x", "1:x", f"-1:{'0' * 64}", f"{2**63}:{'0' * 64}", "\0", "1:" + "\N{ARABIC-INDIC DIGIT ONE}" * 64):
        answer = await operator.post("/api/v1/audit/verify", params={"head": head})
        assert answered(answer) == (400, "malformed_head")


async def test_a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has(operator: httpx.AsyncClient) -> None:
    for path, its in ok(await operator.get("/openapi.json"))["paths"].items():
        there = VERBS & set(its)
        for verb in (VERBS | {"trace", "brew"}) - there:
            answer = await operator.request(verb, path.replace("{day}", "2020-01-01"))
            assert answered(answer) == (405, "method_not_allowed")
            assert there <= set(answer.headers["allow"].lower().replace(" ", "").split(","))
