# SPDX-License-Identifier: Apache-2.0
"""Models of transformers from compressed folders."""
from __future__ import annotations

import os
from typing import Any, Optional

from ._checkpoint import safe_open
from ._library import Library, PathLike

_MARK = "tessera"  # quant_method in the config of a compressed folder


def _plain_config(path: PathLike, given: Any) -> Any:
    """The model's config without the mark that keeps transformers from initialising such a folder at random."""
    from transformers import AutoConfig

    config = given if given is not None else AutoConfig.from_pretrained(os.fspath(path))
    mark = getattr(config, "quantization_config", None)
    method = mark.get("quant_method") if isinstance(mark, dict) else getattr(mark, "quant_method", None)
    if method == _MARK:
        del config.quantization_config
    return config


def _model_class(cls: Any, config: Any, trust_remote_code: Optional[bool]) -> Any:
    """The class itself, or what an Auto class stands for: it makes a model without memory, to be asked for its class."""
    import torch

    if not hasattr(cls, "from_config"):
        return cls
    options = {} if trust_remote_code is None else {"trust_remote_code": trust_remote_code}
    with torch.device("meta"):
        return type(cls.from_config(config, **options))


def from_pretrained(cls: Any, path: PathLike, *, config: Any = None, library: Optional[Library] = None, **kwargs: Any) -> Any:
    """cls.from_pretrained(folder, **kwargs) for a folder that is compressed (or raw):

        model = tessera.transformers.from_pretrained(AutoModelForCausalLM, "my-model.tsr", dtype="auto")

    The model is the one that the decompressed folder would give. Tokenizers and processors load from the folder as it is."""
    from transformers import GenerationConfig

    config = _plain_config(path, config)
    model_class = _model_class(cls, config, kwargs.get("trust_remote_code"))
    with safe_open(path, "pt", library=library) as checkpoint:
        # Names with a slash belong to checkpoints of their own, in subfolders.
        tensors = checkpoint.get_tensors(name for name in checkpoint.keys() if "/" not in name)
    model = model_class.from_pretrained(None, config=config, state_dict=tensors, **kwargs)
    model.name_or_path = model.config._name_or_path = os.fspath(path)
    if getattr(model, "can_generate", lambda: False)() and os.path.exists(os.path.join(path, "generation_config.json")):
        model.generation_config = GenerationConfig.from_pretrained(os.fspath(path))
    return model
