# SPDX-License-Identifier: Apache-2.0
"""The bundled model, raw and compressed, and a reader of .safetensors that shares nothing with what is tested."""
import json
import os
import signal
from pathlib import Path

import pytest

import tessera

ROOT = Path(os.environ.get("TESSERA_ROOT") or Path(__file__).resolve().parents[3])


def read_safetensors(path):
    """{name: (dtype, shape, bytes)}"""
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    begin = 8 + length
    return {
        name: (entry["dtype"], tuple(entry["shape"]), data[begin + entry["data_offsets"][0] : begin + entry["data_offsets"][1]])
        for name, entry in header.items()
    }


@pytest.fixture
def interruptible():
    """Python's own handler of SIGINT, which a process that a shell started in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def model():
    return ROOT / "demo/stories-1m"


@pytest.fixture(scope="session")
def source(model):
    return read_safetensors(model / "model.safetensors")


@pytest.fixture(scope="session")
def compressed(model, tmp_path_factory):
    output = tmp_path_factory.mktemp("lossless") / "out"
    receipt = tessera.compress(model, output)
    assert receipt["totals"]["output_bytes"] < 0.7 * receipt["totals"]["source_bytes"]
    return output


@pytest.fixture(scope="session")
def lossy(model, tmp_path_factory):
    output = tmp_path_factory.mktemp("balanced") / "out"
    tessera.compress(model, output, "balanced")
    return output


@pytest.fixture(scope="session")
def restored(lossy, tmp_path_factory):
    output = tmp_path_factory.mktemp("restored") / "out"
    tessera.decompress(lossy, output)
    return output
