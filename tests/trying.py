"""How hard a law is tried: quickly in CI, long in the soak (by hand with `--timeout 3600`, as `make soak` has it)."""

import os

from hypothesis import HealthCheck, settings

SOAK = "CLEARHOUSE_SOAK" in os.environ


def tried(few: int, *, many: int, steps: int = 50) -> settings:
    """Return how often a law is tried in CI and in the soak; a machine that is busy elsewhere is no failure."""
    slow = [HealthCheck.too_slow]
    return settings(deadline=None, max_examples=many if SOAK else few, stateful_step_count=steps, suppress_health_check=slow)


law = tried(100, many=20_000)
