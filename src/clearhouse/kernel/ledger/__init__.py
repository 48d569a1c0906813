"""The ledger: accounts with four counters and limits, transfers that never change, holds, balances at any time.

Promise: every transaction sums to zero per asset and happens whole or not at all; replaying the transfers gives exactly the
stored balances; nothing is ever posted twice.
"""
