"""Clearhouse: a self-hosted settlement platform, five products on one exact, auditable ledger."""
