"""The one door for every write: whatever came over whatever wire is handed to `submit` as a frozen command."""
