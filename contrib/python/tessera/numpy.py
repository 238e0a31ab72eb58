# SPDX-License-Identifier: Apache-2.0
"""load_file and save_file of safetensors.numpy, for compressed checkpoints too."""
from __future__ import annotations

from typing import Dict, Mapping, Optional

import numpy as np

from . import load_file as _load_file
from . import save as _save
from ._library import PathLike


def load_file(filename: PathLike) -> "Dict[str, np.ndarray]":
    """All tensors as numpy arrays; BF16 as ml_dtypes.bfloat16."""
    return _load_file(filename, "np")


def save_file(tensors: "Mapping[str, np.ndarray]", filename: PathLike, metadata: Optional[Mapping[str, str]] = None) -> None:
    """Saves losslessly into the folder `filename`, which is replaced if it is there."""
    _save(tensors, filename, metadata=metadata, force=True)
