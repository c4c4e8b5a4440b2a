"""The baseline: the service written in the obvious way.

Usage: python -m benchmarks.baseline_service S3_BUCKET

Everything is imported at the top, the endpoint is a `def`, and each estimate is a call
of the tree's `predict` on an array of one row. Schemas and server are those of ours.
"""

import sys
from os import environ

import boto3
import numpy
import pandas
import sklearn.tree
import uvicorn
from fastapi import FastAPI

from pipeline.aws import Model, unpickle_model
from pipeline.orders import MODELS_FOLDER
from pipeline.service import Estimate, Order

if __name__ == "__main__":
    client = boto3.client("s3")
    listing = client.list_objects_v2(Bucket=sys.argv[1], Prefix=f"{MODELS_FOLDER}/")
    newest = pandas.DataFrame(listing["Contents"]).sort_values("Key").iloc[-1]
    stored = client.get_object(Bucket=sys.argv[1], Key=newest["Key"])
    # Only our reader knows the names under which models are persisted.
    model = unpickle_model(stored["Body"].read())
    assert isinstance(model, Model)
    tree: sklearn.tree.DecisionTreeRegressor = model.model.estimator_
    numbers = model.model.product_numbers_
    app = FastAPI()

    @app.post("/api/v0.1/time_to_dispatch")
    def time_to_dispatch(order: Order) -> Estimate:
        product = numbers[order.product_code]
        features = numpy.array([[order.orders_placed, product]])
        return Estimate(
            est_hours_to_dispatch=tree.predict(features)[0],
            model_version=str(model),
        )

    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(environ["PORT"]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
