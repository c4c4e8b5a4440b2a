"""What the platform team sends and gets: the estimate request and its answer."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline.orders import MAX_ORDERS_PLACED


class EstimateRequest(BaseModel):
    """An order that a customer is about to place."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"product_code": "SKU001", "orders_placed": 112}]
        },
    )

    product_code: Annotated[
        str, Field(description="Code of the product to be ordered.")
    ]
    orders_placed: Annotated[
        float,
        Field(
            strict=True,
            ge=0,
            le=MAX_ORDERS_PLACED,
            allow_inf_nan=False,
            description="Orders already placed today, of all products (orders).",
        ),
    ]


class Estimate(BaseModel):
    """How long the dispatch of that order will take."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "est_hours_to_dispatch": 5.321,
                    "model_version": "name:time-to-dispatch"
                    "|model_type:DecisionTreeRegressor"
                    "|model_timestamp:2021-07-02T23:45:32.000000+00:00"
                    "|model_hash:6b3a55e0261b0304"
                    "|train_dataset_key:"
                    "datasets/time_to_dispatch_2021-07-02T23:00:00.csv"
                    "|train_dataset_hash:0b5a3f1d09c8e7f6"
                    "|pipeline_git_commit_hash:1f2e3d4",
                }
            ]
        },
    )

    est_hours_to_dispatch: Annotated[
        float, Field(description="Estimated time from order to dispatch (hours).")
    ]
    model_version: Annotated[
        str,
        Field(
            description="Which model made the estimate, from which delivery and code: "
            "key:value pairs separated by |. Quote it when you report an estimate."
        ),
    ]
