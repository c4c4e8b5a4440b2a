"""Which runs people are told of, and in which words."""

from pipeline.records.record import ColumnDrift, Outcome, RunRecord

# The reason of a run that a signal has ended. Whoever sent it starts another, or tells.
INTERRUPTED = "It was ended by a signal."


def compose_title(record: RunRecord, previous: RunRecord | None) -> str:
    """The title of the message that a run is worth; "" if it is worth none.

    Args:
        previous: The last run before it that published, was refused, or failed.
    """
    match record.outcome:
        case Outcome.REFUSED | Outcome.FAILED if record.reason != INTERRUPTED:
            return f"{record.pipeline}: {record.outcome}, the model in service stays"
        case Outcome.PUBLISHED:
            again = " again" if previous and previous.is_bad else ""
            number = len(record.warnings)
            warnings = f", with {number} warning{'s' * (number > 1)}" if number else ""
            if again or warnings:
                return f"{record.pipeline}: a new model is published{again}{warnings}"
    return ""


def compose_report_title(record: RunRecord) -> str:
    """The title of the short message after a good week; "" where there was none."""
    if record.outcome is Outcome.PUBLISHED:
        return f"{record.pipeline}: a new model is published"
    return ""


def compose_body(record: RunRecord, address: str) -> str:
    """What a message says: a sentence a line, and where to read on.

    Args:
        address: Of the page of the run.
    """
    lines = [record.reason] if record.reason else []
    if record.model is not None:
        lines.append(tell_scores(record))
    lines += record.warnings
    if record.delivery is not None:
        lines.append(f"Delivery: {record.delivery.key}")
    return "\n".join([*lines, f"More: {address}"])


def tell_scores(record: RunRecord) -> str:
    """How good the new model is, and how far the orders have moved, in a line."""
    parts = []
    answer = record.metrics.answer
    if answer is not None:
        parts.append(
            f"r-squared {answer.r_squared:.3f}, mean absolute error "
            f"{answer.mean_absolute_error:.3f} hours"
        )
    parts.append(tell_drift(record.drift))
    return "; ".join(parts) + "."


def tell_drift(drift: list[ColumnDrift] | None) -> str:
    if drift is None:
        return "drift was not measured"
    large = sum(each.is_large for each in drift)
    return f"large drift in {large} distributions" if large else "no large drift"
