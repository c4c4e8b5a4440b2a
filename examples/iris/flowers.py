"""The contract that both stages share: what a flower is, and what its model is made of.

Nothing heavy is imported here, because the service imports it.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from pipeline import aws

DATASETS_FOLDER = "datasets"
MODELS_FOLDER = "models"

# In the order of the alphabet, as a classifier has them.
Species = Literal["setosa", "versicolor", "virginica"]
SPECIES: list[Species] = [*get_args(Species)]
# No iris has more than a hundred: that would be another unit.
Centimetres = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class Flower(BaseModel):
    """The measurements of a flower, in cm, in the order in which a model takes them."""

    model_config = ConfigDict(strict=True, extra="forbid")

    sepal_length: Centimetres = Field(examples=[5.1])
    sepal_width: Centimetres = Field(examples=[3.5])
    petal_length: Centimetres = Field(examples=[1.4])
    petal_width: Centimetres = Field(examples=[0.2])


class DeliveredFlower(Flower):
    """A row of a delivery: its numbers are text, and other columns may be there."""

    model_config = ConfigDict(strict=False, extra="ignore")

    species: Species


MEASUREMENTS = [*Flower.model_fields]
LABEL = "species"

aws.declare(
    aws.DeclaredClass(
        "decision-tree-classifier",
        "sklearn.tree:DecisionTreeClassifier",
        attributes={"tree_": "Tree", "classes_": "ndarray", "n_classes_": "int64"},
        check="pipeline.estimator:check_tree",
    )
)


def read_classifier(model: aws.Model) -> Any:
    """Take the classifier out of a model.

    Raises:
        ValueError: It tells other species, or by other measurements.
        AttributeError, RuntimeError, UnpicklingError: There is none in it.
    """
    told = model.model.predict_proba([[1.0] * len(MEASUREMENTS)])
    if model.model.classes_.tolist() != SPECIES or told.shape != (1, len(SPECIES)):
        raise ValueError("it tells other species than those of the iris")
    return model.model
