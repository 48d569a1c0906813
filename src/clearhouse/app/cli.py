"""The command line: which verbs there are. Each is imported when it is asked for, so that asking a server is quick."""

import sys
from collections.abc import Sequence

from cyclopts import App, Group

from clearhouse.refusals import Refusal
from clearhouse.transport.cli.client import Refused

REFUSED = 2
RUN = Group("Run", sort_key=0)
DATA = Group("Data", sort_key=1)
ASK = Group("Ask a server (CLEARHOUSE_URL, CLEARHOUSE_KEY)", sort_key=2)
MEASURE = Group("Measure", sort_key=3)
HERE = "clearhouse.app"
THERE = "clearhouse.slices.operations"
# Where a verb is, what it is called, where it stands, and what it does, in a sentence.
VERBS = (
    (f"{HERE}.verbs:run", "run", RUN, "Run everything in one process: the database, the API and the worker."),
    (f"{HERE}.verbs:api", "api", RUN, "Run only the API, beside workers elsewhere; they share DATABASE_URL."),
    (f"{HERE}.verbs:worker", "worker", RUN, "Run only the worker, beside APIs elsewhere; they share DATABASE_URL."),
    (f"{HERE}.bank:bank", "bank", RUN, "Run the simulated bank as a server of its own, for tests and demonstrations."),
    (f"{HERE}.verbs:migrate", "migrate", DATA, "Bring the schema up to date, and say what was missing."),
    (f"{HERE}.verbs:backup", "backup", DATA, "Back up, while the server runs or not."),
    (f"{HERE}.verbs:restore", "restore", DATA, "Restore a backup into what is empty."),
    (f"{THERE}.ledger_cli:app", "ledger", ASK, "Accounts, transactions, holds, balances, statements, days."),
    (f"{THERE}.audit_cli:app", "audit", ASK, "Read, export and verify the audit trail."),
    (f"{HERE}.access:app", "access", ASK, "Who may do what, and keys."),
    (f"{THERE}.approvals_cli:app", "approvals", ASK, "What waits for you, and who releases what."),
    (f"{THERE}.reconciliation_cli:app", "reconciliation", ASK, "Two sides reconciled, and what is left over."),
    (f"{THERE}.calendars_cli:app", "calendars", ASK, "Business days, hours and cut-offs."),
    ("clearhouse.slices.records.cli:app", "records", ASK, "Count anything by key, and settle it in rounds."),
    ("clearhouse.slices.interbank.netting.cli:app", "netting", ASK, "What banks owe each other, set off and settled."),
    ("clearhouse.slices.interbank.cli:app", "interbank", ASK, "Banks, their accounts, and settlements between them."),
    (f"{THERE}.events_cli:app", "events", ASK, "What happened, and what is happening."),
    (f"{THERE}.webhooks_cli:app", "webhooks", ASK, "Where events go, and what became of each."),
    (f"{THERE}.inbox_cli:app", "inbox", ASK, "Messages from outside that had no effect."),
    (f"{THERE}.jobs_cli:app", "jobs", ASK, "What happens by itself, and what of it waits."),
    (f"{THERE}.schedules_cli:app", "schedules", ASK, "What happens by the clock."),
    (f"{HERE}.bench.verbs:app", "bench", MEASURE, "Measure, as ratios to references in the same run."),
)
app = App(name="clearhouse", help="Clearhouse: a settlement platform that you run yourself.")
for place, name, group, sentence in VERBS:
    app.command(place, name=name, group=group, help=sentence)


def main(words: Sequence[str] | None = None) -> None:
    """Run a verb; a refusal is a sentence and exit code 2."""
    try:
        app(sys.argv[1:] if words is None else words)
    except (Refusal, Refused) as refusal:
        sys.stderr.write(f"clearhouse: {refusal} [{refusal.code}]\n")
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
