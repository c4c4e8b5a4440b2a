"""The record of a run of training, as it lies in S3: what came, what came of it, why.

One JSON object a run. `VERSION` is raised when a field changes its meaning or goes; a
field that is added has a default, so that older records are read on.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION: Literal[1] = 1


class Outcome(StrEnum):
    """What came of a run.

    Attributes:
        PUBLISHED: There is a new model.
        REFUSED: The delivery or the model did not pass a gate; the model in service
            stays.
        FAILED: The run could not be done, or was ended; the model in service stays.
        NOTHING_NEW: There was nothing to learn; the model in service stays.
        DRY_RUN: The model was good, and not published, as was asked for.
    """

    PUBLISHED = "published"
    REFUSED = "refused"
    FAILED = "failed"
    NOTHING_NEW = "nothing-new"
    DRY_RUN = "dry-run"


class Part(BaseModel):
    """Part of a record; what a later release adds to it is passed over."""

    # JSON has no NaN, and a refused model may have one for its score.
    model_config = ConfigDict(
        frozen=True, extra="ignore", ser_json_inf_nan="strings"
    )


class SetAsideRow(Part):
    """A row that was not learnt from.

    Attributes:
        line: In the file; of Parquet, the row.
        hours: As delivered.
        expected: What others of its product, or the model in service, say, hours.
    """

    line: int
    product_code: str
    orders_placed: float
    hours: float
    expected: float


class Delivery(Part):
    """The delivery that was trained on, as far as it could be read.

    Attributes:
        hash: SHA-256 of its bytes, hexadecimal; "" if they could not be read.
        rows: In the file; None if it could not be read.
        rows_learnt_from: Training and held-out set together; None if it was refused.
        set_aside: Rows that nothing explains.
        orders_by_product: Rows of each product; of what was learnt from, where the
            delivery was not refused.
        kept_products: Those with too few rows, which keep their estimates.
        accepted_shifts: By product, how many times as long as the model in service
            says its orders took, where an operator has accepted that.
    """

    key: str
    hash: str = ""
    version_id: str = ""
    rows: int | None = None
    rows_learnt_from: int | None = None
    set_aside: list[SetAsideRow] = []
    orders_by_product: dict[str, int] = {}
    kept_products: list[str] = []
    accepted_shifts: dict[str, float] = {}

    @property
    def counted(self) -> str:
        """What its rows are found by: lines, or rows where there are no lines."""
        return "row" if self.key.lower().endswith(".parquet") else "line"


class Thresholds(Part):
    """The r-squared below which a model is refused, and is warned of."""

    error: float
    warning: float


class Scores(Part):
    """How good a model is on the held-out set.

    Attributes:
        mean_absolute_error: Hours.
    """

    r_squared: float
    mean_absolute_error: float


class Metrics(Part):
    """How good what was learnt is.

    Attributes:
        cross_validated_r_squared: Of the best tree, the mean over the folds.
        tree: Of the best tree alone, on the held-out set.
        projection: Of this week alone: the tree, projected, on the held-out set.
        answer: Of what answers, on the held-out set.
        falls_removed: Where the tree's estimates fell with more orders, and the
            projection made them level.
    """

    cross_validated_r_squared: float | None = None
    tree: Scores | None = None
    projection: Scores | None = None
    answer: Scores | None = None
    falls_removed: int | None = None


class ModelInService(Part):
    """The model that a service would have taken when the run began.

    Attributes:
        version: As the service's answers name it.
        made: When it was trained.
        error_on_delivery: Mean absolute error of its estimates on this delivery, hours.
        error_at_birth: On the orders held out when it was trained, hours.
        orders_scored: Orders of the delivery whose product it knows.
    """

    version: str
    made: datetime
    delivery_key: str
    error_on_delivery: float | None = None
    error_at_birth: float | None = None
    orders_scored: int | None = None


class ModelComparison(Part):
    """The new model against the one in service, on orders that are new to both.

    Attributes:
        outcome: As `gates.Outcome` says it.
        loss: By how much the new one's mean absolute error is larger, hours.
        lower, upper: Confidence interval of the loss, hours; None for infinite.
        rows: Held-out orders on which both were scored.
        champion_error: Mean absolute error of the one in service on them, hours.
    """

    outcome: str
    loss: float
    lower: float | None
    upper: float | None
    rows: int
    champion_error: float


class ColumnDrift(Part):
    """How far a column of a product has moved since the model in service was trained.

    Attributes:
        statistic: Kolmogorov-Smirnov's, 0 to 1.
        reference_range, delivered_range: Smallest and largest value, orders or hours.
    """

    product_code: str
    column: str
    statistic: float
    p_value: float
    reference_range: tuple[float, float]
    delivered_range: tuple[float, float]
    is_large: bool


class NewModel(Part):
    """The model that was published, or would have been.

    Attributes:
        key: Its object in the bucket; "" if it was not published.
        version: As the service's answers name it.
        orders_by_product: Orders that stand behind each product's estimates, those
            that were kept from earlier deliveries included.
    """

    key: str
    version: str
    hyperparameters: dict[str, str | int | float | None] = {}
    orders_by_product: dict[str, int] = {}


class RunRecord(Part):
    """What a run of training leaves.

    Attributes:
        reason: Why it was refused, failed or found nothing new: one sentence, that of
            the log; "" if it went well.
        seconds: Of each step, in the order of the steps, by name.
        drift: The largest first; None if it could not be measured.
        warnings: As they stand in the log.
        versions: Of Python and of the libraries that were used, by name.
        commit: Of the code, "NA" if it was not deployed.
        memory_peak_bytes: Of the process.
        message: What was sent to people, or was to be; "" for nothing.
    """

    version: Literal[1] = VERSION
    pipeline: str
    outcome: Outcome
    reason: str = ""
    started: datetime
    seconds: dict[str, float] = {}
    thresholds: Thresholds
    delivery: Delivery | None = None
    metrics: Metrics = Metrics()
    model_in_service: ModelInService | None = None
    comparison: ModelComparison | None = None
    drift: list[ColumnDrift] | None = None
    model: NewModel | None = None
    warnings: list[str] = []
    versions: dict[str, str] = Field(default_factory=dict)
    commit: str = "NA"
    memory_peak_bytes: int | None = None
    message: str = ""

    @property
    def is_good(self) -> bool:
        """Whether a new model was published."""
        return self.outcome is Outcome.PUBLISHED

    @property
    def is_bad(self) -> bool:
        """Whether somebody has to look."""
        return self.outcome in (Outcome.REFUSED, Outcome.FAILED)
