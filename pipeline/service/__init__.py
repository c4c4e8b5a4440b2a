"""HTTP: requests and answers, limits, shutdown, documentation, metrics."""

from pipeline.service.answers import Readiness
from pipeline.service.application import add_endpoint, add_metrics, create_service
from pipeline.service.estimate_metrics import EstimateMetrics
from pipeline.service.estimates import (
    ORDERS_PLACED,
    Estimate,
    ModelEstimates,
    Order,
    make_request_model,
)
from pipeline.service.server import DEFAULT_PORT, serve

__all__ = [
    "DEFAULT_PORT",
    "Estimate",
    "EstimateMetrics",
    "ModelEstimates",
    "ORDERS_PLACED",
    "Order",
    "Readiness",
    "add_endpoint",
    "add_metrics",
    "create_service",
    "make_request_model",
    "serve",
]
