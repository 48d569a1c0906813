"""Problems of this slice: the house's documents under the three codes of the contract, with our own code as the reason.

SETTLE-00 the service is down, SETTLE-01 something could not be parsed, SETTLE-02 everything else. Who may not
do this is told so as everywhere in the house.
"""

from http import HTTPStatus
from typing import Any

DOWN, UNPARSABLE, OTHER = "SETTLE-00", "SETTLE-01", "SETTLE-02"
CODES: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: UNPARSABLE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: UNPARSABLE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: UNPARSABLE,
    HTTPStatus.SERVICE_UNAVAILABLE: DOWN,
    HTTPStatus.INTERNAL_SERVER_ERROR: DOWN,
}
NOT_OURS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})


def coded(problem: dict[str, Any]) -> dict[str, Any]:
    """Put a problem into the words of the contract."""
    if problem["status"] in NOT_OURS:
        return problem
    code = CODES.get(problem["status"], OTHER)
    return problem | {"code": code, "reason": problem["code"], "message": problem["detail"]}
