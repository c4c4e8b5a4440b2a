"""What of a week does the model in service know already?

What it has learnt once is not learnt again, and whoever is judged by orders must not
have seen them.
"""

import logging
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.estimator import (
    Champion,
    FeatureAndLabels,
    Knowledge,
    KnowledgeRefused,
    forget_last_week,
    read_knowledge,
    training_rows,
)
from pipeline.gates.challenge import LITTLE_NEW
from pipeline.gates.training_rows import TRAINING_ROWS, find_unseen
from pipeline.orders import LABEL

log = logging.getLogger("pipeline")


class Week(NamedTuple):
    """A week to be learnt, and what it joins.

    Attributes:
        data: No row of it that is held out is among those that are known.
        is_new: For each training row whether it is none of those either.
        known: What the model in service knows; None to start afresh.
    """

    data: FeatureAndLabels
    is_new: NDArray[np.bool_]
    known: Knowledge | None


def find_known(data: FeatureAndLabels, champion: Champion | None) -> Week:
    """Find what the model in service knows that this week is to join.

    Where it knows most of this week, as of a corrected delivery, the week is learnt
    again, from what was known before it.

    Args:
        champion: The model in service; None to start afresh.
    """
    all_new = np.ones(len(data.X_train), dtype=bool)
    known = None if champion is None else recall(champion)
    if champion is None or known is None:
        log.info("A fresh start: this week alone is learnt from.")
        return Week(data, all_new, None)
    rows = (champion.model.metadata or {}).get(TRAINING_ROWS)
    is_new = find_unseen(training_rows(data), rows)
    left = find_unseen(data.X_test.assign(**{LABEL: data.y_test}), rows)
    # So that there always are orders to judge by.
    if min(is_new.mean(), left.mean()) <= LITTLE_NEW:
        log.info("The model in service knows this week, which is learnt anew.")
        return Week(data, all_new, forget_last_week(known))
    data = data._replace(X_test=data.X_test[left], y_test=data.y_test[left])
    return Week(data, is_new, known)


def recall(champion: Champion) -> Knowledge | None:
    """What the model in service knows; None, and why, if that is of no use."""
    try:
        known = read_knowledge(champion.model)
    except KnowledgeRefused as error:
        log.warning(f"What {champion.model} knows is passed over: {error}.")
        return None
    if known is None:
        log.info(f"{champion.model} does not say what it knows.")
    return known
