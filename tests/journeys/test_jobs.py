"""Jobs and schedules asked for what there is not: refused by a code, with nothing changed."""

from collections.abc import Mapping
from typing import Any

from house import House, ok, refused

NIGHTLY = {"name": "nightly", "cron": "0 3 * * *", "job": "ledger.close_day"}
BODIES: Mapping[str, list[tuple[dict[str, Any], int, str]]] = {
    "/api/v1/schedules": [
        (NIGHTLY | {"cron": "0 0 31 2 *"}, 422, "cron_never_fires"),
        (NIGHTLY | {"cron": "0 3 * *"}, 422, "cron_malformed"),
        (NIGHTLY | {"cron": "0 3 * * *\0"}, 422, "cron_malformed"),
        (NIGHTLY | {"cron": "\N{ARABIC-INDIC DIGIT THREE} * * * *"}, 422, "cron_malformed"),
        (NIGHTLY | {"zone": "Mars/Olympus"}, 422, "zone_unknown"),
        (NIGHTLY | {"zone": "../etc/passwd"}, 422, "zone_unknown"),
        (NIGHTLY | {"job": "nobody.knows"}, 422, "job_unknown"),
        (NIGHTLY | {"arguments": {"day": "2026-01-01"}}, 400, "malformed"),
        (NIGHTLY | {"arguments": []}, 400, "malformed"),
        (NIGHTLY | {"name": "a b"}, 400, "malformed"),
        (NIGHTLY | {"name": "a\n"}, 400, "malformed"),
    ],
    "/api/v1/schedules/%00/run": [({}, 404, "schedule_not_found")],
    "/api/v1/schedules/nowhere/pause": [({}, 404, "schedule_not_found")],
    "/api/v1/jobs/nobody.knows/retry": [({}, 404, "stage_unknown")],
    "/api/v1/jobs/schedules.run/retry": [
        ({"ids": ["x"]}, 400, "malformed"),
        ({"ids": ["fir_\0"]}, 400, "malformed"),
        ({"ids": "all"}, 400, "malformed"),
    ],
}
ADDRESSES: Mapping[str, tuple[int, str]] = {
    "/api/v1/schedules/%00": (404, "schedule_not_found"),
    "/api/v1/schedules?cursor=%00": (404, "schedule_not_found"),
    "/api/v1/jobs/%00/aside": (404, "stage_unknown"),
    "/api/v1/jobs/schedules.run/aside?cursor=%00": (400, "malformed_id"),
}


async def test_a_bad_body_is_refused_by_its_code_and_changes_nothing(house: House) -> None:
    operator = await house.caller("operator")
    for path, cases in BODIES.items():
        for body, status, code in cases:
            assert refused(await operator.post(path, json=body), status) == code, (path, body)
    assert ok(await operator.get("/api/v1/schedules"))["items"] == []


async def test_a_bad_address_is_refused_by_its_code(house: House) -> None:
    operator = await house.caller("operator")
    for path, (status, code) in ADDRESSES.items():
        assert refused(await operator.get(path), status) == code, path
