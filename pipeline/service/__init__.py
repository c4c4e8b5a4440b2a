"""HTTP: requests and answers, limits, shutdown, documentation."""

from pipeline.service.application import add_endpoint, create_service
from pipeline.service.estimates import Estimate, EstimateRequest
from pipeline.service.server import DEFAULT_PORT, serve

__all__ = [
    "DEFAULT_PORT",
    "Estimate",
    "EstimateRequest",
    "add_endpoint",
    "create_service",
    "serve",
]
