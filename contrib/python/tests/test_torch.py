# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

import tessera

torch = pytest.importorskip("torch", reason="TORCH IS NOT INSTALLED: tensors of torch are not tested")
import tessera.torch  # noqa: E402


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def test_tensors_have_their_own_dtypes(compressed, source):
    tensors = tessera.torch.load_file(compressed)
    for name, (_dtype, shape, data) in source.items():
        assert tensors[name].dtype == torch.bfloat16 and tuple(tensors[name].shape) == shape
        assert bits(tensors[name]) == data


def test_they_equal_what_safetensors_loads(model, compressed):
    safetensors = pytest.importorskip("safetensors.torch")
    expected, tensors = safetensors.load_file(model / "model.safetensors"), tessera.torch.load_file(compressed)
    assert set(expected) == set(tensors) and all(torch.equal(expected[name], tensors[name]) for name in expected)


def test_f32_widens(compressed):
    narrow, wide = tessera.torch.load_file(compressed), tessera.load_file(compressed, "pt", f32=True)
    assert all(wide[name].dtype == torch.float32 and torch.equal(wide[name], narrow[name].float()) for name in narrow)


def test_slices_are_torchs(compressed):
    name = "model.embed_tokens.weight"
    whole = tessera.torch.load_file(compressed)[name]
    with tessera.safe_open(compressed, framework="pt") as checkpoint:
        view = checkpoint.get_slice(name)
        for index in (5, slice(3, 40), (slice(600, 800), slice(None, None, 3)), Ellipsis):
            assert torch.equal(view[index], whole[index])


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float16", "float32", "int64", "uint8", "bool"])
def test_dtypes_come_back(tmp_path, name):
    tensor = (torch.randn(6, 10, generator=torch.Generator().manual_seed(1)) * 9).to(getattr(torch, name))
    tessera.torch.save_file({"a": tensor, "b": tensor.t(), "c": tensor[:0]}, tmp_path / "out")
    back = tessera.torch.load_file(tmp_path / "out")
    assert back["a"].dtype == tensor.dtype and bits(back["a"]) == bits(tensor)
    assert bits(back["b"]) == bits(tensor.t()) and back["c"].shape == (0, 10)


def test_arrays_of_both_frameworks_can_be_saved_together(tmp_path):
    tessera.save({"t": torch.ones(3), "n": np.ones(3, dtype=np.float32)}, tmp_path / "out")
    back = tessera.load_file(tmp_path / "out")
    assert back["t"].tolist() == back["n"].tolist() == [1, 1, 1]
