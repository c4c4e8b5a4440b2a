"""What may pass: a delivery, a model, a challenger."""

from pipeline.gates.champion import (
    challenge_champion,
    compare_deliveries,
    get_champion,
    warn_if_nothing_new,
)
from pipeline.gates.comparison import compare_errors
from pipeline.gates.delivery import check_delivery
from pipeline.gates.model_logic import count_falls, find_model_faults

__all__ = [
    "challenge_champion",
    "check_delivery",
    "compare_deliveries",
    "compare_errors",
    "count_falls",
    "find_model_faults",
    "get_champion",
    "warn_if_nothing_new",
]
