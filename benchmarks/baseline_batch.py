"""A file of requests answered in the obvious way: all of it in memory, row by row.

Usage: python -m benchmarks.baseline_batch S3_BUCKET
"""

import sys
from io import BytesIO

from pandas import read_csv, read_parquet

from pipeline import aws
from pipeline.estimator import DEFAULT_LEVEL, read_curves, read_ranges


def main(bucket: str) -> None:
    newest = aws.find_latest_artefact_on_s3("table", bucket, "requests")
    answer = aws.s3_client().get_object(Bucket=bucket, Key=newest.key)
    content = BytesIO(answer["Body"].read())
    is_parquet = newest.key.endswith(".parquet")
    data = read_parquet(content) if is_parquet else read_csv(content)
    model = aws.get_latest_pkl_model_from_s3(bucket, "models")
    curves, ranges = read_curves(model), read_ranges(model)
    assert ranges is not None
    answers = []
    for code, placed in zip(data["product_code"], data["orders_placed"], strict=True):
        hours = curves[code](placed)
        lower, upper = ranges.around(code, hours, DEFAULT_LEVEL) or (None, None)
        answers.append((hours, lower, upper, ranges.is_beyond(code, placed)))
    names = ["est_hours_to_dispatch", "lower", "upper", "beyond_observed"]
    data[names] = answers
    data["model"] = model.creation_time
    data = data.round(4)
    written = data.to_parquet(None, index=False) if is_parquet else data.to_csv(None)
    body = written if isinstance(written, bytes) else written.encode()
    aws.put_object_to_s3(body, bucket, "estimates", newest.key.rpartition("/")[2])


if __name__ == "__main__":
    main(sys.argv[1])
