"""The journal: audit trail and outbox in one. Written in the transaction, numbered and chained a moment later.

Promise: nothing that was committed is missing, nothing can be altered, removed or put in between without the chain telling.
"""
