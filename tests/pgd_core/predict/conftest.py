from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

PREPROCESSING = {
    "long_side": 128,
    "short_side": 64,
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "size_divisor": 32,
}


def write_model(path: Path) -> Path:
    """An exported detector in miniature: the whole picture is a `cat` of 0.9, its left upper
    8 x 8 pixels a `dog` of 0.2."""
    constants = {
        "scores": helper.make_tensor("s", TensorProto.FLOAT, [1, 3], [0.9, 0.2, 0.0]),
        "labels": helper.make_tensor("l", TensorProto.INT64, [1, 3], [0, 1, -1]),
        "counts": helper.make_tensor("c", TensorProto.INT64, [1], [2]),
        "rest": helper.make_tensor("r", TensorProto.FLOAT, [2, 4], [0, 0, 8, 8, 0, 0, 0, 0]),
        "zero": helper.make_tensor("z", TensorProto.FLOAT, [1, 2], [0, 0]),
        "order": helper.make_tensor("o", TensorProto.INT64, [2], [1, 0]),
        "axes": helper.make_tensor("a", TensorProto.INT64, [1], [0]),
    }
    nodes = [helper.make_node("Constant", [], [name], value=v) for name, v in constants.items()]
    nodes += [
        helper.make_node("Cast", ["image_sizes"], ["sizes"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["sizes", "order"], ["corner"], axis=1),
        helper.make_node("Concat", ["zero", "corner"], ["whole"], axis=1),
        helper.make_node("Concat", ["whole", "rest"], ["all"], axis=0),
        helper.make_node("Unsqueeze", ["all", "axes"], ["boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "miniature",
        [
            helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"]),
            helper.make_tensor_value_info("image_sizes", TensorProto.INT64, ["n", 2]),
        ],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", "d", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", "d"]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["n", "d"]),
            helper.make_tensor_value_info("counts", TensorProto.INT64, ["n"]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    known = {"preprocessing": json.dumps(PREPROCESSING), "classes": json.dumps(["cat", "dog"])}
    helper.set_model_props(model, known)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "student-nms.onnx")
