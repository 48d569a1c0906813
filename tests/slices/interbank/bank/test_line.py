"""The line to a bank: what never left, what was not answered and what was not taken are three different things."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from clearhouse.app.bank import CertificateNeeded, Security
from clearhouse.kernel.db.database import Database
from clearhouse.slices.interbank.bank.client import HttpBank, Line, LineUnprotected, LineUnreadable
from clearhouse.slices.interbank.bank.control import OpenAccount
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.channel import NoAnswer, NotSent, NotTaken, Said, State
from correspondent import KEY, NOSTRO, correspondent, order, serving

HANGS_UP = b""
OURS = {"authorization": f"Bearer {KEY}"}
UNREADABLE = [
    ("/orders", b"{"),
    ("/orders", b"[{}]"),
    ("/orders", b'[{"id": 7}]'),
    ("/orders", b"\xff"),
    ("/orders/ask", b'["x"]'),
    ("/control/lie", b'[{"fault": "kind"}]'),
    ("/control/lie", b'[{"fault": "refuse", "share": 2}]'),
    ("/control/fund", b'{"account": "a", "amount": 1.5}'),
]
OTHERS = json.dumps([{"id": str(order().id), "said": "accepted"}]).encode()


@asynccontextmanager
async def somebody(answer: bytes | None) -> AsyncGenerator[str]:
    """Listen, read one request, and answer with these bytes, or never."""
    ended = asyncio.Event()

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await ended.wait()
        writer.write(answer or b"")
        writer.close()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ended.set()


def said(status: int, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (HANGS_UP, NoAnswer),
        (None, NoAnswer),
        (said(200, b"[{"), NoAnswer),
        (said(200, b'[{"id": "none"}]'), NoAnswer),
        (said(200, b"[]")[:-3], NoAnswer),
        (said(302), NoAnswer),
        (said(408), NoAnswer),
        (said(500, b"oops"), NoAnswer),
        (said(502), NoAnswer),
        (said(503), NoAnswer),
        (said(503, b'{"code": "bank_not_reached"}'), NotSent),
        (said(400, b'{"detail": "what?"}'), NotTaken),
        (said(413), NotTaken),
    ],
)
async def test_only_what_the_bank_says_it_did_not_take_was_not_taken(answer: bytes | None, raised: type[Exception]) -> None:
    async with somebody(answer) as url, HttpBank(Line(url, KEY, seconds_max=10 if answer is not None else 0.05)) as bank:
        with pytest.raises((NotSent, NoAnswer, NotTaken)) as failure:
            await bank.send([order()])
    assert failure.type is raised, failure.value


async def test_an_answer_about_another_order_is_silence_about_ours() -> None:
    async with somebody(said(200, OTHERS)) as url, HttpBank(Line(url, KEY)) as bank:
        assert [each.said for each in await bank.send([order(), order()])] == [Said.SILENT, Said.SILENT]


async def test_where_nobody_listens_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with HttpBank(Line(url, KEY)) as bank:
        with pytest.raises(NotSent, match="nothing was sent"):
            await bank.send([order()])


async def test_a_bank_that_answers_too_late_may_have_paid(shared_database: Database, book: int) -> None:
    bank, one = SimulatedBank(shared_database, book=book), order()
    await bank.control.open([OpenAccount(NOSTRO, "USD", "1000.00")])
    async with serving(bank) as url, HttpBank(Line(url, KEY, seconds_max=0.2)) as hurried:
        await bank.control.set_latency(3_600)
        with pytest.raises(NoAnswer):
            await hurried.send([one])
        await bank.control.set_latency(0)
        async with asyncio.timeout(60):
            while (await bank.ask([one.id]))[0].state is not State.CONFIRMED:
                pass


async def test_whoever_has_no_key_is_told_nothing_and_moves_nothing(shared_database: Database, book: int) -> None:
    bank = SimulatedBank(shared_database, book=book)
    async with serving(bank) as url, HttpBank(Line(url, "another")) as stranger:
        with pytest.raises(NotTaken, match="401"):
            await stranger.send([order()])
        with pytest.raises(NotTaken, match="401"):
            await stranger.control.lie(Lie(Fault.DOWN))
        async with httpx.AsyncClient(base_url=url, timeout=60) as nobody:
            assert (await nobody.get("/health")).json() == {"status": "ok"}
            assert (await nobody.get("/news")).status_code == 401


async def test_what_cannot_be_read_is_refused_whole(shared_database: Database, book: int) -> None:
    async with correspondent(shared_database, http=False, book=book) as bank:
        assert isinstance(bank.channel, SimulatedBank)
        async with serving(bank.channel) as url, httpx.AsyncClient(base_url=url, headers=OURS, timeout=60) as client:
            for path, body in UNREADABLE:
                answer = await client.post(path, content=body)
                assert (path, body, answer.status_code, answer.json()["code"]) == (path, body, 400, "malformed")
            assert (await client.post("/control/rob", content=b"null")).status_code == 404
            assert (await client.get("/statement", params={"account": NOSTRO, "since": "today"})).status_code == 400
        assert await bank.holds() == ("1000.00", "0.00")


# Who it is -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def kept(folder: Path, name: str, blobs: list[trustme.Blob]) -> Path:
    path = folder / name
    path.write_bytes(b"".join(each.bytes() for each in blobs))
    return path


async def test_with_mutual_tls_only_a_client_of_the_authority_is_let_in(
    shared_database: Database, book: int, authority: trustme.CA, tmp_path: Path
) -> None:
    root = kept(tmp_path, "authority.pem", [authority.cert_pem])
    ours, theirs, strangers = authority.issue_cert("us"), authority.issue_cert("127.0.0.1"), trustme.CA().issue_cert("us")
    shown, other = (
        kept(tmp_path, f"{name}.pem", [one.private_key_pem, *one.cert_chain_pems])
        for name, one in (("ours", ours), ("strangers", strangers))
    )
    bank_key = kept(tmp_path, "bank.key", [theirs.private_key_pem])
    bank_certificate = kept(tmp_path, "bank.pem", theirs.cert_chain_pems)
    bank, one = SimulatedBank(shared_database, book=book), order()
    await bank.control.open([OpenAccount(NOSTRO, "USD", "1000.00")])
    async with serving(bank, Security(bank_certificate, bank_key, root)) as url:
        for certificate in (None, other):
            async with HttpBank(Line(url, KEY, authority=root, certificate=certificate)) as stranger:
                with pytest.raises((NotSent, NoAnswer)):
                    await stranger.send([one])
        async with HttpBank(Line(url, KEY, certificate=shown)) as distrustful:
            with pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
                await distrustful.send([one])
        assert (await bank.ask([one.id]))[0].state is State.UNKNOWN
        async with HttpBank(Line(url, KEY, authority=root, certificate=shown)) as client:
            assert [each.said for each in await client.send([one])] == [Said.ACCEPTED]


def test_a_bank_without_a_certificate_does_not_pretend_to_know_its_clients(tmp_path: Path) -> None:
    with pytest.raises(CertificateNeeded, match="BANK_CERTIFICATE"):
        Security(clients=tmp_path)


@pytest.mark.parametrize("given", ["authority", "certificate", "private_key"])
def test_certificates_for_a_line_that_is_in_the_clear_are_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(LineUnprotected, match="https"):
        Line("http://bank.test", KEY, **{given: tmp_path})  # type: ignore[arg-type] - each of them is a path


def test_a_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LineUnprotected, match="no certificate"):
        Line("https://bank.test", KEY, private_key=tmp_path)


def test_a_file_that_is_not_there_or_is_no_certificate_is_told_by_its_path(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for path in (wrong, tmp_path / "nowhere.pem"):
        with pytest.raises(LineUnreadable, match=path.name):
            Line("https://bank.test", KEY, authority=path).trust()
        with pytest.raises(LineUnreadable, match=path.name):
            Line("https://bank.test", KEY, certificate=path).trust()
