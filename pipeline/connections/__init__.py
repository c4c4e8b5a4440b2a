"""The HTTP server: an open port, connections, limits, and an end without a loss."""

from pipeline.connections.exchange import ARRIVED
from pipeline.connections.refused_requests import FAILURE, REFUSALS, refusal_log
from pipeline.connections.server import DEFAULT_PORT, serve

__all__ = [
    "ARRIVED",
    "DEFAULT_PORT",
    "FAILURE",
    "REFUSALS",
    "refusal_log",
    "serve",
]
