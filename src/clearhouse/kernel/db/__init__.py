"""The database floor, and the only importer of the driver: a server of our own, pools, named SQL, migrations, backups."""
