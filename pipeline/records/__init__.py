"""What a run of training leaves: its record in the bucket, and word of it to people."""

from pipeline.records.channels import ALERT_URLS, REPORT_URLS, send
from pipeline.records.facts import (
    describe_challenge,
    describe_champion,
    describe_drift,
    describe_examined,
    describe_found,
    describe_metrics,
    describe_model,
)
from pipeline.records.message import compose_title
from pipeline.records.record import (
    ColumnDrift,
    Delivery,
    Metrics,
    ModelComparison,
    ModelInService,
    NewModel,
    Outcome,
    RunRecord,
    Scores,
    SetAsideRow,
    Thresholds,
)
from pipeline.records.recorder import Recorder, recording
from pipeline.records.storage import (
    StoredRecord,
    add_record,
    name_page,
    read_records,
    tell_address,
)

__all__ = [
    "ALERT_URLS",
    "ColumnDrift",
    "Delivery",
    "Metrics",
    "ModelComparison",
    "ModelInService",
    "NewModel",
    "Outcome",
    "REPORT_URLS",
    "Recorder",
    "RunRecord",
    "Scores",
    "SetAsideRow",
    "StoredRecord",
    "Thresholds",
    "add_record",
    "compose_title",
    "describe_challenge",
    "describe_champion",
    "describe_drift",
    "describe_examined",
    "describe_found",
    "describe_metrics",
    "describe_model",
    "name_page",
    "read_records",
    "recording",
    "send",
    "tell_address",
]
