"""What stands in a record, from the values of the steps of training."""

from math import isfinite
from typing import TYPE_CHECKING, Any

from pipeline.orders import PRODUCT_CODE, is_product_code
from pipeline.records.record import (
    ColumnDrift,
    Delivery,
    Metrics,
    ModelComparison,
    ModelInService,
    NewModel,
    Scores,
    SetAsideRow,
)

# Whoever reads a record needs neither pandas nor scikit-learn.
if TYPE_CHECKING:
    from pipeline import aws
    from pipeline.estimator import Champion
    from pipeline.gates import Challenge, Drift, Examined


def describe_found(dataset: "aws.Dataset") -> Delivery:
    """A delivery that was read, and not looked at yet."""
    codes = dataset.data.get(PRODUCT_CODE)
    counts = {} if codes is None else codes.value_counts().to_dict()
    return Delivery(
        key=dataset.key,
        hash=dataset.hash,
        version_id=dataset.version_id,
        rows=len(dataset.data),
        orders_by_product={
            code: count for code, count in counts.items() if is_product_code(code)
        },
    )


def describe_examined(found: Delivery, examined: "Examined") -> Delivery:
    """A delivery that may be learnt from, and what of it is not."""
    counts = examined.orders[PRODUCT_CODE].value_counts().to_dict()
    return found.model_copy(
        update={
            "rows_learnt_from": len(examined.orders),
            "set_aside": [SetAsideRow(**row._asdict()) for row in examined.set_aside],
            "orders_by_product": counts,
            "kept_products": examined.kept,
            "accepted_shifts": {
                each.product_code: each.factor for each in examined.shifts
            },
        }
    )


def describe_champion(
    champion: "Champion | None", examined: "Examined | None" = None
) -> ModelInService | None:
    """The model in service, and its error on a delivery that was examined."""
    if champion is None:
        return None
    error = examined.service_error if examined else None
    return ModelInService(
        version=str(champion.model),
        made=champion.model.creation_time,
        delivery_key=champion.model.train_dataset_key,
        error_on_delivery=error.mean_absolute_error if error else None,
        error_at_birth=error.at_birth if error else None,
        orders_scored=error.rows if error else None,
    )


def describe_metrics(metadata: dict[str, Any]) -> Metrics:
    """How good a model is, by what stands in its metadata."""
    tree, projection = (
        Scores(**metadata[name]) if name in metadata else None
        for name in ("tree", "projection")
    )
    return Metrics(
        cross_validated_r_squared=metadata["cross_validated_r_squared"],
        tree=tree,
        projection=projection,
        answer=Scores(
            r_squared=metadata["r_squared"],
            mean_absolute_error=metadata["mean_absolute_error"],
        ),
        falls_removed=metadata.get("falls_removed"),
    )


def describe_challenge(challenge: "Challenge") -> ModelComparison:
    """How a new model did against the one in service."""
    comparison = challenge.comparison
    return ModelComparison(
        outcome=challenge.outcome.value,
        loss=comparison.loss,
        lower=comparison.lower if isfinite(comparison.lower) else None,
        upper=comparison.upper if isfinite(comparison.upper) else None,
        rows=comparison.rows,
        champion_error=comparison.champion_error,
    )


def describe_drift(drifts: "list[Drift]") -> list[ColumnDrift]:
    """How far a delivery has moved from the one before."""
    return [ColumnDrift(**each._asdict(), is_large=each.is_large) for each in drifts]


def describe_model(model: "aws.Model", key: str = "") -> NewModel:
    """A new model, published under a key or not."""
    metadata = model.metadata or {}
    products = metadata.get("products", {})
    return NewModel(
        key=key,
        version=str(model),
        hyperparameters=metadata.get("hyperparameters", {}),
        orders_by_product={code: each["orders"] for code, each in products.items()},
    )
