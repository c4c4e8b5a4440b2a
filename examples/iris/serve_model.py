"""Stage 2: load the newest model and tell the species of flowers over HTTP.

Usage: python -m examples.iris.serve_model S3_BUCKET

Takes the newest model in s3://S3_BUCKET/models/ that tells the species of an iris, and
listens on port 8000 of all interfaces, or on PORT and HOST of the environment. The port
opens when the model is loaded. SIGTERM ends the service when all requests are answered.
"""

import logging
from collections.abc import Sequence

from pipeline.logs import StageParser, end_on_signals, ending_with_errors

if __name__ == "__main__":
    chosen = StageParser("examples.iris.serve_model", __doc__).parse_args()
    end_on_signals("loading the model")

from fastapi import FastAPI
from pydantic import BaseModel

from examples.iris import flowers
from pipeline import aws
from pipeline.connections import serve
from pipeline.service import Readiness, add_endpoint, create_service

DESCRIPTION = "Which species is this iris? Measure its sepals and petals, in cm."

log = logging.getLogger("pipeline")


class Classification(BaseModel):
    """Which species it is, how likely each of them is, and which model says so."""

    species_prediction: flowers.Species
    probabilities: dict[flowers.Species, float]
    model_info: str


def main(s3_bucket: str) -> None:
    """Load the newest model, then serve it until SIGTERM or SIGINT.

    Raises:
        RuntimeError: The model could not be loaded, or the port not be opened.
        ValueError: PORT is no port.
    """
    log.info("Starting serve-model stage.")
    model, refusals = aws.get_newest_good_model_from_s3(
        s3_bucket, flowers.MODELS_FOLDER, check=flowers.read_classifier
    )
    app = create_app(model, refusals)
    log.info(f"Loaded model {model}")
    serve(app)


def create_app(model: aws.Model, refusals: Sequence[str]) -> FastAPI:
    """Build the application that answers with a model.

    Args:
        refusals: Why newer models were not taken; told by /readyz.
    """
    classifier, model_info = flowers.read_classifier(model), str(model)

    async def score(flower: flowers.Flower) -> Classification:
        """Tell the species of one flower."""
        measured = [getattr(flower, name) for name in flowers.MEASUREMENTS]
        [likely] = classifier.predict_proba([measured]).tolist()
        return Classification(
            species_prediction=flowers.SPECIES[likely.index(max(likely))],
            probabilities=dict(zip(flowers.SPECIES, likely, strict=True)),
            model_info=model_info,
        )

    readiness = Readiness(model_version=model_info, refused=list(refusals))
    app = create_service("Iris", "1", DESCRIPTION, model, readiness)
    add_endpoint(
        *(app, "/iris/v1/score", score, flowers.Flower, Classification),
        *("Tell the species of an iris", "species"),
    )
    return app


if __name__ == "__main__":
    with ending_with_errors("serving model"):
        main(chosen.s3_bucket)
