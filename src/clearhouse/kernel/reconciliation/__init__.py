"""Reconciliation: two sides of items, rules that match them in order, and a life for what is left over.

Promise: an item is part of one match at a time; what is matched and what is open add up to what was given, per side and
asset; a run over the same items by the same rules finds the same; a difference is posted or refused, never dropped.
"""
