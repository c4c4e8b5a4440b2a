"""What every service answers beside what it is asked for: its state, and refusals."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Refusal(BaseModel):
    """That a request was not answered, and why."""

    detail: Annotated[str, Field(description="What is wrong, for a person to read.")]


class Readiness(BaseModel):
    """That the service is ready, and with which model."""

    model_config = ConfigDict(protected_namespaces=())

    status: Literal["ready"] = "ready"
    model_version: Annotated[str, Field(description="Which model is in service.")]
    refused: Annotated[
        list[str],
        Field(description="Newer models that were not taken, and why; normally empty."),
    ]
    kept_products: Annotated[
        dict[str, str],
        Field(
            description="Products that the newest delivery had too few orders of, with "
            "the time of the delivery that their estimates come from; normally empty."
        ),
    ] = {}


class Liveness(BaseModel):
    """That the process is alive."""

    status: Literal["alive"] = "alive"
