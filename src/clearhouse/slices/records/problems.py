"""Problems of this slice: the house's documents under the three codes of the contract, with our own code as the reason.

SETTLE-00 the service is down, SETTLE-01 something could not be parsed, SETTLE-02 everything else. Who may not
do this is told so as everywhere in the house.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response

from clearhouse.transport.http.problems import ANSWERS

DOWN, UNPARSABLE, OTHER = "SETTLE-00", "SETTLE-01", "SETTLE-02"
CODES: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: UNPARSABLE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: UNPARSABLE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: UNPARSABLE,
    HTTPStatus.SERVICE_UNAVAILABLE: DOWN,
    HTTPStatus.INTERNAL_SERVER_ERROR: DOWN,
}
NOT_OURS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
Answer = Callable[..., Response[bytes]]


def _coded(answer: Answer) -> Answer:
    def coded(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        made = answer(request, error)
        if made.status_code in NOT_OURS:
            return made
        problem = msgspec.json.decode(made.content, type=dict[str, Any])
        code = CODES.get(made.status_code or HTTPStatus.BAD_REQUEST, OTHER)
        problem |= {"code": code, "reason": problem["code"], "message": problem["detail"]}
        made.content = msgspec.json.encode(problem)
        return made

    return coded


CODED: dict[type[Exception] | int, Answer] = {kind: _coded(answer) for kind, answer in ANSWERS.items()}
