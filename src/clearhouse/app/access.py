"""`clearhouse access …`: the slice's verbs, and the one that needs the machine of the database."""

from clearhouse.slices.operations.access_cli import app

app.command("clearhouse.app.verbs:recover", help="Make a new administrator's key when the last one is lost; it is audited.")
