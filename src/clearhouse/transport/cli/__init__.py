"""The command line as a client: asks a server over HTTP, shows tables and progress to people and JSON to machines."""
