"""`clearhouse inbox …`: messages from outside that had no effect, and what becomes of them."""

from typing import Annotated

from cyclopts import App, Parameter

from clearhouse.kernel.inbox.dead import State
from clearhouse.slices.operations.asked import ASKED, READING, Asked, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import show, show_all

DEAD = "/api/v1/inbox/dead"
COLUMNS = ("id", "subscription", "message", "code", "reason", "state", "dead_at")
Remark = Annotated[str, Parameter(help="Why, if you want to say.")]
app = App(name="inbox", help="Messages from outside that had no effect.")


@app.command(name="dead")
def list_letters(*, state: State | None = None, limit: Most = 100, how: Reading = READING) -> None:
    """List messages that had no effect, newest first."""
    query = {} if state is None else {"state": state.value}
    show_all(server().items(DEAD, most=limit, book=how.book, **query), COLUMNS, json=how.json)


@app.command(name="show")
def show_letter(letter: str, *, how: Reading = READING) -> None:
    """Show a message that had no effect, and why."""
    show(server().get(f"{DEAD}/{segment(letter)}", book=how.book), json=how.json)


@app.command
def replay(letter: str, *, remark: Remark = "", how: Asked = ASKED) -> None:
    """Let a message be tried again, a moment later."""
    _say("replay", letter, remark, how)


@app.command
def dismiss(letter: str, *, remark: Remark = "", how: Asked = ASKED) -> None:
    """Let a message be: nobody has to look at it any more."""
    _say("dismiss", letter, remark, how)


def _say(word: str, letter: str, remark: str, how: Asked) -> None:
    show(server().post(f"{DEAD}/{segment(letter)}/{word}", {"remark": remark}, key=how.key, book=how.book), json=how.json)
