"""A dead letter for tests that need one: a message that nobody understood."""

from clearhouse import clock, ids
from clearhouse.app.inbox import subscriptions
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.inbox import dead
from clearhouse.kernel.inbox.dead import Dead, State
from clearhouse.kernel.inbox.messages import Message, NotUnderstood


async def left(database: Database, book: str = "main", number: int = 1) -> str:
    """Leave a dead letter in a book, and return its id."""
    subscription = subscriptions(f"ledger.post@nats:payments?as=nobody&book={book}")[0]
    message = Message(str(ids.fresh()), "test", b"")
    async with database.writing(book=number) as tx:
        await dead.bury(tx, subscription, [Dead(message, NotUnderstood(problem="it is empty"))], clock.now())
    async with database.reading([number]) as tx:
        found = await dead.letters(tx, state=State.WAITING)
    return next(each.id for each in found if each.message == message.id)
