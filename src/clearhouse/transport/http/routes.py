"""Routes: the framework's decorators, each documented with every refusal that a route may answer."""

from functools import partial
from typing import Any

import litestar
from litestar.enums import RequestEncodingType
from litestar.openapi.spec import Example
from litestar.params import Body, BodyKwarg

from clearhouse.transport.http.problems import DOCUMENTED

get = partial(litestar.get, responses=DOCUMENTED)
post = partial(litestar.post, responses=DOCUMENTED)
put = partial(litestar.put, responses=DOCUMENTED)
patch = partial(litestar.patch, responses=DOCUMENTED)


def body(*examples: dict[str, Any]) -> BodyKwarg:
    """Return what makes a parameter the JSON body of its route, with examples."""
    return Body(media_type=RequestEncodingType.JSON, examples=[Example(value=each) for each in examples])
