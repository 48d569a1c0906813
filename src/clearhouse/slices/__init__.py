"""Slices: one folder a product. They never meet here; they meet in accounts, events and `app`."""
