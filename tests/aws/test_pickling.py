"""A hostile pickle executes nothing, and a tree that lies is never walked."""

import io
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame
from sklearn.tree import DecisionTreeRegressor
from sklearn.tree._tree import NODE_DTYPE
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.aws.pickling import (
    MAX_BYTES,
    pickle_model,
    unpickle_estimator,
    unpickle_model,
)
from pipeline.estimator.monotone_tree import MonotoneTreeRegressor
from pipeline.train_model import prepare_data, preprocess
from pipeline.estimator.tree_arrays import flatten_tree, rebuild_tree
from sandbox.orders import make_week

DATA = prepare_data(make_week(rows=300, seed=1))
FEATURES = preprocess(DATA.X_train)
TREE = DecisionTreeRegressor(max_depth=6, random_state=0).fit(FEATURES, DATA.y_train)
MONOTONE = MonotoneTreeRegressor.from_fitted(TREE, FEATURES)
MARKER = "executed"


class Reduce:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def payloads() -> dict[str, bytes]:
    """Pickles that would touch MARKER in the working directory, or worse."""
    import os

    import joblib
    from sklearn.utils import resample

    touch = f"open({MARKER!r}, 'w').close()"
    shell = f"touch {MARKER}"
    call = pickle.dumps(Reduce(os.system, shell))
    attribute_chain = (
        b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93\x8c"
        + bytes([len(touch)])
        + touch.encode()
        + b"\x85R."
    )
    memo_trick = (
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93\x8c"
        + bytes([len(shell)])
        + shell.encode()
        + b"\x85R."
    )
    laughs = b"\x80\x04]\x94(" + b"K\x01" * 10 + b"e" + b"]\x94(h\x00h\x00e" * 60 + b"."
    nested_keys = b"\x80\x04)\x94" + b"".join(
        b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(60)
    )
    curve = b"\x8c\x19pipeline.piecewise_linear\x8c\x0fPiecewiseLinear\x93"
    state = b"}(\x8c\x01ah%b\x8c\x01bh%bub"
    instances = b"".join(
        b"h\x00)\x81\x94" + state % (bytes([i]), bytes([i])) for i in range(1, 60)
    )
    inside_model = aws.Model("m", TREE, aws.Dataset(DataFrame(), NOW, "b", "k", "h"))
    inside_model._metadata = {"r_squared": Reduce(os.system, shell)}
    return {
        "os.system": call,
        "protocol 0": f"cos\nsystem\n(S'{shell}'\ntR.".encode(),
        "INST": f"(S'{shell}'\nios\nsystem\n.".encode(),
        "OBJ": f"(cos\nsystem\nS'{shell}'\no.".encode(),
        "builtins.eval": pickle.dumps(Reduce(eval, touch)),
        "builtins.exec": pickle.dumps(Reduce(exec, touch)),
        "subprocess": pickle.dumps(Reduce(subprocess.call, ["touch", MARKER])),
        "nested reduce": pickle.dumps(Reduce(list, Reduce(map, Reduce(eval, touch)))),
        "getattr": pickle.dumps(Reduce(getattr, Reduce(__import__, "os"), "system")),
        "attribute chain": attribute_chain,
        "memo trick": memo_trick,
        "joblib.load": pickle.dumps(Reduce(joblib.load, MARKER)),
        "numpy.load": pickle.dumps(Reduce(np.load, MARKER, None, True)),
        "numpy.frombuffer": pickle.dumps(np.zeros(3)),
        "numpy objects": pickle.dumps(np.array([Reduce(eval, touch)], dtype=object)),
        "numpy dtype": pickle.dumps(np.dtype(object)),
        "sklearn": pickle.dumps(Reduce(resample, [1])),
        "a set": pickle.dumps({1, 2}),
        "persistent id": b"\x80\x04\x8c\x01aQ.",
        "extension code": b"\x80\x04\x82\x01.",
        "billion laughs": laughs,
        "nested keys": nested_keys + b"}h\x3bK\x01s.",
        "deep key": b"\x80\x04})" + b"\x85" * 500_000 + b"Ns.",
        "colliding keys": b"\x80\x04}("
        + b"".join(
            b"\x8a\x0b" + (i * (2**61 - 1)).to_bytes(11, "little") + b"N"
            for i in range(1, 20_000)
        )
        + b"u.",
        "instances that hold each other": b"\x80\x04" + curve + b"\x94h\x00)\x81\x94"
        + instances
        + b".",
        "a changed class": b"\x80\x04"
        + curve
        + b"N}\x8c\x08__call__"
        + curve
        + b"s\x86b.",
        "a constructor": b"\x80\x04" + curve + b"]K\x01a]K\x02a\x86R.",
        "a constructor with arguments": b"\x80\x04" + curve + b"K\x01\x85\x81.",
        "next buffer": b"\x80\x05\x97.",
        "inside a model": pickle.dumps(inside_model),
        "truncated": pickle_model(MONOTONE)[:-9],
        "trailing": pickle_model(MONOTONE) + call,
        "too long": b"\x80\x04" + b"N0" * (MAX_BYTES // 2) + b"N.",
        "missing memo": b"\x80\x04h\x09.",
        "nothing": b"",
    }


NOW = datetime(2021, 7, 3)
PAYLOADS = payloads()


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(None, id="without a key"),
        pytest.param("k" * 32, id="with a key", marks=pytest.mark.thorough),
    ],
)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_pickle_is_refused_and_executes_nothing(
    s3: S3Client,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    payload: str,
    key: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    if key is not None:
        monkeypatch.setenv("MODEL_SIGNING_KEY", key)
    content = PAYLOADS[payload]
    # As if the key had leaked: even what is signed is not trusted.
    aws.add_model_to_s3(content, "m", NOW, bucket, "models")
    with pytest.raises(RuntimeError) as refusal:
        aws.get_latest_pkl_model_from_s3(bucket, "models")
    assert f"s3://{bucket}/models/m_2021-07-03T00:00:00.pkl" in str(refusal.value)
    assert "train a new model" in str(refusal.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_estimator_is_refused_and_executes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payload: str
) -> None:
    """The estimator of a model may be made of more classes than the model itself."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError):
        unpickle_estimator(PAYLOADS[payload])
    assert not list(tmp_path.iterdir())


@pytest.mark.process
def test_the_payloads_are_real(tmp_path: Path) -> None:
    """Python's own unpickler executes them."""
    for name in ("os.system", "builtins.eval", "attribute chain", "memo trick", "OBJ"):
        content = PAYLOADS[name]
        script = f"import pickle; pickle.loads({content!r})"
        where = tmp_path / name
        where.mkdir()
        subprocess.run([sys.executable, "-c", script], cwd=where, capture_output=True)
        assert (where / MARKER).exists(), name


@pytest.mark.parametrize("estimator", [TREE, MONOTONE], ids=["tree", "projection"])
def test_our_models_come_back_as_they_were(estimator: Any) -> None:
    loaded: Any = unpickle_estimator(pickle_model(estimator))
    assert np.array_equal(loaded.predict(FEATURES), estimator.predict(FEATURES))
    assert loaded.get_params(deep=False).keys() == estimator.get_params(False).keys()
    tree = loaded if estimator is TREE else loaded.estimator_
    assert np.array_equal(tree.predict(FEATURES), TREE.predict(FEATURES))
    assert tree.get_depth() == TREE.get_depth()


def spoil(field: str, value: float, node: int = 0) -> Callable[[Any, Any], None]:
    def spoiled(nodes: Any, values: Any) -> None:
        if field == "value":
            values[node] = value
        else:
            nodes[field][node] = value

    return spoiled


@pytest.mark.parametrize(
    "change",
    [
        spoil("left_child", 10**6),
        spoil("right_child", -7),
        spoil("left_child", 0),
        spoil("right_child", 1),
        spoil("feature", 2),
        spoil("feature", -2),
        spoil("threshold", np.nan),
        spoil("value", np.inf),
        spoil("left_child", -1),
    ],
)
def test_a_tree_that_points_outside_itself_is_refused(
    change: Callable[[Any, Any], None],
) -> None:
    n_features, depth, node_bytes, value_bytes, _ = flatten_tree(TREE.tree_)
    nodes = np.frombuffer(node_bytes, NODE_DTYPE).copy()
    values = np.frombuffer(value_bytes).copy()
    assert rebuild_tree(n_features, depth, nodes.tobytes(), values.tobytes())
    change(nodes, values)
    with pytest.raises(ValueError, match="arrays of its tree point outside themselves"):
        rebuild_tree(n_features, depth, nodes.tobytes(), values.tobytes())


@pytest.mark.parametrize(
    "arguments",
    [
        (2, 99, *flatten_tree(TREE.tree_)[2:]),
        (1, *flatten_tree(TREE.tree_)[1:]),
        (2, 0, b"", b""),
        (2, 6, flatten_tree(TREE.tree_)[2][:-1], flatten_tree(TREE.tree_)[3]),
        (2, 6, flatten_tree(TREE.tree_)[2], flatten_tree(TREE.tree_)[3][:-8]),
        (*flatten_tree(TREE.tree_)[:4], 2),
        (*flatten_tree(TREE.tree_)[:4], -1),
        (*flatten_tree(TREE.tree_)[:4], 0),
    ],
    ids=["depth", "features", "empty", "torn nodes", "too few values"]
    + ["too many classes", "negative classes", "no classes"],
)
def test_a_tree_whose_numbers_do_not_fit_is_refused(arguments: Any) -> None:
    with pytest.raises(ValueError):
        rebuild_tree(*arguments)


def test_a_tree_of_more_features_than_its_estimator_is_refused() -> None:
    liar = DecisionTreeRegressor(max_depth=6).fit(FEATURES, DATA.y_train)
    liar.n_features_in_ = 1
    with pytest.raises(pickle.UnpicklingError, match="another number of features"):
        unpickle_estimator(pickle_model(liar))


def test_a_long_reference_to_a_container_is_refused() -> None:
    long_get = b"\x80\x04]\x94" + b"j" + struct.pack("<I", 0) + b"\x86."
    assert pickle.load(io.BytesIO(long_get)) == ([], [])
    with pytest.raises(pickle.UnpicklingError, match="same object in two places"):
        unpickle_model(long_get)
