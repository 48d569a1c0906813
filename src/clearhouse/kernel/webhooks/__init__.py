"""Webhooks: endpoints with their secrets, and a delivery for every event that an endpoint wants.

Promise: an enabled endpoint has exactly one delivery of each event it asked for, whoever crashes; one that is not taken is
tried for three days and then kept as dead, until somebody replays it.
"""
