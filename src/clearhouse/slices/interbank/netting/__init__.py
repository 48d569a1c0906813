"""Netting: obligations between banks are gathered in cycles, set off, and what is left is paid between their vostros.

Promise: an obligation lands in exactly one cycle that settles; a cycle settles whole or not at all; whoever pays has paid
before whoever gets is paid; every position is explained by the obligations that it comes of.
"""
