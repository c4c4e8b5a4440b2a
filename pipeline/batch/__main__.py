"""Estimate in batches: a file of requests, or every product at every number of orders.

Usage: python -m pipeline.batch S3_BUCKET estimate
       python -m pipeline.batch S3_BUCKET publish [--expire HOURS]

  estimate  answer the newest file in s3://S3_BUCKET/requests/, CSV or Parquet, with one
            of the same format in s3://S3_BUCKET/estimates/
  publish   put the estimates of every product, for every whole number of orders up to
            what was observed, into the Redis at REDIS_URL

Both answer with the newest model in s3://S3_BUCKET/models/. What cannot be done ends
with one ERROR and exit code 1, and leaves what was there.

  --expire HOURS  let what is published be forgotten after so many hours
"""

from pipeline.logs import StageParser, end_on_signals, ending_with_errors, hours

if __name__ == "__main__":
    parser = StageParser("pipeline.batch", __doc__)
    parser.add_argument("command", choices=["estimate", "publish"])
    parser.add_argument("--expire", metavar="HOURS", type=hours, default=None)
    chosen = parser.parse_args()

from pipeline.batch.estimate import estimate_requests
from pipeline.batch.publish import publish_estimates

if __name__ == "__main__":
    if chosen.command == "estimate":
        end_on_signals("estimating a file of requests", exit_code=1)
        with ending_with_errors("estimating a file of requests"):
            estimate_requests(chosen.s3_bucket)
    else:
        with ending_with_errors("publishing estimates"):
            publish_estimates(chosen.s3_bucket, chosen.expire)
