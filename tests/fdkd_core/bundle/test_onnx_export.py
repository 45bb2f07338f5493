from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from bundle_samples import EVERY_KIND, Bundles, warmed

from fdkd_core.bundle.onnx_export import OPSET, export_onnx
from fdkd_core.bundle.onnx_session import OnnxSession, check_onnx
from fdkd_core.errors import ModelFileError
from fdkd_core.models import build_model
from fdkd_core.spec.architectures import MLPSpec, ResNet18Spec

REL_TOL = 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_parity_is_recorded(bundles: Bundles, kind: Any) -> None:
    summary, values = bundles(kind)
    assert summary.onnx is not None
    assert summary.onnx.opset == OPSET
    assert summary.onnx.relative_difference < REL_TOL
    assert summary.onnx.equal_predictions == summary.onnx.num_samples == len(values)


@pytest.mark.slow
def test_both_outputs_at_other_batch_sizes() -> None:
    shape = (1, 64, 50)
    rng = np.random.default_rng(0)
    spec = ResNet18Spec(width=4, stem="large")
    model = warmed(spec, 2 + 3 * rng.standard_normal((16, *shape), dtype=np.float32), 5)
    session = onnxruntime.InferenceSession(export_onnx(model, shape), providers=["CPUExecutionProvider"])
    model.eval()
    for batch in (1, 3, 7):
        inputs = 2 + 3 * rng.standard_normal((batch, *shape), dtype=np.float32)
        with torch.inference_mode():
            expected = model(torch.from_numpy(inputs))
        logits, features = session.run(["logits", "features"], {"inputs": inputs})
        for found, reference in ((logits, expected.logits.numpy()), (features, expected.features.numpy())):
            assert found.shape == reference.shape
            assert np.abs(found - reference).max() <= REL_TOL * np.abs(reference).max()


@pytest.mark.slow
def test_text_without_tokens_agrees(bundles: Bundles) -> None:
    summary, _ = bundles("text")
    from fdkd_core.bundle import load_bundle

    model = load_bundle(summary.path).model
    ids = np.zeros((3, *load_bundle(summary.path).config.input_shape), np.int64)
    ids[1, :4] = [5, 9, 2, 7]
    found = OnnxSession((summary.path / "model.onnx").read_bytes())(ids)
    np.testing.assert_allclose(found, model(torch.from_numpy(ids)).logits.detach(), rtol=1e-4, atol=1e-6)


def test_the_file_is_self_contained_repeatable_and_tells_nothing_else(
    capfd: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    model = build_model(MLPSpec(width=8, dropout=0.5), (3,), 2)
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    data = export_onnx(model, (3,))
    assert export_onnx(model, (3,)) == data
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    for trace in (b"site-packages", b"fdkd_core", b"stack_trace", b".py"):
        assert trace not in data
    proto = onnx.ModelProto.FromString(data)
    onnx.checker.check_model(proto, full_check=True)
    assert [value.name for value in proto.graph.input] == ["inputs"]
    assert [value.name for value in proto.graph.output] == ["logits", "features"]
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert proto.opset_import[0].version == OPSET
    assert not any(node.op_type == "Dropout" for node in proto.graph.node)
    assert capfd.readouterr() == ("", "")


def tiny_onnx() -> onnx.ModelProto:
    weight = onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["inputs", "w"], ["logits"])
    shape = onnx.helper.make_tensor_value_info("inputs", onnx.TensorProto.FLOAT, ["batch", 2])
    out = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 2])
    graph = onnx.helper.make_graph([node], "g", [shape], [out], [weight])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)


def refusal(proto: onnx.ModelProto | bytes) -> str:
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    with pytest.raises(ModelFileError) as caught:
        OnnxSession(data)
    return caught.value.problems[0].code


def test_what_an_honest_export_never_has() -> None:
    check_onnx(tiny_onnx().SerializeToString())

    outside = tiny_onnx()
    outside.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    outside.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    assert refusal(outside) == "external_data_forbidden"

    nested = tiny_onnx()
    inner = onnx.helper.make_graph([], "inner", [], [], [outside.graph.initializer[0]])
    nested.graph.node.append(onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner))
    assert refusal(nested) == "external_data_forbidden"

    constant = tiny_onnx()
    constant.graph.node.append(
        onnx.helper.make_node("Constant", [], ["k"], value=outside.graph.initializer[0])
    )
    assert refusal(constant) == "external_data_forbidden"

    custom = tiny_onnx()
    custom.graph.node[0].domain = "com.evil"
    assert refusal(custom) == "unsupported_op"

    with_functions = tiny_onnx()
    with_functions.functions.add(name="f")
    assert refusal(with_functions) == "unsupported_op"

    assert refusal(b"\x80\x04 not onnx") == "invalid_onnx"
    assert refusal(b"") == "invalid_onnx"
