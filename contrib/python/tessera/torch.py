# SPDX-License-Identifier: Apache-2.0
"""load_file and save_file of safetensors.torch, for compressed checkpoints too."""
from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

import torch

from . import load_file as _load_file
from . import save as _save
from ._library import PathLike


def load_file(filename: PathLike, device: Any = "cpu") -> Dict[str, torch.Tensor]:
    """All tensors as torch tensors in their own dtypes."""
    return _load_file(filename, "pt", device)


def save_file(tensors: Mapping[str, torch.Tensor], filename: PathLike, metadata: Optional[Mapping[str, str]] = None) -> None:
    """Saves losslessly into the folder `filename`, which is replaced if it is there."""
    _save(tensors, filename, metadata=metadata, force=True)
