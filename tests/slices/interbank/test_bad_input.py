"""Bad input: a stable code and a sentence, over HTTP, in a batch and over gRPC alike; nothing locked, nothing half done."""

from typing import Any

import grpc
import httpx
import psycopg
from psycopg import sql

from calling import Line, execution, refused
from house import ok
from people import Person
from town import PAYER, Town, obligation

REFUSED, MALFORMED = (422, grpc.StatusCode.FAILED_PRECONDITION), (400, grpc.StatusCode.INVALID_ARGUMENT)
CONFLICT = (409, grpc.StatusCode.ALREADY_EXISTS)
Status = tuple[int, grpc.StatusCode]
# What is wrong; its code, the same everywhere, with the same sentence; the status over HTTP, and that over gRPC.
WRONG: dict[str, tuple[dict[str, Any], str, Status]] = {
    "an unknown bank that pays": ({"from_bank": "BARCGB22"}, "bank_unknown", REFUSED),
    "an unknown bank that is paid": ({"to_bank": "BARCGB22"}, "bank_unknown", REFUSED),
    "a BIC of five letters": ({"from_bank": "chase"}, "malformed_bic", MALFORMED),
    "a BIC of nine letters": ({"to_bank": "DEUTDEFFX"}, "malformed_bic", MALFORMED),
    "a BIC of small letters": ({"to_bank": "deutdeff"}, "malformed_bic", MALFORMED),
    "an empty BIC": ({"to_bank": ""}, "malformed_bic", MALFORMED),
    "a bank with itself": ({"to_bank": PAYER}, "same_bank", REFUSED),
    "nothing": ({"amount": "0.00"}, "amount_not_positive", REFUSED),
    "less than nothing": ({"amount": "-1.00"}, "amount_not_positive", REFUSED),
    "a tenth of a cent": ({"amount": "1.001"}, "too_many_decimals", MALFORMED),
    "an amount with an exponent": ({"amount": "1e3"}, "malformed_amount", MALFORMED),
    "an amount that is no number": ({"amount": "NaN"}, "malformed_amount", MALFORMED),
    "more than there is": ({"amount": "1000.01"}, "insufficient_funds", REFUSED),
    "a currency without accounts": ({"currency": "EUR"}, "correspondent_missing", REFUSED),
    "a currency that is none": ({"currency": "ZZZ"}, "currency_unknown", REFUSED),
    "dollars by SEPA": ({"method": "SEPA"}, "wrong_currency", REFUSED),
    "too much for LOCAL_ACH": ({"method": "LOCAL_ACH", "amount": "1000000.01"}, "above_method_limit", REFUSED),
    "wrong check digits": ({"creditor": {"iban": "DE88370400440532013000"}}, "malformed_iban", MALFORMED),
    "an IBAN that is cut off": ({"debtor": {"iban": "DE8937040044053201300"}}, "malformed_iban", MALFORMED),
    "an IBAN of no country": ({"debtor": {"iban": "ZZ89370400440532013000"}}, "malformed_iban", MALFORMED),
    "an obligation that is settled": ({"obligation_id": "OBL-taken"}, "duplicate_obligation", CONFLICT),
    "an obligation without a name": ({"obligation_id": ""}, "malformed", MALFORMED),
}


def everything(owner_dsn: str) -> dict[str, int]:
    """Return how many rows each table of the house has, but for the journal, where a refusal leaves who asked for what."""
    with psycopg.connect(owner_dsn) as connection:
        found = connection.execute(
            "SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'book'"
            " WHERE c.relnamespace = 'clearhouse'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'journal'"
        ).fetchall()
        counted = (
            connection.execute(sql.SQL("SELECT count(*) FROM clearhouse.{}").format(sql.Identifier(name)))
            for (name,) in found
        )
        return {name: rows.fetchall()[0][0] for (name,), rows in zip(found, counted, strict=True)}


async def answered(line: Line, operator: Person, asked: dict[str, Any]) -> tuple[Status, set[str], set[str]]:
    """Return the statuses of a refusal, and every code and every sentence that it is told with: all three ways."""
    alone: httpx.Response = await operator.client.post("/api/v1/settlements", json=asked)
    batch = ok(await operator.client.post("/api/v1/settlements/batch", json=[asked]))["results"][0]["refused"]
    called, info, sentence = await refused(line, "ExecuteSettlement", execution(**asked))
    codes = {alone.json()["code"], batch["code"], info.reason}
    return (alone.status_code, called), codes, {alone.json()["detail"], batch["detail"], sentence}


async def test_what_is_wrong_has_one_code_and_one_sentence_by_every_way_and_leaves_nothing_behind(
    town: Town, line: Line, operator: Person, owner_dsn: str
) -> None:
    await town.execute("1.00", obligation_id="OBL-taken")
    before, otherwise = everything(owner_dsn), dict[str, Any]()
    for name, (change, code, status) in WRONG.items():
        told, codes, sentences = await answered(line, operator, {**obligation("OBL-w"), **change})
        one = len(sentences) == 1 or code == "malformed"  # its place in the body has another name in a batch
        if (told, codes, one, everything(owner_dsn)) != (status, {code}, True, before):
            otherwise[name] = told, codes, sentences
    assert otherwise == {}
    assert await town.funds() == {"vostro": ("1000.00", "1.00"), "nostro": ("1000.00", "1.00")}


async def test_of_a_batch_what_is_wrong_is_refused_alone(town: Town, operator: Person) -> None:
    asked = [{**obligation(f"OBL-b{place}"), **change} for place, (change, *_) in enumerate(WRONG.values())]
    good = [obligation("OBL-taken"), obligation("OBL-good")]
    answered = ok(await operator.client.post("/api/v1/settlements/batch", json=[good[0], *asked, good[1]]))["results"]
    assert [each["refused"]["code"] for each in answered[1:-1]] == [code for _, code, _ in WRONG.values()]
    assert ["refused" in answered[0], "refused" in answered[-1]] == [False, False]
    assert await town.funds() == {"vostro": ("1000.00", "2.00"), "nostro": ("1000.00", "2.00")}
