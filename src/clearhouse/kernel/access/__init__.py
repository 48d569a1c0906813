"""Access: who asks, and what they may do in which book.

Promise: nothing happens without a credential; identity never comes from a body; what is not yours looks as if it were not
there; keys are kept as digests and shown once.
"""
