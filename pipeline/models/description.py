"""What is known of a model, in plain types and in sentences."""

from typing import Any

from pipeline import aws
from pipeline.estimator import (
    CURVES,
    KNOWLEDGE,
    LEVELS,
    PRODUCTS,
    RANGES,
    read_curves,
    read_products,
    read_ranges,
    recall_knowledge,
)
from pipeline.logs import tell_count
from pipeline.models.entries import NEXT
from pipeline.orders import ROLLED_BACK_FROM

# Not for people.
LEFT_OUT = (CURVES, KNOWLEDGE, PRODUCTS, RANGES, "training_rows")
TOLD_LEVEL = 0.9


def describe(entry: aws.Candidate, states: dict[str, str]) -> dict[str, Any]:
    """What is known of a model, in plain types; what is not for people is left out.

    What a refused model says of itself is told as well, beside its refusal.
    """
    model, withdrawal = entry.content, entry.withdrawal
    metadata = dict((model and model.metadata) or {})
    return {
        "model": entry.name,
        "made": entry.artefact.timestamp.isoformat(),
        "next": states[entry.artefact.key] == NEXT,
        "verified": not entry.refusal and entry.proof is not aws.Proof.UNCHECKED,
        "state": states[entry.artefact.key],
        "refusal": entry.refusal,
        "withdrawn_at": withdrawal.at.isoformat() if withdrawal else "",
        "withdrawn_because": withdrawal.reason if withdrawal else "",
        "rolled_back_from": entry.s3_metadata.get(ROLLED_BACK_FROM, ""),
        "model_version": str(model) if model else "",
        "train_dataset_key": model.train_dataset_key if model else "",
        PRODUCTS: describe_products(model) if model else {},
        "metadata": {
            name: value for name, value in metadata.items() if name not in LEFT_OUT
        },
    }


def describe_products(model: aws.Model) -> dict[str, dict[str, Any]]:
    """What each product was learnt from, and what stands behind it; empty for a model
    that does not say."""
    try:
        products = {code: each._asdict() for code, each in read_products(model).items()}
        told_ranges = describe_ranges(model)
    except (RuntimeError, TypeError, ValueError):
        return {}
    for code, told in told_ranges.items():
        products.get(code, {}).update(told)
    for code, known in (recall_knowledge(model) or {}).items():
        products.get(code, {}).update(
            weeks_known=known.weeks,
            orders_known=round(known.orders),
            kept=known.share if known.weeks_before else None,
        )
    return products


def describe_ranges(model: aws.Model) -> dict[str, dict[str, Any]]:
    """By product, the observed orders, and estimate and ranges on a middling day."""
    ranges = read_ranges(model)
    if ranges is None:
        return {}
    curves, described = read_curves(model), {}
    for code in curves.keys() & ranges.limits.keys():
        low, high = ranges.limits[code]
        estimate = curves[code](high / 2)
        described[code] = {
            "observed": [low, high],
            "at": high / 2,
            "estimate": estimate,
            "ranges": {
                str(level): ranges.around(code, estimate, level) for level in LEVELS
            },
        }
    return described


def tell_product(product: dict[str, Any]) -> str:
    """Say in a line what `describe_products` does of one product."""
    told = f"learnt from {aws.quote(product['learnt_from'])}"
    if product["orders"] is not None:
        told = f"{product['orders']} orders, {told}"
    if product["learnt_at"]:
        told += f" of {product['learnt_at']}"
    if product["is_kept"]:
        told += ", kept from an earlier model"
    if "weeks_known" in product:
        told += (
            f"; {tell_count(product['orders_known'], 'order')} of "
            f"{tell_count(product['weeks_known'], 'week')} stand behind it"
        )
        if product["kept"] is not None:
            told += f", {product['kept']:.0%} of what was known was kept"
    if "observed" in product:
        low, high = product["observed"]
        told += f"; observed from {low:g} to {high:g} orders placed"
        around = product["ranges"][str(TOLD_LEVEL)]
        told += f"; at {product['at']:g} of them {product['estimate']:.1f} hours, "
        told += (
            f"{TOLD_LEVEL:.0%} within {around[0]:.1f} to {around[1]:.1f}"
            if around
            else f"too few orders to say where {TOLD_LEVEL:.0%} fall"
        )
    return told
