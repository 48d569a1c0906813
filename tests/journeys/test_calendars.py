"""Calendars through their doors: what day it is for business, own calendars, and what is refused when it is written."""

import asyncio
from datetime import date, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from house import House, ok, refused

CALENDARS = "/api/v1/calendars"
NIGHT = {"zone": "America/New_York", "opens": "21:00", "closes": "19:00", "eve": True, "cut_off": "18:45"}
PAYOUTS = {
    "name": "payouts", "title": "Payouts", "follows": ["TARGET2", "FEDWIRE"], "hours": NIGHT,
    "closed": ["2026-12-24"], "early_closes": [{"day": "2026-12-31", "closes": "12:00"}],
}  # fmt: skip


@pytest.fixture
async def operator(house: House) -> httpx.AsyncClient:
    return await house.caller("operator")


async def told(caller: httpx.AsyncClient, path: str, **query: str | int) -> Any:
    return ok(await caller.get(f"{CALENDARS}/{path}", params=query))


async def days(caller: httpx.AsyncClient, calendar: str, *asked: str) -> list[bool]:
    return [(await told(caller, f"{calendar}/days/{day}"))["open"] for day in asked]


# Rules that everybody has --------------------------------------------------------------------------------------------


async def test_a_viewer_asks_what_day_it_is_for_a_payment_system(house: House) -> None:
    viewer = await house.caller("viewer")
    assert (await told(viewer, "TARGET2/business-date", at="2026-12-24T16:59:59Z"))["day"] == "2026-12-24"
    assert (await told(viewer, "TARGET2/business-date", at="2026-12-24T17:00:00Z"))["day"] == "2026-12-28"
    assert (await told(viewer, "TARGET2/add", day="2026-12-23", count=2))["day"] == "2026-12-28"
    assert (await told(viewer, "TARGET2/add", day="2026-12-28", count=-2))["day"] == "2026-12-23"
    assert await days(viewer, "TARGET2", "2026-12-24", "2026-12-25", "2026-12-26") == [True, False, False]


async def test_the_next_opening_is_told_as_an_instant_with_its_business_day(operator: httpx.AsyncClient) -> None:
    assert await told(operator, "FEDWIRE/next-open", at="2026-11-21T12:00:00Z") == {
        "at": "2026-11-23T02:00:00Z", "day": "2026-11-23", "opens_at": "2026-11-23T02:00:00Z",
        "closes_at": "2026-11-24T00:00:00Z", "cut_off_at": "2026-11-24T00:00:00Z",
    }  # fmt: skip
    assert (await told(operator, "FEDWIRE/next-open", at="2026-11-23T12:00:00Z"))["at"] == "2026-11-23T12:00:00Z"
    assert "T" in (await told(operator, "NYSE/next-open"))["at"]


@pytest.mark.parametrize(
    ("convention", "day"),
    [
        ("following", "2027-02-01"), ("preceding", "2027-01-29"),
        ("modified_following", "2027-01-29"), ("modified_preceding", "2027-01-29"),
    ],
)  # fmt: skip
async def test_the_end_of_a_month_is_rolled_as_the_contract_says(
    operator: httpx.AsyncClient, convention: str, day: str
) -> None:
    assert (await told(operator, "DE/roll", day="2027-01-31", convention=convention))["day"] == day


async def test_a_list_of_calendars_has_pages_and_own_ones_come_last(operator: httpx.AsyncClient) -> None:
    ok(await operator.post(CALENDARS, json=PAYOUTS))
    names: list[str] = []
    query: dict[str, Any] = {"limit": 100}
    while query.get("cursor", "") is not None:
        page = ok(await operator.get(CALENDARS, params=query))
        names += [each["name"] for each in page["items"]]
        query["cursor"] = page["next"]
    assert names == sorted(set(names))
    assert names[-1] == "payouts"
    systems = ok(await operator.get(CALENDARS, params={"sort": "system"}))["items"]
    assert [each["name"] for each in systems] == ["CHAPS", "FEDWIRE", "NYSE", "TARGET2"]
    assert ok(await operator.get(CALENDARS, params={"sort": "own"}))["items"] == [
        {"name": "payouts", "title": "Payouts", "sort": "own"}
    ]
    countries = ok(await operator.get(CALENDARS, params={"sort": "country", "limit": 1_000}))["items"]
    assert {"name": "DE", "title": "Germany", "sort": "country"} in countries


# Several at once -----------------------------------------------------------------------------------------------------


async def test_euros_and_dollars_are_asked_about_together(operator: httpx.AsyncClient) -> None:
    both, away = "TARGET2,FEDWIRE", "2026-11-26"  # Thanksgiving
    assert [await days(operator, each, away) for each in ("TARGET2", "FEDWIRE", both)] == [[True], [False], [False]]
    assert (await told(operator, f"{both}/add", day="2026-11-25", count=1))["day"] == "2026-11-27"
    assert (await told(operator, f"{both}/add", day="2026-11-27", count=-1))["day"] == "2026-11-25"
    assert (await told(operator, f"{both}/roll", day=away, convention="preceding"))["day"] == "2026-11-25"
    assert await told(operator, f"{both}/days/2026-11-27") == {
        "day": "2026-11-27", "open": True, "opens_at": "2026-11-27T02:00:00Z", "closes_at": "2026-11-27T17:00:00Z",
        "cut_off_at": "2026-11-27T17:00:00Z",
    }  # fmt: skip
    assert (await told(operator, f"{both}/next-open", at="2026-11-25T17:00:00Z"))["at"] == "2026-11-27T02:00:00Z"
    for at, day in (("2026-11-25T16:59:59Z", "2026-11-25"), ("2026-11-25T17:00:00Z", "2026-11-27")):
        assert (await told(operator, f"{both}/business-date", at=at))["day"] == day


async def test_an_own_calendar_is_asked_about_together_with_others(operator: httpx.AsyncClient) -> None:
    ok(await operator.post(CALENDARS, json=PAYOUTS))
    together = "DE-BY,payouts,DE-BY"
    assert await days(operator, together, "2026-12-23", "2026-12-24", "2027-01-06") == [True, False, False]
    assert (await told(operator, f"{together}/add", day="2026-12-23", count=1))["day"] == "2026-12-28"


async def test_calendars_that_share_days_but_no_hour_have_business_days_without_hours(operator: httpx.AsyncClient) -> None:
    for name, opens, closes in (("early", "06:00", "09:00"), ("late", "18:00", "21:00")):
        ok(await operator.post(CALENDARS, json={"name": name, "hours": {"opens": opens, "closes": closes}}))
    assert await told(operator, "early,late/days/2026-11-20") == {
        "day": "2026-11-20", "open": True, "opens_at": None, "closes_at": None, "cut_off_at": None,
    }  # fmt: skip
    assert (await told(operator, "early,late/business-date", at="2026-11-20T10:00:00Z"))["day"] == "2026-11-23"
    refusal = await operator.get(f"{CALENDARS}/early,late/next-open")
    assert refused(refusal, 422) == "no_hour_together"


@pytest.mark.parametrize(
    ("calendars", "status", "code"),
    [
        ("TARGET2,NOWHERE", 404, "calendar_not_found"),
        ("TARGET2,", 404, "calendar_not_found"),
        ("DE,AT,FR,IT,ES,PT,NL,BE,LU", 400, "many_together"),
    ],
)
async def test_calendars_that_cannot_be_asked_about_together_are_refused(
    operator: httpx.AsyncClient, calendars: str, status: int, code: str
) -> None:
    assert refused(await operator.get(f"{CALENDARS}/{calendars}/days/2026-11-20"), status) == code


# Own calendars -------------------------------------------------------------------------------------------------------


async def test_an_own_calendar_is_closed_when_a_rule_that_it_follows_is(operator: httpx.AsyncClient) -> None:
    made = ok(await operator.post(CALENDARS, json=PAYOUTS))
    assert {name: made[name] for name in PAYOUTS} == PAYOUTS
    assert await told(operator, "payouts") == made
    asked = ("2026-11-26", "2026-12-24", "2026-12-25", "2026-12-28", "2027-01-18")
    assert await days(operator, "payouts", *asked) == [False, False, False, True, False]
    assert (await told(operator, "payouts/business-date", at="2026-12-23T23:44:59Z"))["day"] == "2026-12-23"
    assert (await told(operator, "payouts/business-date", at="2026-12-23T23:45:00Z"))["day"] == "2026-12-28"
    assert (await told(operator, "payouts/days/2026-12-31"))["closes_at"] == "2026-12-31T17:00:00Z"


async def test_what_a_change_leaves_out_stays_and_a_reopened_day_is_as_any_other(operator: httpx.AsyncClient) -> None:
    made = ok(await operator.post(CALENDARS, json=PAYOUTS))
    change = {"close": ["2026-12-31"], "close_early": [{"day": "2026-12-30", "closes": "15:00"}], "reopen": ["2026-12-24"]}
    changed = ok(await operator.patch(f"{CALENDARS}/payouts", json=change))
    expected = {"closed": ["2026-12-31"], "early_closes": change["close_early"]}
    assert changed == await told(operator, "payouts") == {**made, **expected}
    assert await days(operator, "payouts", "2026-12-24", "2026-12-30", "2026-12-31") == [True, True, False]
    whole_days = {"zone": "Asia/Kathmandu", "opens": "00:00", "closes": "00:00", "eve": False, "cut_off": None}
    other = {"title": "At night", "days": ["saturday", "monday"], "follows": [], "hours": whole_days}
    ok(await operator.patch(f"{CALENDARS}/payouts", json=other))
    assert await told(operator, "payouts") == {**changed, **other, "days": ["monday", "saturday"]}
    assert await days(operator, "payouts", "2026-11-20", "2026-11-21", "2026-11-23") == [False, True, True]


async def test_opening_the_same_again_gives_the_one_that_is_there_and_another_is_refused(
    operator: httpx.AsyncClient,
) -> None:
    first, again = [ok(await operator.post(CALENDARS, json=PAYOUTS)) for _ in range(2)]
    assert first == again
    other = await operator.post(CALENDARS, json=PAYOUTS | {"closed": []})
    assert refused(other, 422) == "calendar_exists"
    assert other.json()["detail"] == "Calendar payouts exists with other closed."


async def test_a_key_has_one_answer_and_another_body_under_it_is_refused(operator: httpx.AsyncClient) -> None:
    once = {"Idempotency-Key": "the-same-key"}
    made = ok(await operator.post(CALENDARS, json=PAYOUTS, headers=once))
    ok(await operator.patch(f"{CALENDARS}/payouts", json={"title": "Other"}))
    assert ok(await operator.post(CALENDARS, json=PAYOUTS, headers=once)) == made
    for other in (PAYOUTS | {"name": "other"}, PAYOUTS | {"title": "Other"}):
        assert refused(await operator.post(CALENDARS, json=other, headers=once), 422) == "key_reused"
    assert [each["name"] for each in ok(await operator.get(CALENDARS, params={"sort": "own"}))["items"]] == ["payouts"]


async def test_changes_that_come_at_once_are_all_kept(operator: httpx.AsyncClient) -> None:
    ok(await operator.post(CALENDARS, json={"name": "shared"}))
    closing = [f"2027-03-{day:02}" for day in range(1, 29)]
    answers = await asyncio.gather(*(operator.patch(f"{CALENDARS}/shared", json={"close": [day]}) for day in closing))
    assert [each.status_code for each in answers] == [200] * len(closing)
    assert (await told(operator, "shared"))["closed"] == closing


async def test_what_was_opened_and_changed_is_in_the_audit_trail(house: House, operator: httpx.AsyncClient) -> None:
    auditor = await house.caller("auditor")
    ok(await operator.post(CALENDARS, json=PAYOUTS))
    ok(await operator.patch(f"{CALENDARS}/payouts", json={"close": ["2027-01-04"]}))
    await house.seal()
    rows = ok(await auditor.get("/api/v1/audit/lines"))["items"]
    lines = [line for row in rows if row["kind"].startswith("calendars.") for line in msgspec.json.decode(row["lines"])]
    told_of = [(each["event"], each["subject"]) for each in lines]
    assert told_of == [("calendars.opened", "payouts"), ("calendars.changed", "payouts")]


# What is refused -----------------------------------------------------------------------------------------------------

YEAR = [str(date(2027, 3, 1) + timedelta(days=each)) for each in range(366)]
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no days of the week": ({"days": []}, 422, "calendar_never_open"),
    "only days that its rule is closed on": ({"days": ["sunday"], "follows": ["NYSE"]}, 422, "calendar_never_open"),
    "rules that share no day": ({"days": ["friday", "saturday"], "follows": ["SA"]}, 422, "calendar_never_open"),
    "a year on end": ({"days": ["monday"], "closed": YEAR}, 422, "calendar_never_open"),
    "the last day of all": ({"closed": ["9999-12-31"]}, 422, "calendar_never_open"),
    "a rule of nobody's": ({"follows": ["NOWHERE"]}, 422, "rule_unknown"),
    "a calendar as a rule": ({"follows": ["payouts"]}, 422, "rule_unknown"),
    "a year that its rule does not know": ({"follows": ["DE"], "closed": ["2150-01-01"]}, 422, "year_unknown"),
    "a zone of nowhere": ({"hours": {"zone": "Mars/Olympus"}}, 422, "zone_unknown"),
    "a cut-off outside": ({"hours": {"opens": "09:00", "closes": "17:00", "cut_off": "18:00"}}, 422, "outside_hours"),
    "a closing outside": (
        {"hours": {"opens": "09:00", "closes": "17:00"}, "early_closes": [{"day": "2026-12-31", "closes": "08:00"}]},
        422, "outside_hours",
    ),
    "more than a day": ({"hours": {"opens": "09:00", "closes": "17:00", "eve": True}}, 422, "eve_too_early"),
    "a day twice": ({"closed": ["2026-12-31", "2026-12-31"]}, 422, "day_twice"),
    "closed and early": (
        {"closed": ["2026-12-31"], "early_closes": [{"day": "2026-12-31", "closes": "08:00"}]}, 422, "day_twice",
    ),
    "a name in capitals": ({"name": "TARGET2"}, 400, "malformed"),
    "a name with a line break": ({"name": "a\n"}, 400, "malformed"),
    "a NUL in the title": ({"title": "\0"}, 400, "malformed"),
    "a day of no week": ({"days": ["someday"]}, 400, "malformed"),
    "an hour twenty-four": ({"hours": {"closes": "24:00"}}, 400, "malformed"),
    "a time of three digits": ({"hours": {"closes": "9:00"}}, 400, "malformed"),
    "foreign digits": ({"hours": {"closes": "\N{ARABIC-INDIC DIGIT ONE}8:00"}}, 400, "malformed"),
    "a date that is none": ({"closed": ["2026-02-30"]}, 400, "malformed"),
    "an unknown field": ({"colour": "blue"}, 400, "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_a_calendar_that_cannot_work_is_refused_when_it_is_written(operator: httpx.AsyncClient, case: str) -> None:
    body, status, code = REFUSED[case]
    answer = await operator.post(CALENDARS, json={"name": "wrong", **body})
    assert refused(answer, status) == code
    assert answer.json()["detail"].endswith(".")
    assert ok(await operator.get(CALENDARS, params={"sort": "own"}))["items"] == []


async def test_a_change_that_would_leave_no_open_day_is_refused_and_changes_nothing(operator: httpx.AsyncClient) -> None:
    made = ok(await operator.post(CALENDARS, json=PAYOUTS))
    changes: list[tuple[dict[str, Any], str]] = [
        ({"days": []}, "calendar_never_open"),
        ({"days": ["saturday"]}, "calendar_never_open"),
        ({"hours": {"zone": "nowhere"}}, "zone_unknown"),
        ({"hours": {"opens": "13:00", "closes": "14:00"}}, "outside_hours"),  # of its day that closes early
        ({"close": ["2026-12-01"], "reopen": ["2026-12-01"]}, "day_twice"),
    ]
    for change, code in changes:
        assert refused(await operator.patch(f"{CALENDARS}/payouts", json=change), 422) == code
    assert await told(operator, "payouts") == made


async def test_a_calendar_that_would_grow_without_end_is_refused(operator: httpx.AsyncClient) -> None:
    ok(await operator.post(CALENDARS, json={"name": "growing"}))
    codes: list[str] = []
    for year in range(2030, 2066, 6):
        days_of = [
            f"{each}-{month:02}-{day:02}" for each in range(year, year + 6) for month in range(1, 13) for day in range(1, 14)
        ]
        answer = await operator.patch(f"{CALENDARS}/growing", json={"close": days_of})
        codes.append("" if answer.is_success else refused(answer, 422))
    assert codes == ["", "", "", "", "", "many_closed"]


async def test_what_is_not_there_is_not_found_and_what_is_everybodys_is_not_changed(operator: httpx.AsyncClient) -> None:
    for name in ("nowhere", "XX", "TARGET", "DE-XX", "a b", "\N{GREEK SMALL LETTER ALPHA}"):
        assert refused(await operator.get(f"{CALENDARS}/{name}/next-open"), 404) == "calendar_not_found"
        assert refused(await operator.patch(f"{CALENDARS}/{name}", json={}), 404) == "calendar_not_found"
    assert refused(await operator.patch(f"{CALENDARS}/TARGET2", json={"title": "Mine"}), 422) == "rule_fixed"


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("TARGET2/add", {"day": "2026-11-21", "count": "10001"}, 400, "malformed"),
        ("TARGET2/add", {"day": "2026-11-21"}, 400, "malformed"),
        ("TARGET2/add", {"day": "2100-12-30", "count": "5"}, 422, "year_unknown"),
        ("TARGET2/roll", {"day": "2026-02-30"}, 400, "malformed"),
        ("TARGET2/roll", {"day": "2026-11-21", "convention": "sideways"}, 400, "malformed"),
        ("TARGET2/business-date", {"at": "yesterday"}, 400, "malformed_time"),
        ("TARGET2/business-date", {"at": "2026-11-21T12:00:00"}, 400, "malformed_time"),
        ("TARGET2/next-open", {"at": "9999-12-31T23:59:59Z"}, 422, "calendar_never_open"),
        ("TARGET2/days/1999-12-31", {}, 422, "year_unknown"),
    ],
)
async def test_a_question_that_has_no_answer_is_refused(
    operator: httpx.AsyncClient, path: str, query: dict[str, str], status: int, code: str
) -> None:
    assert refused(await operator.get(f"{CALENDARS}/{path}", params=query), status) == code


async def test_only_operators_write_calendars(house: House) -> None:
    for role in ("viewer", "approver", "auditor", "admin"):
        caller = await house.caller(role)
        assert refused(await caller.post(CALENDARS, json=PAYOUTS), 403) == "denied"
        assert refused(await caller.patch(f"{CALENDARS}/payouts", json={}), 403) == "denied"


async def test_calendars_of_one_name_in_two_books_are_two(house: House) -> None:
    ok(await house.admin.post("/api/v1/access/books", json={"name": "other"}))
    house.gate._known.clear()
    here, there = [await house.caller("operator", book=book) for book in ("main", "other")]
    ok(await here.post(CALENDARS, json=PAYOUTS))
    assert refused(await there.get(f"{CALENDARS}/payouts"), 404) == "calendar_not_found"
    ok(await there.post(CALENDARS, json={"name": "payouts"}))
    assert await days(here, "payouts", "2026-12-24") != await days(there, "payouts", "2026-12-24")
