"""The whole program on a bus: a message comes in, money moves, and the event of it goes out."""

import asyncio
import json
import tempfile
from contextlib import suppress
from pathlib import Path

import httpx
import nats
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError

from brokers import nats_server
from house import movement, transaction
from serving import Program, program

INBOX = "ledger.post@nats:payments?as=gateway"


@pytest.fixture
def place(open_folder: Path) -> Path:
    """Give a folder that the server's system user can reach."""
    made = Path(tempfile.mkdtemp(prefix="bus-", dir=open_folder))
    made.chmod(0o711)
    return made


def prepared(started: Program) -> None:
    """Open two accounts, and let the service be known that messages act as."""
    admin = started.after("admin.key): ")
    with httpx.Client(base_url=f"{started.url}/api/v1", headers={"Authorization": f"Bearer {admin}"}, timeout=60) as asking:
        body = {"name": "gateway", "roles": ["operator"], "kind": "service"}
        gateway = asking.post("/access/principals", json=body).raise_for_status().json()["id"]
        key = asking.post(f"/access/principals/{gateway}/keys", json={}).raise_for_status().json()["secret"]
        for code in ("shop", "revenue"):
            account = {"code": code, "asset": "USD"}
            headers = {"Authorization": f"Bearer {key}"}
            asking.post("/ledger/accounts", json=account, headers=headers).raise_for_status()


async def stored(stream: JetStreamContext, body: bytes) -> None:
    """Publish a message as soon as there is a stream that stores it."""
    for _ in range(600):
        with suppress(NoStreamResponseError):
            await stream.publish("payments", body)
            return
        await asyncio.sleep(0.1)


async def test_a_message_moves_money_and_the_event_of_it_goes_out(place: Path, tmp_path: Path) -> None:
    with nats_server(tmp_path) as server, program(place / "data", NATS_URL=server.url, INBOX=INBOX) as started:
        await asyncio.to_thread(lambda: prepared(started.ready()))
        client = await nats.connect(server.url)
        events = await client.subscribe("clearhouse.main.ledger.posted")
        paid = transaction(movement("shop", "revenue", "7.00"), external_reference="order 12")
        await asyncio.wait_for(stored(client.jetstream(), json.dumps(paid).encode()), 60)
        event = json.loads((await events.next_msg(timeout=60)).data)
        await client.close()
    assert event["source"] == "/books/main"
    assert event["data"]["command"]["external_reference"] == "order 12"
