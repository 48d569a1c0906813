"""The composition root: settings, the server, the worker, the command line. Only here are doors opened."""
