"""`clearhouse interbank …`: banks and their accounts, settlements, windows, and nostros compared with their banks."""

from cyclopts import App

from clearhouse.slices.interbank import accounts_cli, reports_cli, settlements_cli

app = App(name="interbank", help="Banks, their accounts, settlements between them, and nostros reconciled.")
for verbs in (accounts_cli.app, settlements_cli.app, reports_cli.app):
    app.update(verbs)
