"""Webhooks as a toolkit: where they may go, how they are signed, how one is sent, and the loop that sends what is due.

Promise: nothing is sent to an address that is not on the open internet, unless a setting names its network; a receiver that
is slow, dead or hostile costs the others nothing.
"""
