"""The rows that a model is trained on, and those that it is judged by."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, Series
from sklearn.model_selection import KFold, train_test_split

from pipeline.orders import FEATURES, LABEL, ORDERS_PLACED, PRODUCT_CODE

RANDOM_STATE = 42
TEST_SIZE = 0.2
FOLDS = 5


class FeatureAndLabels(NamedTuple):
    """Features (orders_placed, product_code) and labels (hours) of both splits."""

    X_train: DataFrame
    X_test: DataFrame
    y_train: "Series[float]"
    y_test: "Series[float]"


def prepare_data(data: DataFrame) -> FeatureAndLabels:
    """Split a delivery into a training and a held-out set, stratified by product.

    Copies of a row never stand on both sides.
    """
    first, of_group = group_copies(data)
    sides = train_test_split(
        np.arange(len(first)),
        test_size=TEST_SIZE,
        stratify=data[PRODUCT_CODE].iloc[first],
        random_state=RANDOM_STATE,
    )
    train, test = (list_members(groups, of_group, len(first)) for groups in sides)
    return FeatureAndLabels(
        data[FEATURES].iloc[train],
        data[FEATURES].iloc[test],
        data[LABEL].iloc[train],
        data[LABEL].iloc[test],
    )


def list_members(
    groups: NDArray[np.int64], of_group: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """List the rows of some groups, one group after another.

    Args:
        groups: Of `count` groups.
        of_group: The group of each row.
    """
    place = np.full(count, -1)
    place[groups] = np.arange(len(groups))
    rows = np.flatnonzero(place[of_group] >= 0)
    return rows[np.argsort(place[of_group[rows]], kind="stable")]


def split_into_folds(
    data: FeatureAndLabels,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split the training set into folds: pairs of indices, to train on and to test.

    Copies of a row stand in the same fold.
    """
    first, of_group = group_copies(training_rows(data))
    for _, groups in KFold(FOLDS).split(first):
        held_out = np.isin(of_group, groups)
        yield np.flatnonzero(~held_out), np.flatnonzero(held_out)


def group_copies(data: DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Group the rows that are alike in all three columns.

    Those of hours 0 are not: times that are too short to be told apart end there.

    Returns:
        The position of the first row of each group, and the group of each row; groups
        are numbered in the order of their first rows.
    """
    alone = np.where(data[LABEL] > 0, -1, np.arange(len(data)))
    keys = data[[*FEATURES, LABEL]].assign(alone=alone)
    groups = keys.groupby([*keys.columns], sort=False).ngroup()
    of_group = np.asarray(groups, np.int64)
    _, first = np.unique(of_group, return_index=True)
    return np.asarray(first, np.int64), of_group


def training_rows(data: FeatureAndLabels) -> DataFrame:
    """The training set with its labels."""
    return data.X_train.assign(**{LABEL: data.y_train})


def preprocess(
    df: DataFrame, product_numbers: dict[str, int] | None = None
) -> NDArray[np.float64]:
    """Make the features of a model from orders.

    Args:
        product_numbers: By product code; by default in the order of the codes.

    Returns:
        Shape (orders, 2): orders placed and product number.
    """
    if product_numbers is None:
        codes = sorted(df[PRODUCT_CODE].unique())
        product_numbers = {code: number for number, code in enumerate(codes)}
    products = df[PRODUCT_CODE].map(product_numbers)
    return np.column_stack([df[ORDERS_PLACED], products]).astype(float)
