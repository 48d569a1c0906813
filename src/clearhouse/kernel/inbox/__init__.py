"""What comes in from a bus: each message becomes one command, and its effect happens once.

Promise: the message's id is kept with the effect, in one transaction; whoever brought it may forget it only after that; what
cannot be understood is put aside with its reason, and never lost silently.
"""
