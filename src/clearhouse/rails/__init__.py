"""Rails: what payment systems write, read to the letter. Pure: no database, no network, and no word of who asks."""
