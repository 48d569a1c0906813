"""gRPC: the server that lets callers in call by call, deadlines, refusals with their code in the details.

Promise: nothing but the health answers without a credential; a refusal has the same code and sentence as over HTTP.
"""
