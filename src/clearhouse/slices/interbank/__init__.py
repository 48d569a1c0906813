"""Interbank: settlements between banks over our nostros and their vostros, atomic, recoverable, reconciled.

Promise: nobody is paid twice; money that may be on its way stays locked until the bank has said what became of it; both
sides of a settlement are booked together; every step leaves its time.
"""
