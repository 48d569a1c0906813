"""What every verb of this slice takes, as every other slice's does."""

from clearhouse.transport.cli.asked import ASKED, READING, Asked, Reading

__all__ = ["ASKED", "READING", "Asked", "Reading"]
