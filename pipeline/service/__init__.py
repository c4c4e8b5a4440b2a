"""What is asked and answered: routes, estimates, documentation, metrics."""

from pipeline.service.answers import Readiness
from pipeline.service.application import (
    Example,
    add_endpoint,
    add_metrics,
    create_service,
)
from pipeline.service.estimate_metrics import EstimateMetrics
from pipeline.service.estimates import (
    ORDERS_PLACED,
    Estimate,
    ModelEstimates,
    Order,
    add_estimate,
    make_request_model,
)
from pipeline.service.json_response import JsonResponse
from pipeline.service.many_estimates import add_estimates

__all__ = [
    "Estimate",
    "EstimateMetrics",
    "Example",
    "JsonResponse",
    "ModelEstimates",
    "ORDERS_PLACED",
    "Order",
    "Readiness",
    "add_endpoint",
    "add_estimate",
    "add_estimates",
    "add_metrics",
    "create_service",
    "make_request_model",
]
