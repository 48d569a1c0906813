"""The OpenAPI document is true: what it allows is answered as it says, what it forbids is refused; nothing is a fault."""

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.definitions import OPENAPI_31

from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db.database import Database
from house import House, client, ok
from trying import SOAK

EXAMPLES = 300 if SOAK else 6
VERBS = {"get", "post", "put", "patch", "delete"}
BATCHES = {
    *(f"POST /api/v1/ledger/{name}/batch" for name in ("accounts", "transactions")),
    *(f"POST /api/v1/{name}/batch" for name in ("settlements", "netting/obligations")),
    *(f"POST /api/v1/approvals/batch/{word}" for word in ("approve", "reject", "withdraw")),
}
# A schema does not know which accounts, names and days there are: what is well formed may still be refused.
BEYOND_A_SCHEMA = "positive_data_acceptance"
# An item of a batch is refused by itself: the batch is answered with 200, and says so in its place.
BY_THE_ITEM = "negative_data_rejection"


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    """Send a generated body as one line."""
    return msgspec.json.encode(value) + b"\n"


class Served:
    """A house behind ASGI's lifespan: opened and closed in the loop of whoever asks it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.stack = AsyncExitStack()
        self.key = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.house.entrance(scope, receive, send)
            return
        await receive()
        await self.open()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stack.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def open(self) -> None:
        """Open a house with somebody who has every role, and with the accounts that the examples speak of."""
        database = await Database.open(self.dsn)
        self.stack.push_async_callback(database.close)
        admin = await bootstrap.ensure_admin(database)
        self.house = await self.stack.enter_async_context(House.opened(database, str(admin)))
        caller = await self.house.caller("viewer", "operator", "approver", "auditor", "admin", name="the caller")
        self.key = caller.headers["Authorization"]
        await self.house.open_accounts(caller, "customer:7", "revenue")


@pytest.fixture
def served(app_dsn: str) -> Iterator[Served]:
    yield Served(app_dsn)
    shutdown_lifespans()


@pytest.fixture
async def document(house: House) -> dict[str, Any]:
    return ok(await house.admin.get("/openapi.json"))


def configuration(key: str) -> SchemathesisConfig:
    """Return what is tried: every phase, with one seed, so that it is the same each time."""
    checks = {BEYOND_A_SCHEMA: {"enabled": False}}
    generation = {"max-examples": EXAMPLES, "no-shrink": not SOAK, "database": "none"}
    batches = [{"include-name": name, "checks": {BY_THE_ITEM: {"enabled": False}}} for name in sorted(BATCHES)]
    given: dict[str, Any] = {
        "operations": batches,
        "seed": 4711,
        "continue-on-failure": True,
        "headers": {"Authorization": key},
    }
    return SchemathesisConfig.from_dict(given | {"checks": checks, "generation": generation})


def failures(scenario: ScenarioFinished) -> Iterator[str]:
    """Give the checks that failed, each with the request that it failed for."""
    for checks in scenario.recorder.checks.values():
        for check in checks:
            if check.status is Status.FAILURE and check.failure_info is not None:
                yield f"{check.name}: {check.failure_info.failure.message}\n{check.failure_info.code_sample}"


def labels(scenario: ScenarioFinished) -> set[str]:
    """Return the operations that a scenario asked."""
    cases: Any = scenario.recorder.cases
    return {str(each.value.operation.label) for each in cases.values()}


@pytest.mark.timeout(3_600 if SOAK else 180)
def test_every_operation_answers_as_its_document_says_whatever_comes_in(served: Served) -> None:
    schemathesis.openapi.from_asgi("/openapi.json", served)  # opens the house, and with it comes the key
    schema = schemathesis.openapi.from_asgi("/openapi.json", served, config=configuration(served.key))
    wrong: set[str] = set()
    tried: set[str] = set()
    for event in from_schema(schema).execute():
        if isinstance(event, ScenarioFinished):
            wrong.update(failures(event))
            tried.update(labels(event))
        elif isinstance(event, NonFatalError | FatalError):
            wrong.add(repr(event))
    assert "\n\n".join(sorted(wrong)) == ""
    assert tried == set(operations(schema.raw_schema))


# The document --------------------------------------------------------------------------------------------------------


def operations(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    paths = document["paths"].items()
    return {f"{verb.upper()} {path}": its[verb] for path, its in paths for verb in its if verb in VERBS}


def examples(content: Mapping[str, Any]) -> list[Any]:
    """Return the examples of a body, wherever they stand."""
    named = [each["value"] for each in content.get("examples", {}).values()]
    return named + list(content.get("schema", {}).get("examples", []))


def bodies(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the JSON body of every operation that has one."""
    found = {name: each.get("requestBody", {}).get("content", {}) for name, each in operations(document).items()}
    return {name: content["application/json"] for name, content in found.items() if "application/json" in content}


async def test_the_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    jsonschema_rs.validator_for(OPENAPI_31).validate(document)
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


async def test_every_operation_has_a_summary_an_identifier_and_a_tag(document: dict[str, Any]) -> None:
    found = operations(document)
    assert {
        name for name, each in found.items() if not all(each.get(key) for key in ("summary", "tags", "description"))
    } == set()
    assert len({each["operationId"] for each in found.values()}) == len(found)


async def test_every_operation_that_takes_a_body_says_which(document: dict[str, Any]) -> None:
    assert BATCHES - set(bodies(document)) == set()


async def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    assert {name for name, content in bodies(document).items() if not examples(content)} == set()


async def test_every_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    for content in bodies(document).values():
        validator = jsonschema_rs.validator_for({**content["schema"], "components": document["components"]})
        for example in examples(content):
            validator.validate(example)


async def test_every_refusal_of_the_document_is_a_problem(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        refusals = {status: each for status, each in operation["responses"].items() if status >= "400"}
        assert {"400", "401", "403", "404", "405", "413", "415", "422", "429", "503"} <= set(refusals)
        assert {media for each in refusals.values() for media in each["content"]} == {"application/problem+json"}


async def test_the_document_and_its_page_are_for_everybody_and_ask_for_nothing_from_elsewhere(house: House) -> None:
    stranger: httpx.AsyncClient = client(house.entrance, "")
    page = await stranger.get("/docs")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    for name in operations(ok(await stranger.get("/openapi.json"))):
        assert f"<code>{name.partition(' ')[2]}</code>" in page.text
    assert "<script" not in page.text
    assert 'src="' not in page.text
