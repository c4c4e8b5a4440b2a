"""What every service answers beside what it is asked for: its state, and refusals."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.service.faults import MAX_FAULTS


class Refusal(BaseModel):
    """That a request was not answered, and why."""

    detail: Annotated[str, Field(description="What is wrong, for a person to read.")]


class Fault(BaseModel):
    """What is wrong with a field."""

    loc: Annotated[
        list[str | int],
        Field(
            description="Where it is: body, then the names of fields, the places in "
            "lists from 0, or the place at which a body ceases to be JSON."
        ),
    ]
    msg: Annotated[str, Field(description="What is wrong, for a person to read.")]
    type: Annotated[str, Field(description="What is wrong, for a program.")]


class InvalidRequest(BaseModel):
    """That a request was not answered, and which fields are at fault."""

    detail: Annotated[
        list[Fault],
        Field(
            min_length=1,
            max_length=MAX_FAULTS,
            description="The first faults; in a list, those of the first bad entry.",
        ),
    ]


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
