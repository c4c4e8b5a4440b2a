"""What lies in the bucket beside the record of a run: its delivery and its models."""

from datetime import timedelta
from typing import NamedTuple

import numpy as np
from pandas import DataFrame, to_numeric

from pipeline import aws
from pipeline.estimator import Champion, read_champion
from pipeline.orders import (
    DATASETS_FOLDER,
    HOURS_TO_DISPATCH,
    LABEL,
    MODELS_FOLDER,
    ORDERS_PLACED,
    PRODUCT_CODE,
)
from pipeline.records import Delivery, ModelInService, NewModel

# A model is named after the second in which it was made, or one of the next.
LATEST_NAME = timedelta(minutes=1)


class Observations(NamedTuple):
    """The orders of a delivery.

    Attributes:
        orders: Columns orders_placed, product_code and hours_to_dispatch, those rows
            alone that have numbers there; the index holds the lines.
        missing: Why there are none, one sentence; "" if there are.
    """

    orders: DataFrame | None
    missing: str = ""


class KnownModel(NamedTuple):
    """A model of a run.

    Attributes:
        champion: None if it cannot be had, or not be believed.
        missing: Why not, one sentence; "" if it can.
        key: Of its object; "" if it cannot be had.
    """

    champion: Champion | None
    missing: str = ""
    key: str = ""


class Evidence:
    """The deliveries and models of a bucket, as they were listed once."""

    def __init__(self, bucket: str) -> None:
        """List them.

        Raises:
            S3Failure: They could not be listed.
        """
        self.bucket = bucket
        self.deliveries = aws.survey_tables(bucket, DATASETS_FOLDER).usable
        self.models = aws.list_artefacts_on_s3("pkl", bucket, MODELS_FOLDER)

    def read_observations(self, delivery: Delivery | None) -> Observations:
        """Read what of a delivery can be drawn, of a refused one as well."""
        if delivery is None:
            return Observations(None, "The record names no delivery.")
        address = aws.quote(f"s3://{self.bucket}/{delivery.key}")
        for artefact in self.deliveries:
            if artefact.key == delivery.key:
                break
        else:
            return Observations(None, f"The delivery {address} is gone.")
        try:
            dataset = aws.get_dataset(artefact)
        except (RuntimeError, ValueError) as error:
            return Observations(None, f"The delivery could not be read: {error}")
        if delivery.hash and dataset.hash != delivery.hash:
            missing = f"The delivery {address} has been replaced since this run."
            return Observations(None, missing)
        orders = choose_numbers(dataset.data)
        if orders is None:
            return Observations(None, f"The delivery {address} lacks a column.")
        return Observations(orders)

    def read_new(self, model: NewModel) -> KnownModel:
        """Read the model that a run has published."""
        found = [each for each in self.models if each.key == model.key]
        return self._read(found, model.version)

    def read_in_service(self, model: ModelInService) -> KnownModel:
        """Read the model that was in service when a run began."""
        earliest = model.made.replace(microsecond=0)
        found = [
            each
            for each in self.models
            if earliest <= each.timestamp < earliest + LATEST_NAME
        ]
        return self._read(found, model.version)

    def _read(
        self, artefacts: list[aws.S3TimestampedArtefact], version: str
    ) -> KnownModel:
        """Read the one of that version."""
        missing = f"The model {aws.quote(version)} is gone."
        for artefact in artefacts:
            try:
                found = aws.get_object_from_s3(artefact)
                if found is None:
                    continue
                model = aws.load_model(found)
                if str(model) == version:
                    return KnownModel(read_champion(model), "", artefact.key)
            except RuntimeError as error:
                missing = str(error)
        return KnownModel(None, missing)


def choose_numbers(data: DataFrame) -> DataFrame | None:
    """Choose the rows that can be drawn; None if a column is missing."""
    columns = [ORDERS_PLACED, PRODUCT_CODE, HOURS_TO_DISPATCH]
    if not {*columns} <= {*data.columns} or data.columns.has_duplicates:
        return None
    orders = data[columns].assign(
        **{
            column: to_numeric(data[column], errors="coerce").astype(float)
            for column in (ORDERS_PLACED, LABEL)
        }
    )
    numbers = orders[[ORDERS_PLACED, LABEL]].to_numpy()
    drawn = np.isfinite(numbers).all(axis=1) & orders[PRODUCT_CODE].notna().to_numpy()
    chosen: DataFrame = orders.loc[drawn]
    return chosen
