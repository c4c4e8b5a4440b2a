"""Our service without what it counts for /metrics, to tell what counting costs.

Usage: python -m benchmarks.uncounted_service S3_BUCKET
"""

import sys

from pipeline import aws
from pipeline.connections import serve
from pipeline.orders import MODELS_FOLDER
from pipeline.serve_model import create_app
from pipeline.service import EstimateMetrics


def count_nothing(*_: object) -> None:
    pass


if __name__ == "__main__":
    for method in ("count", "count_all"):
        setattr(EstimateMetrics, method, count_nothing)
    app = create_app(aws.get_latest_pkl_model_from_s3(sys.argv[1], MODELS_FOLDER))
    for route in app.routes:
        setattr(route, "count", count_nothing)
    serve(app)
