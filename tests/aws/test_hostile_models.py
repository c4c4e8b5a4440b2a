"""Whatever lies in models/, the service refuses it in a sentence and goes back.

All objects are loaded by one process whose memory is limited.
"""

import json
import os
import pickle
import struct
import subprocess
import sys
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pandas import DataFrame
from sklearn.tree import DecisionTreeRegressor
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.aws.models import Model
from pipeline.aws.pickling import MAX_BYTES, MAX_INSTRUCTIONS, pickle_model
from pipeline.estimator.monotone_tree import MonotoneTreeRegressor
from pipeline.estimator.products import FORMER_PRODUCTS
from pipeline.estimator.tree_arrays import flatten_tree

pytestmark = [pytest.mark.once, pytest.mark.process]

ROOT = Path(__file__).parents[2]
MOMENT = datetime(2021, 7, 2, 23, 5, tzinfo=UTC)
DATASET = aws.Dataset(DataFrame(), MOMENT, "b", "datasets/week.csv", "c0ffee")
ROWS = [[orders, product] for orders in (90.0, 160.0) for product in range(5)]
TREE = DecisionTreeRegressor(random_state=0).fit(ROWS, [row[0] / 20 for row in ROWS])
MEMORY_BYTES = 512 * 2**20
FORGED = "2021-07-03T00:00:00Z - INFO - serve_model.main - Loaded model"

LOAD_AS_THE_SERVICE_DOES = f"""
import json, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, ({MEMORY_BYTES}, {MEMORY_BYTES}))
from pipeline import aws
from pipeline.logs import configure_logger
from pipeline.estimator import read_curves
from pipeline.serve_model import create_app
configure_logger()
model, refusals = aws.get_newest_good_model_from_s3(
    sys.argv[1], "models", check=read_curves
)
create_app(model, refusals)
print(json.dumps([str(model), refusals]))
"""


def make(module: str, name: str, *state: Any) -> bytes:
    """Instructions that make an object, and give it its state if there is one."""
    names = [bytes([len(part)]) + part.encode() for part in (module, name)]
    made = b"\x8c%b\x8c%b\x93)\x81" % (names[0], names[1])
    return made + b"".join(pickle.dumps(each, 4)[2:-1] + b"b" for each in state)


def finish(instructions: bytes) -> bytes:
    return b"\x80\x04" + instructions + b"."


def model_of(**parts: Any) -> bytes:
    """A model some of whose parts are others."""
    changed = {f"_{name}": part for name, part in parts.items()}
    state = Model("m", TREE, DATASET).__getstate__() | changed
    return finish(make("pipeline.aws.models", "Model", state))


def estimator_of(content: bytes) -> bytes:
    """A model with another estimator and its hash, and without curves."""
    return model_of(model_pickle=content, model_hash=sha256(content).hexdigest())


def curves_of(orders_placed: Any, hours: Any) -> bytes:
    """A model with a curve like this for each product."""
    curve = {"orders_placed": orders_placed, "hours": hours}
    curves = {code: deepcopy(curve) for code in FORMER_PRODUCTS}
    return model_of(metadata={"curves": curves})


def tree_bomb() -> bytes:
    """As many trees as fit, each made of the same million bytes."""
    n_features, depth, nodes, values, _ = flatten_tree(
        DecisionTreeRegressor().fit([[i, 0] for i in range(7000)], range(7000)).tree_
    )
    rebuild = b"\x8c\x14pipeline.tree_arrays\x8c\x0crebuild_tree\x93\x94"
    arguments = pickle.dumps((n_features, depth, nodes, values), 4)[2:-1]
    # References to the function, the nodes and the values.
    again = b"h\x00(K\x02K%ch\x01h\x02tR" % depth
    return finish(b"](" + rebuild + arguments + b"R" + again * 50_000 + b"e")


ARRAY = b"\x8c\x09persisted\x8c\x05array\x93\x94"


def array_of(kind: object, shape: object, content: object) -> bytes:
    """A model whose estimator is an array that is made of this."""
    arguments = pickle.dumps((kind, shape, content), 4)[2:-1]
    return estimator_of(finish(ARRAY + arguments + b"R"))


def arrays_of(content: bytes, times: int) -> bytes:
    """A model whose estimator is a list of arrays, each made of the same bytes."""
    shape = b"J%b\x85" % struct.pack("<i", len(content) // 8)
    kept = b"B%b%b\x94" % (struct.pack("<I", len(content)), content)
    first = ARRAY + b"\x8c\x03<f8\x94" + shape + kept + b"\x87R"
    again = b"h\x00h\x01" + shape + b"h\x02\x87R"
    return estimator_of(finish(b"](" + first + again * times + b"e"))


def projection(**changes: Any) -> Any:
    """A projection some of whose attributes are others."""
    model = MonotoneTreeRegressor.from_fitted(TREE, ROWS)
    model.__dict__.update(changes)
    return model


def hostile_curve(hours: list[Any]) -> Any:
    model = projection()
    for curve in model.curves_.values():
        vars(curve).update(orders_placed=[0.0, 9.0], hours=hours)
    return model


def other_tree(**changes: Any) -> Any:
    model = DecisionTreeRegressor(random_state=0).fit(ROWS, range(len(ROWS)))
    model.__dict__.update(changes)
    return model


CURVE = make("pipeline.piecewise_linear", "PiecewiseLinear")
RELEASE = version("scikit-learn").encode()
LONG = "x" * 500_000
PARTS = "its parts are not those of a model"
NO_LINE = "is not one line of printable text"
NOT_PLAIN = "its metadata are not plain: "
NO_ESTIMATE = "cannot estimate every product"
OTHER_SIZE = "an array has another size than its bytes"
NO_NUMBERS = "an array holds neither numbers nor text"
WITHOUT_STATE = "it holds an object without its state"

HOSTILE: dict[str, tuple[bytes, str]] = {
    "a model without state": (
        finish(make("pipeline.aws.models", "Model")),
        WITHOUT_STATE,
    ),
    "a model with two states": (
        model_of()[:-1] + b"}b.",
        "builds an object in another way",
    ),
    "an estimator for a model": (pickle_model(TREE), "which is not declared as part"),
    "too many bytes": (b"\x80\x04" + b"}" * MAX_BYTES, "is too large"),
    "as many dictionaries as fit": (
        b"\x80\x04" + b"}\x94" * (MAX_INSTRUCTIONS // 2 - 2) + b".",
        "is not type Model but dict",
    ),
    "as many marks as fit": (
        b"\x80\x04" + b"(" * (MAX_INSTRUCTIONS - 4) + b".",
        "pop",
    ),
    "as many references as fit": (
        b"\x80\x04N" + b"\x94" * (MAX_INSTRUCTIONS - 4) + b".",
        "is not type Model but NoneType",
    ),
    "dictionaries for all bytes": (
        b"\x80\x04" + b"}" * (MAX_BYTES - 3) + b".",
        f"more than the {MAX_INSTRUCTIONS:,} instructions",
    ),
    "a name of two lines": (model_of(name=f"m\n{FORGED}"), f"its name {NO_LINE}"),
    "a name with an escape": (model_of(name="\x1b[2J"), NO_LINE),
    "a name of half a letter": (model_of(name="\ud800"), NO_LINE),
    "a name that turns the line": (model_of(name="\u202ed"), NO_LINE),
    "a long name": (model_of(name=LONG), NO_LINE),
    "a dataset of two lines": (model_of(train_dataset_key="a\rb"), NO_LINE),
    "no timestamp": (model_of(creation_time="yesterday"), "Invalid isoformat"),
    "a number for a timestamp": (model_of(creation_time=7), PARTS),
    "a release of lists": (model_of(scikit_learn_version=[[LONG] * 300_000]), PARTS),
    "one part more": (model_of(surplus=1), PARTS),
    "metadata that are a list": (model_of(metadata=[1]), PARTS),
    "metadata of bytes": (model_of(metadata={"a": b"b"}), NOT_PLAIN),
    "metadata of numbers": (model_of(metadata={1: 2}), NOT_PLAIN),
    "metadata of two lines": (model_of(metadata={f"a\n{FORGED}": 1}), NOT_PLAIN),
    "long metadata": (model_of(metadata={"a": [LONG] * 300_000}), NOT_PLAIN),
    "deep metadata": (
        finish(
            make("pipeline.aws.models", "Model")
            + pickle.dumps(Model("m", TREE, DATASET).__getstate__(), 4)[2:-1]
            + b"\x8c\x09_metadata}\x8c\x01a"
            + b"]" * 100_000
            + b"a" * 99_999
            + b"ssb"
        ),
        NOT_PLAIN,
    ),
    "metadata that hold a model": (
        model_of()[:-2] + b"\x8c\x09_metadata}\x8c\x01a" + model_of()[2:-1] + b"ssb.",
        NOT_PLAIN,
    ),
    "no curves": (model_of(metadata={"curves": {}}), NO_ESTIMATE),
    "curves that are text": (model_of(metadata={"curves": "SKU001"}), NO_ESTIMATE),
    "curves that are a list": (model_of(metadata={"curves": [1]}), NO_ESTIMATE),
    "curves of NaN": (
        curves_of([1.0, 2.0], [float("nan")] * 2),
        f"{NOT_PLAIN}curves.SKU001.hours.0 is nan",
    ),
    "curves of infinity": (
        curves_of([1.0, 2.0], [1.0, float("inf")]),
        f"{NOT_PLAIN}curves.SKU001.hours.1 is inf",
    ),
    "a metric that is no number": (
        model_of(metadata={"r_squared": float("nan")}),
        f"{NOT_PLAIN}r_squared is nan",
    ),
    "long metadata before what is no number": (
        model_of(metadata={"a": [LONG] * 300_000, "b": float("nan")}),
        f"{NOT_PLAIN}they are too long",
    ),
    "curves that overflow": (curves_of([1.0, 2.0], [-1e308, 1e308]), NO_ESTIMATE),
    "curves too steep": (curves_of([1.0, 1.0000000000000002], [0, 9.0]), NO_ESTIMATE),
    "curves of truth": (curves_of([1.0, 2.0], [True, True]), NO_ESTIMATE),
    "curves of text": (curves_of("ab", "cd"), NO_ESTIMATE),
    "curves of texts": (curves_of([1.0, 2.0], ["1", "2"]), NO_ESTIMATE),
    "curves of no lists": (curves_of(1.0, 2.0), NO_ESTIMATE),
    "curves of two lengths": (curves_of([1.0, 2.0], [1.0]), NO_ESTIMATE),
    "long curves": (curves_of([LONG] * 60_000, [LONG] * 60_000), NOT_PLAIN),
    "a tree without state": (
        estimator_of(finish(make("sklearn.tree._classes", "DecisionTreeRegressor"))),
        WITHOUT_STATE,
    ),
    "a projection without state": (
        estimator_of(finish(make("pipeline.monotone_tree", "MonotoneTreeRegressor"))),
        WITHOUT_STATE,
    ),
    "a curve without state": (estimator_of(finish(CURVE)), WITHOUT_STATE),
    "a curve without state in a list": (
        estimator_of(finish(b"]" + CURVE + b"a")),
        WITHOUT_STATE,
    ),
    "a curve as the estimator": (
        estimator_of(pickle_model(projection().curves_[0])),
        NO_ESTIMATE,
    ),
    "a tree bomb": (estimator_of(tree_bomb()), "more of its bytes than it has"),
    "an array of objects": (array_of("|O", (1,), bytes(8)), NO_NUMBERS),
    "an array of records": (array_of("f8," * 100_000, (1,), bytes(8)), NO_NUMBERS),
    "an array of no type": (array_of(8, (1,), bytes(8)), NO_ESTIMATE),
    "an array that goes on": (array_of("<f8", (3,), bytes(16)), OTHER_SIZE),
    "an array that ends": (array_of("<f8", (1,), bytes(16)), OTHER_SIZE),
    "an array of less than nothing": (array_of("<f8", (-1, -1), bytes(8)), OTHER_SIZE),
    "a huge array of few bytes": (
        array_of("<f8", (2**30, 2**30, 2**30), bytes(8)),
        OTHER_SIZE,
    ),
    "a huge array of nothing": (
        array_of("<f8", (0, 2**30, 2**30, 2**30), b""),
        NO_ESTIMATE,
    ),
    "a long text of few bytes": (array_of("<U999999999", (1,), bytes(4)), NO_ESTIMATE),
    "an array of many dimensions": (
        array_of("<f8", tuple([255] * 900_000), bytes(8)),
        OTHER_SIZE,
    ),
    "an array of other bytes": (array_of("<f8", (8,), "x" * 64), NO_ESTIMATE),
    "an array for an estimator": (array_of("<f8", (1,), bytes(8)), NO_ESTIMATE),
    "an array bomb": (
        arrays_of(bytes(2**20), times=50_000),
        "more of its bytes than it has",
    ),
    "as many arrays as fit": (arrays_of(b"", times=100_000), NO_ESTIMATE),
    "a curve of NaN": (
        estimator_of(pickle_model(hostile_curve([1.0, float("nan")]))),
        "knots are not finite",
    ),
    "a curve of text": (
        estimator_of(pickle_model(hostile_curve(["1", "2"]))),
        "knots are not finite",
    ),
    "an estimator of a class of two lines": (
        estimator_of(finish(make(f"posix\n{FORGED}", "system" + "m" * 200))),
        NO_ESTIMATE,
    ),
    "a tree with an attribute of two lines": (
        estimator_of(pickle_model(other_tree(**{f"depth\n{FORGED}": [1]}))),
        "has a list for its depth",
    ),
    "a projection of trees": (
        estimator_of(pickle_model(projection(curves_=dict.fromkeys(range(5), 1.0)))),
        "a curve that is none",
    ),
    "a projection that is changed": (
        estimator_of(pickle_model(projection(predict=MonotoneTreeRegressor))),
        "has a type for its predict",
    ),
    "a projection without curves": (
        estimator_of(pickle_model(MonotoneTreeRegressor(DecisionTreeRegressor()))),
        NO_ESTIMATE,
    ),
    "a tree that is a number": (
        estimator_of(pickle_model(other_tree(tree_=1.0))),
        "has a float for its tree_",
    ),
    "a tree of lists": (
        estimator_of(pickle_model(other_tree(monotonic_cst=[1]))),
        "has a list for its monotonic_cst",
    ),
    "a tree of another release": (
        estimator_of(pickle_model(TREE).replace(RELEASE, b"\n" * len(RELEASE))),
        "of another scikit-learn",
    ),
}
# As a week's model: its curves in its metadata.
GOOD = curves_of([90.0, 160.0], [4.5, 8.0])


def test_the_service_goes_back_to_the_good_model(s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="models/m_2021-07-02.pkl", Body=GOOD)
    expected = str(aws.get_latest_pkl_model_from_s3(bucket, "models"))
    for number, (content, _) in enumerate(HOSTILE.values()):
        second = datetime(2022, 1, 1) + timedelta(seconds=number)
        key = f"models/\x1b[2J{second.isoformat()}.pkl"
        s3.put_object(Bucket=bucket, Key=key, Body=content)

    process = subprocess.run(
        [sys.executable, "-c", LOAD_AS_THE_SERVICE_DOES, bucket],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert process.returncode == 0 and not process.stderr, process.stderr
    *log, result = process.stdout.splitlines()
    served, refusals = json.loads(result)
    assert served == expected
    assert len(log) == len(refusals) == len(HOSTILE)
    # The newest first.
    for (name, (_, sentence)), refusal in zip(
        reversed(HOSTILE.items()), refusals, strict=True
    ):
        assert sentence in refusal, name
        assert refusal.isprintable() and len(refusal) < 3000
    for line, refusal in zip(log, refusals, strict=True):
        assert " - ERROR - " in line and line.endswith(f" - Refused: {refusal}")
