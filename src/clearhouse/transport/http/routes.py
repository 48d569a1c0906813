"""Routes: the framework's decorators, each documented with every refusal that a route may answer."""

from functools import partial

import litestar

from clearhouse.transport.http.problems import DOCUMENTED

get = partial(litestar.get, responses=DOCUMENTED)
post = partial(litestar.post, responses=DOCUMENTED)
put = partial(litestar.put, responses=DOCUMENTED)
patch = partial(litestar.patch, responses=DOCUMENTED)
