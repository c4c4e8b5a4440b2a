"""Stage 1: train a classifier on the newest flowers and persist it, if it is good.

Usage: python -m examples.iris.train_model S3_BUCKET BALANCED_ACCURACY_THRESHOLD

Takes the newest CSV in s3://S3_BUCKET/datasets/ and puts the model into
s3://S3_BUCKET/models/. Below the threshold nothing is persisted and the exit code is 1.
The threshold is balanced accuracy on the held-out set, above 0 and at most 1.
"""

import logging
from typing import Any

from pipeline.logs import StageParser, ending_with_errors

if __name__ == "__main__":
    chosen = StageParser(
        "examples.iris.train_model", __doc__, threshold="BALANCED_ACCURACY_THRESHOLD"
    ).parse_args()

from pandas import DataFrame
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

from examples.iris import flowers
from examples.iris.delivery import check_delivery
from pipeline import aws

log = logging.getLogger("pipeline")


def main(s3_bucket: str, threshold: float) -> None:
    """Train on the latest delivery and persist the model, if it is good enough.

    Raises:
        ValueError: The delivery is refused.
        RuntimeError: The model is not good enough, or S3 could not be used.
    """
    log.info("Starting train-model stage.")
    dataset = aws.get_latest_csv_dataset_from_s3(s3_bucket, flowers.DATASETS_FOLDER)
    log.info(f"Retrieved dataset from {dataset.address} (SHA-256 {dataset.hash}).")
    delivery = check_delivery(dataset)
    champion = aws.get_champion_from_s3(
        s3_bucket, flowers.MODELS_FOLDER, check=flowers.read_classifier
    )
    if champion is not None and champion.train_dataset_hash == dataset.hash:
        log.warning("Nothing new has arrived: the newest model was trained on it.")

    train, held_out = train_test_split(
        delivery, test_size=0.2, stratify=delivery[flowers.LABEL], random_state=42
    )
    classifier = DecisionTreeClassifier(max_depth=3, random_state=42)
    species = train[flowers.LABEL].to_numpy(str)
    classifier.fit(train[flowers.MEASUREMENTS].to_numpy(), species)
    accuracy = score(classifier, held_out)
    log.info(f"Trained model: balanced accuracy={accuracy:.3f}.")
    if champion is not None:
        newest = score(champion.model, held_out)
        log.info(f"The newest model so far: balanced accuracy={newest:.3f}.")
    # What is not a number does not pass either.
    if not accuracy >= threshold:
        raise RuntimeError(
            f"balanced accuracy ({accuracy:.3f}) is below deployment threshold "
            f"{threshold}; the model was not persisted and the one in service stays: "
            f"look at {dataset.address}."
        )
    metadata = {"balanced_accuracy": accuracy, **classifier.get_params()}
    model = aws.Model("iris", classifier, dataset, metadata)
    aws.check_loadable(model)
    s3_location = model.put_model_to_s3(s3_bucket, flowers.MODELS_FOLDER)
    log.info(f"Model serialised and persisted to s3://{s3_location}")


def score(classifier: Any, delivery: DataFrame) -> float:
    """Balanced accuracy: the share of flowers that it tells, averaged over species."""
    told = classifier.predict(delivery[flowers.MEASUREMENTS].to_numpy())
    return float(balanced_accuracy_score(delivery[flowers.LABEL], told))


if __name__ == "__main__":
    with ending_with_errors("training model"):
        main(chosen.s3_bucket, chosen.threshold)
