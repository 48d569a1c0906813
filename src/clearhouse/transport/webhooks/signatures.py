"""Signatures as Standard Webhooks has them: a receiver checks them with any of its libraries.

Promise: while a secret is being replaced there is a signature by each of both, so the receiver changes over when it likes.
"""

from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook


def signed(message: str, body: str, *, secrets: Sequence[str], at: datetime) -> dict[str, str]:
    """Return the headers of a message, with one signature for each secret."""
    signatures = [Webhook(each).sign(message, at, body) for each in secrets]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
