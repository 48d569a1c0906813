"""Cuts: the moments that split a stream of writes. Every write lands on exactly one side, and nobody waits for the sums."""
