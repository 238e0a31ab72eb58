# SPDX-License-Identifier: Apache-2.0
import ml_dtypes
import numpy as np
import pytest

import tessera
import tessera._frameworks
import tessera.numpy
from conftest import read_safetensors


def test_load_file_gives_the_bytes_of_the_source(compressed, source):
    tensors = tessera.load_file(compressed, raw=True)
    assert list(tensors) == list(dict(sorted(source.items(), key=lambda item: list(tensors).index(item[0]))))
    for name, (dtype, shape, data) in source.items():
        assert dtype == "BF16" and tensors[name].dtype == np.uint16
        assert tensors[name].shape == shape and tensors[name].tobytes() == data


def test_bf16_comes_as_safetensors_gives_it(model, compressed):
    safetensors = pytest.importorskip("safetensors.numpy")
    expected, tensors = safetensors.load_file(model / "model.safetensors"), tessera.load_file(compressed)
    assert set(expected) == set(tensors)
    for name, array in expected.items():
        assert tensors[name].dtype == array.dtype == ml_dtypes.bfloat16 and tensors[name].shape == array.shape
        assert tensors[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("how", ["asked for", "no ml_dtypes"])
def test_bf16_comes_as_exact_float32(compressed, source, how, monkeypatch):
    if how == "no ml_dtypes":
        monkeypatch.setattr(tessera._frameworks, "ml_dtypes", None)
    tensors = tessera.load_file(compressed, f32=how == "asked for")
    for name, (_dtype, shape, data) in source.items():
        bits = np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16
        assert tensors[name].dtype == np.float32
        np.testing.assert_array_equal(tensors[name].view(np.uint32).reshape(-1), bits)
        assert tensors[name].shape == shape


def test_raw_checkpoints_read_alike(model, compressed):
    raw, stored = tessera.load_file(model), tessera.load_file(compressed)
    single = tessera.load_file(model / "model.safetensors")
    assert set(raw) == set(stored) == set(single)
    assert all(np.array_equal(raw[name], stored[name]) and np.array_equal(raw[name], single[name]) for name in raw)


def test_lossy_tensors_are_those_of_the_decompressed_folder(lossy, restored):
    plain = read_safetensors(restored / "model.safetensors")
    tensors = tessera.load_file(lossy, raw=True)
    assert all(tensors[name].tobytes() == data for name, (_dtype, _shape, data) in plain.items())


EMBED = "model.embed_tokens.weight"
SLICES = [3, -1, slice(None), slice(2, 9), slice(-5, None), slice(5, 5), slice(9, 2), slice(None, None, 7), slice(1900, 9999)]
SLICES += [(slice(3, 8), slice(None, None, 4)), (7, slice(1, 3)), (slice(600, 700), 5), (Ellipsis, 3), Ellipsis, (2, 3)]


@pytest.mark.parametrize("index", SLICES, ids=str)
def test_slices_are_numpys(compressed, index):
    whole = tessera.load_file(compressed)[EMBED]
    with tessera.safe_open(compressed) as checkpoint:
        part = checkpoint.get_slice(EMBED)[index]
        assert part.shape == whole[index].shape
        np.testing.assert_array_equal(part, whole[index])


@pytest.mark.parametrize("index, error", [(2048, IndexError), (-2049, IndexError), ("x", ValueError), (slice(5, 1, -1), ValueError)])
def test_slices_that_are_not_there_are_refused(compressed, index, error):
    with tessera.safe_open(compressed) as checkpoint, pytest.raises(error):
        checkpoint.get_slice(EMBED)[index]


def test_safe_open_tells_what_is_there(compressed, model, source):
    with tessera.safe_open(compressed, framework="numpy") as checkpoint:
        assert checkpoint.is_compressed and len(checkpoint) == len(source)
        assert set(checkpoint.keys()) == set(source) == set(checkpoint)
        info = checkpoint.info(EMBED)
        assert (info.dtype, info.shape, info.role, info.exact) == ("BF16", (2048, 128), "embed", True)
        assert info.stored_nbytes < info.nbytes == 2048 * 128 * 2
        view = checkpoint.get_slice(EMBED)
        assert view.get_shape() == [2048, 128] and view.get_dtype() == "BF16"
        assert EMBED in checkpoint and "nowhere" not in checkpoint
    with tessera.safe_open(model) as checkpoint:
        assert not checkpoint.is_compressed and checkpoint.info(EMBED).role is None


def test_a_closed_checkpoint_says_so(compressed):
    checkpoint = tessera.safe_open(compressed)
    checkpoint.close()
    checkpoint.close()
    with pytest.raises(ValueError, match="closed"):
        checkpoint.get_tensor(EMBED)


def every_dtype():
    random = np.random.default_rng(1)
    tensors = {}
    for code in "f8 f4 f2 i8 i4 i2 i1 u8 u4 u2 u1 c8".split():
        values = random.standard_normal((5, 7)) * 50
        tensors[code] = values.astype(np.int64).astype(code) if code[0] in "iu" else values.astype(code)
    tensors["bool"] = random.random((3, 4)) > 0.5
    tensors["scalar"] = np.array(2.5, dtype=np.float32)
    tensors["empty"] = np.zeros((0, 4), dtype=np.float32)
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        tensors[name] = random.standard_normal((4, 6)).astype(getattr(ml_dtypes, name))[:, ::2]
    tensors["strided"] = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3]
    tensors["big endian"] = np.arange(6, dtype=">f4")
    return tensors


def test_every_dtype_comes_back(tmp_path):
    tensors = every_dtype()
    tessera.numpy.save_file(tensors, tmp_path / "out", metadata={"by": "the test"})
    back = tessera.numpy.load_file(tmp_path / "out")
    assert set(back) == set(tensors)
    for name, array in tensors.items():
        assert back[name].dtype == array.dtype.newbyteorder("=") and back[name].shape == array.shape, name
        np.testing.assert_array_equal(back[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing else is left


def test_what_is_saved_is_read_by_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    # It has no 8-bit floats for numpy.
    tensors = {name: array for name, array in every_dtype().items() if not name.startswith("float8")}
    tessera.save(tensors, tmp_path / "out")
    tessera.decompress(tmp_path / "out", tmp_path / "back", exact=True)
    back = safetensors.load_file(tmp_path / "back" / "model.safetensors")
    assert all(np.array_equal(back[name], array) for name, array in tensors.items())


def test_what_numpy_has_no_type_for_is_refused_or_raw(tmp_path, monkeypatch):
    monkeypatch.setattr(tessera._frameworks, "ml_dtypes", None)
    header = b'{"w":{"dtype":"F8_E4M3","shape":[2,3],"data_offsets":[0,6]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[6,8]}}'
    header += b" " * (-len(header) % 8)
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(range(1, 7)) + b"\x80\x3f")
    with tessera.safe_open(path) as checkpoint:
        assert checkpoint.get_tensor("b").tolist() == [1.0]
        with pytest.raises(tessera.UnsupportedError, match="F8_E4M3"):
            checkpoint.get_tensor("w")
    with tessera.safe_open(path, raw=True) as checkpoint:
        assert checkpoint.get_tensor("w").tolist() == [[1, 2, 3], [4, 5, 6]]
        assert checkpoint.get_slice("w")[1].tolist() == [4, 5, 6]
        assert checkpoint.get_tensor("b").tolist() == [0x3F80]
