"""A file of requests, answered with a file of estimates."""

import json
import logging
import time
from collections.abc import Callable
from datetime import datetime
from io import IOBase
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import aws
from pipeline.batch.checked_rows import check_rows
from pipeline.batch.estimate_files import (
    CsvFile,
    EstimateFile,
    GzippedCsvFile,
    ParquetFile,
)
from pipeline.batch.many_curves import ManyCurves
from pipeline.batch.refused_rows import RefusedRows
from pipeline.batch.request_files import Request, open_csv, open_parquet
from pipeline.estimator import DEFAULT_LEVEL, read_curves, read_ranges
from pipeline.logs import printable
from pipeline.orders import ESTIMATES_FOLDER, MODELS_FOLDER, REQUESTS_FOLDER

# Nobody who looks for estimates takes what lies in folders below.
REFUSED_FOLDER = f"{ESTIMATES_FOLDER}/refused"
SUMMARIES_FOLDER = f"{ESTIMATES_FOLDER}/summaries"

NEW_COLUMNS = pa.schema(
    [
        ("est_hours_to_dispatch", pa.float64()),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
        ("beyond_observed", pa.bool_()),
        ("model", pa.string()),
    ]
)

log = logging.getLogger("pipeline")


class Format(NamedTuple):
    """How files of one format are read and written."""

    open: Callable[[aws.S3TimestampedArtefact, list[str]], Request]
    create: Callable[[IOBase, pa.Schema], EstimateFile]


FORMATS = {
    ".csv.gz": Format(open_csv, GzippedCsvFile),
    ".csv": Format(open_csv, CsvFile),
    ".parquet": Format(open_parquet, ParquetFile),
}


class Names(NamedTuple):
    """Keys of the files of an answer."""

    estimates: str
    refused: str
    summary: str


def estimate_requests(s3_bucket: str) -> None:
    """Answer the newest file of requests with the newest model.

    All of it is there afterwards, or nothing of it: first the rows that were refused,
    then the summary, then the estimates. What is there already is not made again.

    Raises:
        NothingFound: There are no requests, or no model.
        RuntimeError: There are estimates of that name of something else, no model could
            be used, or S3 not be read or written.
        ValueError: The file cannot be answered, and why; or the signing key is too
            short, or empty.
    """
    started = time.monotonic()
    asked = find_newest_request(s3_bucket)
    model, _ = aws.get_newest_good_model_from_s3(
        s3_bucket, MODELS_FOLDER, check=read_curves
    )
    log.info(f"Loaded model {model}")
    made_from = aws.fingerprint(asked.etag.encode(), str(model).encode())
    ending = next(each for each in FORMATS if asked.key.lower().endswith(each))
    names = name_files(asked.key, ending, model)
    address = printable(f"s3://{s3_bucket}/{names.estimates}")
    if is_answered(s3_bucket, names.estimates, made_from):
        log.info(f"Nothing to do: {address} answers {asked.address} with that model.")
        return

    log.info(f"Answering {asked.address}, {asked.size:,} bytes.")
    request = FORMATS[ending].open(asked, NEW_COLUMNS.names)
    curves = ManyCurves(read_curves(model), read_ranges(model), DEFAULT_LEVEL)
    refused = RefusedRows(request.schema.names, curves.codes)
    rows = 0
    with (
        aws.MultipartUpload(s3_bucket, names.refused, made_from) as refusals,
        aws.MultipartUpload(s3_bucket, names.estimates, made_from) as estimates,
    ):
        schema = pa.schema([*request.schema, *NEW_COLUMNS], request.schema.metadata)
        file = FORMATS[ending].create(estimates, schema)
        answer = Answer(curves, schema, tell_time(model))
        for piece in request.pieces:
            rows += piece.rows.num_rows + len(piece.uneven)
            answered, is_good = answer.estimate(piece.rows)
            file.write(answered)
            for lines in refused.tell(piece, ~is_good):
                refusals.write(lines)
        if not rows:
            raise ValueError(
                f"{asked.address} holds no rows; deliver some under a newer timestamp."
            )
        file.finish()
        if refused.count and not refusals.publish():
            raise taken(s3_bucket, names.refused)
        summary = describe(asked, model, names, rows, refused.count)
        folder, _, filename = names.summary.rpartition("/")
        if not aws.put_object_to_s3(summary, s3_bucket, folder, filename):
            raise taken(s3_bucket, names.summary)
        if not estimates.publish():
            raise taken(s3_bucket, names.estimates)
    if refused.count:
        log.warning(
            f"Refused {refused.count:,} of {rows:,} rows, the first is "
            f"{refused.first}; all are in {refusals.address}"
        )
    seconds = time.monotonic() - started
    log.info(
        f"Wrote {rows - refused.count:,} estimates to {address} in {seconds:.1f} s."
    )


def find_newest_request(s3_bucket: str) -> aws.S3TimestampedArtefact:
    """Find the newest file of requests, and warn of newer ones that cannot be taken.

    Raises:
        NothingFound: There is none.
        S3Failure: The folder could not be listed.
    """
    newest = aws.find_latest_artefact_on_s3("table", s3_bucket, REQUESTS_FOLDER)
    for other in aws.survey_folder("table", s3_bucket, REQUESTS_FOLDER).passed_over:
        if other.when > newest.timestamp:
            log.warning(f"Passed over: {other.address} {other.reason}")
    return newest


def name_files(key: str, ending: str, model: aws.Model) -> Names:
    """Name the files of an answer.

    The last timestamp in their names is that of the request, as listings want it; the
    first is that of the model.
    """
    name = f"{tell_time(model)}_{key.rpartition('/')[2]}"
    stem = name[: -len(ending)]
    return Names(
        f"{ESTIMATES_FOLDER}/{name}",
        f"{REFUSED_FOLDER}/{stem}.csv",
        f"{SUMMARIES_FOLDER}/{stem}.json",
    )


def tell_time(model: aws.Model) -> str:
    """When a model was made: its name, short enough to stand in each row."""
    return f"{datetime.fromisoformat(model.creation_time):%Y-%m-%dT%H:%M:%S}"


def is_answered(s3_bucket: str, key: str, made_from: str) -> bool:
    """Whether there are estimates already, of the same request by the same model.

    Raises:
        RuntimeError: They are of something else.
        S3Failure: S3 could not be asked.
    """
    if not aws.exists_on_s3(s3_bucket, key):
        return False
    if aws.read_made_from(s3_bucket, key) == made_from:
        return True
    raise taken(s3_bucket, key)


def taken(s3_bucket: str, key: str) -> RuntimeError:
    address = printable(f"s3://{s3_bucket}/{key}")
    return RuntimeError(
        f"{address} already exists, made from something else, and is not overwritten; "
        "deliver the requests under a newer timestamp."
    )


def describe(
    asked: aws.S3TimestampedArtefact,
    model: aws.Model,
    names: Names,
    rows: int,
    refused_rows: int,
) -> bytes:
    """Sum up an answer: the same of the same request and model, whenever it is made."""
    summary = {
        "request": {"key": asked.key, "etag": asked.etag, "bytes": asked.size},
        "rows": rows,
        "refused_rows": refused_rows,
        "estimates": names.estimates,
        "refused": names.refused if refused_rows else None,
        "level": DEFAULT_LEVEL,
        "model": {
            "name": model.name,
            "timestamp": model.creation_time,
            "delivery": model.train_dataset_key,
            "delivery_hash": model.train_dataset_hash,
            "code": model.pipeline_git_commit_hash,
            "hash": model.hash,
        },
    }
    return json.dumps(summary, indent=2).encode() + b"\n"


class Answer:
    """Makes the rows of an answer of those of a request."""

    def __init__(self, curves: ManyCurves, schema: pa.Schema, model: str) -> None:
        """Prepare to answer.

        Args:
            schema: Of the answer.
            model: What it is called in each row.
        """
        self._curves = curves
        self._codes = pa.array(curves.codes)
        self._schema = schema
        self._model = model

    def estimate(
        self, rows: pa.RecordBatch
    ) -> tuple[pa.RecordBatch, NDArray[np.bool_]]:
        """Answer some rows.

        Returns:
            Those that can be answered, with their estimates, and which ones these are.

        Raises:
            RuntimeError: An estimate, or its range, is not a number.
        """
        products, placed, is_good = check_rows(rows, self._codes)
        if not is_good.all():
            rows = rows.filter(pa.array(is_good))
            products, placed = products[is_good], placed[is_good]
        hours, lower, upper, beyond = self._curves.answer(products, placed)
        new = [
            pa.array(hours),
            # Empty where there is no range.
            pa.array(lower, from_pandas=True),
            pa.array(upper, from_pandas=True),
            pa.array(beyond),
            pa.repeat(self._model, len(products)),
        ]
        columns = [*rows.columns, *new]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema), is_good
