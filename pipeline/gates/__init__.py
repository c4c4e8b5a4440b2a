"""What may pass: a delivery, a model, a challenger."""

from pipeline.gates.challenge import Challenge, Verdict, challenge_champion
from pipeline.gates.comparison import CONFIDENCE_LEVEL, LARGE_LOSS, compare_errors
from pipeline.gates.delivery import DeliveryRefused, check_delivery, name_of_lines
from pipeline.gates.drift import KEPT, Drift, measure_drift, summarize_drift
from pipeline.gates.examination import Examined, examine_delivery, list_codes
from pipeline.gates.known_weeks import find_known
from pipeline.gates.model_logic import ModelRefused, count_falls, find_model_faults
from pipeline.gates.recognition import (
    UnreadableDelivery,
    find_delivery,
    is_named_as_delivery,
    read_delivery,
)
from pipeline.gates.training_rows import TRAINING_ROWS, find_unseen, write_training_rows

__all__ = [
    "CONFIDENCE_LEVEL",
    "Challenge",
    "DeliveryRefused",
    "Drift",
    "Examined",
    "KEPT",
    "LARGE_LOSS",
    "ModelRefused",
    "Verdict",
    "TRAINING_ROWS",
    "UnreadableDelivery",
    "challenge_champion",
    "check_delivery",
    "compare_errors",
    "count_falls",
    "examine_delivery",
    "find_delivery",
    "find_known",
    "find_model_faults",
    "find_unseen",
    "is_named_as_delivery",
    "list_codes",
    "measure_drift",
    "name_of_lines",
    "read_delivery",
    "summarize_drift",
    "write_training_rows",
]
