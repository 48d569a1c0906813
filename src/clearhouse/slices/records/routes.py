"""Where this slice stands: at the path of its contract, and what is refused there under the codes of its contract."""

from litestar import Router

from clearhouse.slices.records import disputes_http, http
from clearhouse.slices.records.problems import coded

router = Router(
    "/settlement",
    route_handlers=[*http.HANDLERS, *disputes_http.HANDLERS],
    tags=["records"],
    opt={"rooted": True, "dialect": coded},
)
