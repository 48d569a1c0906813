"""The kernel: what every product stands on. It knows no product and no web.

Floors, top to bottom: reconciliation, pipelines, approvals, commands, ledger, calendars and access, journal, db.
A floor imports only from those below it.
"""
