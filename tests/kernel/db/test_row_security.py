"""Who sees and who touches which rows: said by the database itself, whatever our own code asks of it."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest

from clearhouse import clock
from clearhouse.app.worker import total_days
from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db.database import READER, WRITER, Database
from clearhouse.kernel.db.faults import Poison
from clearhouse.kernel.journal import readers
from clearhouse.kernel.reconciliation import matches
from clearhouse.kernel.webhooks import deliveries
from clearhouse.slices.interbank.bank.lies import Fault
from clearhouse.slices.interbank.commands import SET_LIMIT, SET_NAMES, SET_WINDOW
from clearhouse.slices.interbank.netting import commands as netting
from clearhouse.slices.interbank.netting.withdrawing import WithdrawObligation
from clearhouse.slices.interbank.rules import SetLimit, SetNames, SetWindow
from clearhouse.slices.records import merging, snapshots
from clearhouse.slices.records.streams import LINES
from clearing import OWN, Clearing
from correspondent import correspondent, order
from house import House, movement, ok, post
from letters import left
from papers import PAPER, POLICIES, WRITE, Desk, Write
from town import Town

REFUSED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException)
LEDGER = "/api/v1/ledger"
TABLES = """
SELECT c.relname, c.relrowsecurity, has_any_column_privilege('clearhouse_reader', c.oid, 'SELECT') AS readable,
    ARRAY(SELECT p.polroles::regrole[]::text FROM pg_policy AS p WHERE p.polrelid = c.oid ORDER BY 1) AS policies
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'book' AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'm') AND c.relnamespace = 'clearhouse'::regnamespace ORDER BY 1
"""
VIEWS = """
SELECT relname, 'security_invoker=true' = ANY (reloptions) FROM pg_class
WHERE relkind = 'v' AND relnamespace = 'clearhouse'::regnamespace
"""
KEPT = ("ledger_transfer", "journal")


@contextmanager
def opened(dsn: str, role: str = "") -> Generator["psycopg.Connection[tuple[Any, ...]]"]:
    options = "-c search_path=clearhouse -c clearhouse.books={1,2}" + (f" -c role={role}" if role else "")
    with psycopg.connect(dsn, autocommit=True, options=options) as connection:
        yield connection


def asked(dsn: str, question: str, *values: object) -> list[tuple[Any, ...]]:
    with opened(dsn) as connection:
        return connection.execute(question.encode(), values or None).fetchall()


@pytest.fixture
async def books(house: House) -> Database:
    """Give a database whose first two books have rows in every table."""
    ok(await house.admin.post("/api/v1/access/books", json={"name": "other"}))
    house.gate._known.clear()
    for book in ("main", "other"):
        await fill(house, book)
        await change(house, book)
    await total_days(house.database)
    await house.seal()
    return house.database


def number_of(book: str) -> int:
    return {"main": 1, "other": 2}[book]


async def fill(house: House, book: str) -> None:
    """Leave a row in every table of a book."""
    operator = await house.caller("operator", book=book)
    ok(await operator.post(f"{LEDGER}/assets", json={"code": "WETH", "exponent": 18}))
    await house.open_accounts(operator, "shop", "revenue")
    await post(operator, movement("shop", "revenue", "1.00", pending=True))
    today = clock.today()
    await post(operator, movement("shop", "revenue", "1.00"), effective=str(today + timedelta(days=1)))
    paid = await post(operator, movement("shop", "revenue", "1.00"), effective=str(today - timedelta(days=9)))
    path = f"{LEDGER}/transactions/{paid['id']}/reverse"
    ok(await operator.post(path, json={}, headers={"Idempotency-Key": "k"}))
    ok(await operator.post(f"{LEDGER}/days", json={"day": str(today - timedelta(days=8))}))
    ok(await operator.post("/api/v1/calendars", json={"name": "payouts", "closed": ["2026-12-24"]}))
    nightly = {"name": "nightly", "cron": "0 3 * * *", "job": "ledger.close_day"}
    ok(await operator.post("/api/v1/schedules", json=nightly))
    ok(await operator.post("/api/v1/schedules/nightly/run"))
    await approve(Desk(house), book)
    structure = {"settleid": "calls", "aggregates": ["op"], "aggregationType": "mcCounter", "primaryKey": "app"}
    ok(await operator.post("/settlement/create", json=structure))
    ok(await operator.post("/settlement/calls/update", json={"record": {"app": "a", "op": 1, "recordId": "r"}}))
    await stage(house, operator)
    ok(await operator.post("/settlement/calls/settle"))
    party = await house.caller("operator", name=f"party of {book}", book=book, organisation="org1")
    referee = await house.caller("approver", name=f"referee of {book}", book=book)
    said = {"settleid": "said", "aggregationType": "1CDR"}
    ok(await party.post("/settlement/create", json=structure | said))
    ok(await party.post("/settlement/said/update", json={"record": {"app": "a", "op": 1}}))
    ok(await party.post("/settlement/said/settle"))
    ok(await party.post("/settlement/said/words", json={"round": 1, "key": "a", "word": "disputed"}))
    stands = {"round": 1, "key": "a", "stands": {"op": "1"}, "remark": "so it is"}
    ok(await referee.post("/settlement/said/resolutions", json=stands))
    owed = {"settleid": "owed", "aggregationType": "1CDR", "settlementType": "net", "currency": "USD"}
    ok(await operator.post("/settlement/create", json=structure | owed))
    ok(await operator.post("/settlement/owed/settle"))
    await settle(house, book)
    async with house.database.writing() as tx:
        await readers.enrol_everywhere(tx, "somebody")
    await left(house.database, book, number_of(book))
    await reconcile(house.database, operator, number_of(book))
    async with house.database.writing(book=number_of(book)) as tx:
        cuts.open_cuts(tx, ["month"], clock.now())


# As an earlier version left it: nothing adds to this table now.
OLD_DELTA = """
INSERT INTO records_delta (book, structure, round, key, organisation, metric, change, count)
SELECT s.book, s.number, 0, 'old', '', 0, 0, 1 FROM records_structure AS s WHERE s.book = %(book)s AND s.settleid = 'calls'
"""


async def bank(house: House, book: int) -> None:
    """Leave a row in every table of a book's simulated bank."""
    late, lost = order(), order()
    async with correspondent(house.database, http=False, book=book) as at:
        await at.meet(Fault.SLOW, late, seconds=60)
        await at.meet(Fault.LOSE_BEFORE, lost)


async def settle(house: House, book: str) -> None:
    """Leave a webhook, and a settlement that came back, a nostro that was compared, a window, a limit and a name."""
    await hook(house, book)
    town = await Town.built(house, book=number_of(book), name=book)
    for kind, command in (
        (SET_WINDOW, SetWindow("EUR", "TARGET2")), (SET_LIMIT, SetLimit("EUR", daily="5.00")),
        (SET_NAMES, SetNames("un", ["Ivan Grozny"])),
    ):  # fmt: skip
        await town.ask(kind, command)
    done = await town.execute("1.00")
    await town.settle()
    await town.give_back(done)
    await town.settle()
    await town.compare()
    cleared = await Clearing.built(house, book=number_of(book), name=book)
    await cleared.everything()
    await cleared.ask(netting.WITHDRAW, WithdrawObligation(OWN, "a mistake"))
    await bank(house, number_of(book))


async def stage(house: House, operator: httpx.AsyncClient) -> None:
    """Leave an upload that broke off behind its first part, one that waits to be merged, and a snapshot of its round."""
    lines = b'{"app": "a", "op": 1}\n' * LINES + b"{"
    headers = {"Content-Type": "application/x-ndjson"}
    answer = await operator.post("/settlement/calls/upload", content=lines, headers=headers)
    assert answer.status_code == 400, answer.text
    due = (await merging.waiting(house.database))[-1]  # of this book, which is the last one
    await merging.merge_part(house.database, due)
    async with house.database.writing(book=due.book) as tx:
        await tx.do(OLD_DELTA, book=tx.book)
    many = [{"app": str(number), "op": 1} for number in range(9)]
    ok(await operator.post("/settlement/calls/update", json={"record": many}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "CHANGES_BETWEEN", 1)
        assert await snapshots.take_due(house.database) == 1


async def hook(house: House, book: str) -> None:
    """Leave a webhook with its secret, and a delivery."""
    ok(await house.admin.post("/api/v1/webhooks", params={"book": book}, json={"url": "https://192.0.2.7/"}))
    await house.seal()
    async with house.database.writing(book=number_of(book)) as tx:
        await deliveries.spread(tx, clock.now())


async def approve(desk: Desk, book: str) -> None:
    """Leave a request for approval, its rules, and a word on it."""
    sender, anna, _ = [await desk.hire(f"{name} of {book}", "approver", book=book) for name in ("sender", "anna", "bert")]
    levels = [{"role": "approver"}, {"role": "approver", "at_least": [{"amount": "1", "currency": "USD"}]}]
    ok(await desk.house.admin.post(POLICIES, params={"book": book}, json={"kind": PAPER, "levels": levels}))
    paper = Write("1", "text", amounts=(("1.00", "USD"),))
    asked = (await desk.submit(sender.name, WRITE, paper, book=number_of(book)))[0]
    assert await desk.approve(anna.name, asked.id) == "pending"


async def change(house: House, book: str) -> None:
    """Leave a change of rules that waits for the word of another."""
    for kind in ("approvals.policy", "test.another"):
        rules = {"kind": kind, "levels": [{"role": "approver"}]}
        ok(await house.admin.post(POLICIES, params={"book": book}, json=rules))


async def reconcile(database: Database, operator: httpx.AsyncClient, book: int) -> None:
    """Leave a match, a break that somebody spoke of, and two sides that were undone."""
    here = "/api/v1/reconciliation"
    rules = {"name": "files", "rules": [{"by": "reference"}], "account": "shop"}
    ok(await operator.post(f"{here}/rule-sets", json=rules))
    ok(await operator.post(f"{here}/rule-sets/files/entries", json={"currency": "USD"}))
    for side in ("ours", "theirs"):
        item = {"amount": "1.00", "currency": "EUR", "date": "2026-11-20"}
        items = [item | {"id": "1", "reference": "one"}, item | {"id": "2"}]
        ok(await operator.post(f"{here}/rule-sets/files/items", params={"side": side}, json=items))
    ok(await operator.post(f"{here}/rule-sets/files/runs"))
    broken = ok(await operator.get(f"{here}/breaks"))["items"][0]["id"]
    ok(await operator.post(f"{here}/breaks/{broken}/remark", json={"remark": "who knows"}))
    async with database.writing(book=book) as tx:
        await tx.do(matches.sql["keep_apart"], book=tx.book, name="files", ours=[1], theirs=[2])


# What the catalog says -----------------------------------------------------------------------------------------------


def test_every_table_of_books_has_row_security_for_readers_and_writers(owner_dsn: str) -> None:
    tables = asked(owner_dsn, TABLES)
    assert len(tables) > 12
    for name, secured, readable, policies in tables:
        assert secured, name
        assert policies == ([f"{{{READER}}}"] if readable else []) + [f"{{{WRITER}}}"], name


def test_every_view_is_read_with_the_rights_of_who_reads_it(owner_dsn: str) -> None:
    views = asked(owner_dsn, VIEWS)
    assert len(views) >= 4
    assert [name for name, invoked in views if not invoked] == []


def test_the_table_of_books_itself_has_row_security(owner_dsn: str) -> None:
    assert asked(owner_dsn, "SELECT relrowsecurity FROM pg_class WHERE oid = 'book'::regclass") == [(True,)]


def test_a_reader_may_write_nothing_and_run_nothing_as_somebody_else(owner_dsn: str) -> None:
    question = (
        "SELECT relname FROM pg_class WHERE relnamespace = 'clearhouse'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"
        " AND (has_table_privilege(%s, oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
        " OR has_any_column_privilege(%s, oid, 'INSERT, UPDATE, REFERENCES'))"
    )
    assert asked(owner_dsn, question, READER, READER) == []
    assert asked(owner_dsn, question, "clearhouse_app", "clearhouse_app") == []
    trusted = "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'clearhouse'::regnamespace"
    assert asked(owner_dsn, trusted) == []


def test_nobody_but_the_owner_may_change_or_remove_what_is_kept(owner_dsn: str) -> None:
    question = (
        "SELECT rolname, name FROM pg_roles, unnest(%s::text[]) AS name WHERE NOT rolsuper AND rolname !~ '^pg_' AND"
        " (has_table_privilege(rolname, name, 'UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES')"
        " OR pg_has_role(rolname, (SELECT relowner FROM pg_class WHERE oid = name::regclass), 'MEMBER')"
        " OR pg_has_role(rolname, 'pg_write_all_data', 'MEMBER'))"
    )
    assert asked(owner_dsn, question, list(KEPT)) == []


def test_what_a_writer_may_change_of_the_journal_is_its_number_and_its_link(owner_dsn: str) -> None:
    question = (
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " AND has_column_privilege(%s, attrelid, attname, 'UPDATE') ORDER BY 1"
    )
    assert asked(owner_dsn, question, "journal", WRITER) == [("chain",), ("number",)]
    assert asked(owner_dsn, question, "ledger_transfer", WRITER) == []


def test_the_applications_roles_pass_by_no_rule(owner_dsn: str) -> None:
    question = (
        "SELECT rolname FROM pg_roles WHERE rolname ~ '^clearhouse_'"
        " AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"
    )
    assert asked(owner_dsn, question) == []


# What happens --------------------------------------------------------------------------------------------------------


async def seen(database: Database, *books: int) -> dict[str, set[int]]:
    """Return, for each table that a reader may read, the books of the rows it sees."""
    found: dict[str, set[int]] = {}
    async with database.reading(books) as tx:
        for name, _, readable, _ in await tx.tuples(TABLES):
            if readable:
                rows = await tx.tuples(f"SELECT DISTINCT book FROM {name}")
                found[str(name)] = {int(str(book)) for (book,) in rows}
        found["book"] = {int(str(book)) for (book,) in await tx.tuples("SELECT id FROM book")}
    return found


async def test_a_reader_sees_the_books_it_was_opened_for_and_no_row_of_another(books: Database, owner_dsn: str) -> None:
    for name, *_ in asked(owner_dsn, TABLES):
        assert asked(owner_dsn, f"SELECT DISTINCT book FROM {name} ORDER BY 1") == [(1,), (2,)], f"{name} is not filled"
    mine, others, both = [await seen(books, *which) for which in ((1,), (2,), (1, 2))]
    assert set().union(*mine.values()) == {1}
    assert set().union(*(each for name, each in others.items() if name != "principal")) == {2}
    assert all(each == {1, 2} for each in both.values())
    assert all(each == set() for each in (await seen(books)).values())


async def test_a_reader_sees_of_other_books_people_only_those_with_a_role_in_its_own(books: Database) -> None:
    async with books.reading([2]) as tx:
        guests = await tx.tuples("SELECT name FROM principal WHERE book = 1")
        shown = await tx.tuples("SELECT count(*) FROM access_grant WHERE book = 1")
    assert (guests, shown) == ([("admin",)], [(0,)])


@pytest.mark.usefixtures("books")
async def test_a_reader_that_names_no_books_reads_nothing(app_dsn: str) -> None:
    with psycopg.connect(app_dsn, options=f"-c search_path=clearhouse -c role={READER}") as connection:
        for name in ("ledger_account", "journal", "principal", "book"):
            with pytest.raises(psycopg.errors.UndefinedObject):
                connection.execute(f"SELECT count(*) FROM {name}".encode())
            connection.rollback()


async def test_no_reader_sees_a_key_or_the_digest_of_one(books: Database) -> None:
    for question in (
        "SELECT digest FROM access_key",
        "SELECT * FROM access_key",
        "SELECT * FROM command_key",
        "SELECT * FROM webhook_secret",
    ):
        with pytest.raises(Poison, match="permission denied"):
            async with books.reading([1, 2]) as tx:
                await tx.tuples(question)


async def test_no_statement_of_a_reader_writes(books: Database, owner_dsn: str, app_dsn: str) -> None:
    with opened(app_dsn, READER) as connection:
        for name, *_ in [*asked(owner_dsn, TABLES), ("book",), ("migration",)]:
            for crime in (f"INSERT INTO {name} DEFAULT VALUES", f"DELETE FROM {name}", f"TRUNCATE {name}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(crime.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT nextval(pg_get_serial_sequence('journal', 'id'))")
    with pytest.raises(Poison, match="read-only"):
        async with books.reading([1]) as tx:
            await tx.do("CREATE TEMPORARY TABLE mine ()")


CRIMES = [
    "UPDATE ledger_transfer SET amount = amount + 1",
    "UPDATE ledger_transfer SET reference = 'another' WHERE false",
    "DELETE FROM ledger_transfer",
    "TRUNCATE ledger_transfer",
    "TRUNCATE ledger_transfer CASCADE",
    "UPDATE journal SET lines = '[]'",
    "UPDATE journal SET digest = sha256('another')",
    "UPDATE journal SET at = at - interval '1 day'",
    "UPDATE journal SET number = number + 1000",
    "UPDATE journal SET chain = sha256('another')",
    "UPDATE journal SET number = NULL, chain = NULL",
    "UPDATE journal SET number = number, chain = chain",
    "DELETE FROM journal",
    "TRUNCATE journal",
    "INSERT INTO journal OVERRIDING SYSTEM VALUE SELECT * FROM journal ON CONFLICT (id) DO UPDATE SET lines = '[]'",
    "MERGE INTO journal AS j USING journal AS i ON i.id = j.id WHEN MATCHED THEN DELETE",
    "ALTER TABLE journal DISABLE TRIGGER ALL",
    "ALTER TABLE ledger_transfer DISABLE TRIGGER USER",
    "ALTER TABLE journal DISABLE ROW LEVEL SECURITY",
    "DROP TRIGGER immutable ON journal",
    "DROP TABLE journal",
    "DROP POLICY every_book ON journal",
    "CREATE TABLE clearhouse.mine ()",
    "CREATE OR REPLACE FUNCTION clearhouse.refuse_change() RETURNS trigger LANGUAGE sql AS 'SELECT 1'",
    "SET session_replication_role = replica",
    "SET ROLE clearhouse",
    "UPDATE migration SET digest = 'another'",
    "DELETE FROM ledger_account",
    "DELETE FROM ledger_hold",
    "DELETE FROM ledger_seal",
    "UPDATE ledger_seal SET day = day - 1",
    "UPDATE ledger_seal_total SET debits = 0",
    "DELETE FROM calendar",
    "UPDATE calendar SET opened_at = opened_at - interval '1 day'",
    "UPDATE calendar_day SET day = day + 1",
    "DELETE FROM principal",
    "DELETE FROM access_key",
    "UPDATE access_key SET digest = sha256('mine')",
    "UPDATE approval_request SET content = sha256('another')",
    "UPDATE approval_request SET levels = '{1}'",
    "DELETE FROM approval_request",
    "DELETE FROM approval_maker",
    "UPDATE approval_maker SET part = 'editor'",
    "UPDATE approval_step SET remark = 'another'",
    "DELETE FROM approval_step",
    "UPDATE approval_level SET count = 1",
    "DELETE FROM approval_threshold",
    "UPDATE approval_policy SET retired = true",
    "DELETE FROM approval_policy",
    "UPDATE approval_change SET body = '{}'",
    "DELETE FROM approval_change",
    "UPDATE approval_amount SET amount = 0",
    "UPDATE bank_event SET amount = amount + 1",
    "DELETE FROM bank_event",
    "DELETE FROM bank_order",
    "UPDATE bank_order SET amount = amount + 1",
    "UPDATE bank_order SET content = sha256('another')",
    "DELETE FROM bank_account",
    "DELETE FROM bank_lost",
    "DELETE FROM records_record",
    "DELETE FROM records_upload",
    "UPDATE records_upload SET records = 0",
    "UPDATE records_record SET body = '{}'",
    "UPDATE records_delta SET count = 9",
    "DELETE FROM records_change",
    "DELETE FROM records_round",
    "DELETE FROM records_aggregate",
    "DELETE FROM records_resolution",
    "DELETE FROM records_staged",
    "UPDATE records_staged SET count = 9",
    "DELETE FROM records_known",
    "UPDATE records_known SET upload = gen_random_uuid()",
    "UPDATE records_pending SET round = 9",
    "DELETE FROM records_snapshot",
    "UPDATE records_snapshot_cell SET count = 9",
    "UPDATE cut SET position = position + 2",
    "DELETE FROM cut",
    "DELETE FROM webhook_endpoint",
    "UPDATE webhook_endpoint SET added_at = added_at - interval '1 day'",
    "UPDATE webhook_secret SET made_at = made_at - interval '1 day'",
    "UPDATE webhook_delivery SET number = number + 1",
    "UPDATE inbox_dead SET body = 'another'",
    "UPDATE inbox_dead SET state = 'replayed'",
    "UPDATE event_reader SET name = 'another'",
    "DELETE FROM schedule",
    "UPDATE schedule SET name = 'another'",
    "UPDATE firing SET due_at = due_at + interval '1 day'",
    "TRUNCATE firing",
    "UPDATE journal SET wakes = '{}'",
    "DELETE FROM clearhouse_jobs.step",
    "DROP TABLE clearhouse_jobs.procrastinate_jobs",
    "CREATE TABLE clearhouse_jobs.mine ()",
    "UPDATE reconciliation_item SET amount = amount + 1",
    "DELETE FROM reconciliation_item",
    "UPDATE reconciliation_match SET difference = 0",
    "DELETE FROM reconciliation_match",
    "UPDATE reconciliation_match SET suspense = 'another'",
    "DELETE FROM reconciliation_account",
    "DELETE FROM reconciliation_apart",
    "UPDATE reconciliation_account SET account = NULL",
    "DELETE FROM reconciliation_break",
    "UPDATE reconciliation_break SET opened_at = now()",
    "UPDATE reconciliation_run SET digest = sha256('another')",
    "DELETE FROM reconciliation_run",
    "UPDATE reconciliation_sum SET open = 0",
    "UPDATE reconciliation_rules SET rules = '{}'",
    "UPDATE reconciliation_remark SET text = 'another'",
    "DELETE FROM reconciliation_remark",
]


def is_done(connection: "psycopg.Connection[tuple[Any, ...]]", crime: str) -> bool:
    try:
        connection.execute(crime.encode())
    except REFUSED:
        return False
    return True


@pytest.mark.usefixtures("books")
async def test_a_writer_changes_and_removes_nothing_that_is_kept(owner_dsn: str, app_dsn: str) -> None:
    before = [asked(owner_dsn, f"SELECT * FROM {name} ORDER BY book, id") for name in KEPT]
    with opened(app_dsn, WRITER) as connection:
        assert [crime for crime in CRIMES if is_done(connection, crime)] == []
    assert [asked(owner_dsn, f"SELECT * FROM {name} ORDER BY book, id") for name in KEPT] == before


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("crime", ["UPDATE {} SET book = book", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_even_the_owner_is_stopped_as_long_as_the_triggers_stand(owner_dsn: str, name: str, crime: str) -> None:
    with opened(owner_dsn) as connection, pytest.raises(psycopg.errors.RaiseException, match="never changed or removed"):
        connection.execute(crime.format(name).encode())
