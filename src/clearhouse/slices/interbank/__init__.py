"""Interbank: settlements between banks over correspondents. Money leaves a nostro once, and only the bank can say when."""
