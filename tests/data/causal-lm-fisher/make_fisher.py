#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the goldens of this folder: Fisher values (docs/stats.md) of every fixture of ../causal-lm and ../causal-lm-variants,
computed by PyTorch through the official classes. Run from the root of the repository, with what
contrib/python/tessera_stats.py needs:

    python tests/data/causal-lm-fisher/make_fisher.py

One file a fixture: `labels` I64 [T], drawn with the seed 7 for the T tokens `input_ids` of the fixture's golden.safetensors as
one window, and NAME.output_fisher, NAME.fisher_tokens, NAME.lookup_fisher with those labels."""
import os
import sys

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, "contrib/python")
import tessera_stats  # noqa: E402

SEED = 7


def make(folder):
    ids = load_file(os.path.join(folder, "golden.safetensors"))["input_ids"][0].tolist()
    model = tessera_stats.open_model(folder, "cpu")
    gatherer = tessera_stats.Gatherer(tessera_stats.checkpoint_names(model, tessera_stats.read_headers(folder)))
    labels = tessera_stats.run_back(model, gatherer, ids, [(0, len(ids))], SEED, "cpu")
    result = tessera_stats.collect(gatherer, len(ids))
    result["labels"] = torch.tensor([labels[t] for t in range(len(ids))], dtype=torch.int64)
    return result


def main():
    for group in ("tests/data/causal-lm", "tests/data/causal-lm-variants"):
        for name in sorted(os.listdir(group)):
            folder = os.path.join(group, name)
            if not os.path.isdir(folder):
                continue
            result = make(folder)
            save_file(result, os.path.join("tests/data/causal-lm-fisher", name + ".safetensors"))
            print("%s: %d tensors" % (name, len(result)))


if __name__ == "__main__":
    main()
