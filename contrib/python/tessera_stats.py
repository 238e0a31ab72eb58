#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The statistics of `tessera calibrate` (docs/stats.md) computed with PyTorch, for models that want a GPU.

    python contrib/python/tessera_stats.py MODEL --text FILE -o STATS [--window 512] [--full-max 4096]
        [--fisher-tokens 8192] [--seed 0] [--device cuda] [--memory GiB]

MODEL is a folder with config.json, *.safetensors and tokenizer.json. Needs torch, transformers, safetensors, tokenizers, numpy,
and xxhash or libxxhash. The program needs none of this: it computes the same file by itself. Values agree within rounding
(tests/data/causal-lm-fisher holds what this file computes for the fixtures, and the tolerance is tested there).

How: every product with a weight is a call of torch.nn.functional.linear or of one of two classes with a product of their own,
every look-up one of torch.nn.functional.embedding. These are wrapped, so no class of any model has to be known."""
import argparse
import contextlib
import json
import os
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers.models.falcon.modeling_falcon import FalconLinear
from transformers.pytorch_utils import Conv1D

STEP = np.uint64(0x9E3779B97F4A7C15)  # of splitmix64
OWN_PRODUCTS = (Conv1D, FalconLinear)


# ---- digests ----

def xxh3_128(data):
    """Hexadecimal XXH3-128 of a bytes-like object."""
    try:
        import xxhash
        return xxhash.xxh3_128(data).hexdigest()
    except ImportError:
        pass
    import ctypes

    class Hash(ctypes.Structure):
        _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_128bits.restype = Hash
    library.XXH3_128bits.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    array = np.frombuffer(data, dtype=np.uint8) if len(data) else np.zeros(1, np.uint8)
    value = library.XXH3_128bits(array.ctypes.data, len(data))
    return "%016x%016x" % (value.high, value.low)


def weight_files(folder):
    """The index if there is one, else model.safetensors, else the only .safetensors."""
    index = os.path.join(folder, "model.safetensors.index.json")
    if os.path.exists(index):
        with open(index) as file:
            return [os.path.join(folder, name) for name in sorted(set(json.load(file)["weight_map"].values()))]
    whole = os.path.join(folder, "model.safetensors")
    if os.path.exists(whole):
        return [whole]
    names = [name for name in os.listdir(folder) if name.endswith(".safetensors")]
    if len(names) != 1:
        sys.exit("%s: %d files .safetensors and no index" % (folder, len(names)))
    return [os.path.join(folder, names[0])]


def read_headers(folder):
    """[(name, dtype, shape, file, first byte, end)] of all tensors."""
    tensors = []
    for path in weight_files(folder):
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        for name, entry in header.items():
            if name != "__metadata__":
                first, end = entry["data_offsets"]
                tensors.append((name, entry["dtype"], entry["shape"], path, 8 + size + first, 8 + size + end))
    return tensors


def model_digest(tensors):
    lines = []
    for name, dtype, shape, path, first, end in tensors:
        data = np.memmap(path, np.uint8, "r")[first:end] if end > first else b""
        lines.append("%s %s [%s] %s\n" % (xxh3_128(data), dtype, ",".join(map(str, shape)), name))
    lines.sort(key=lambda line: line.split("] ", 1)[1].encode())
    return xxh3_128("".join(lines).encode())


# ---- labels ----

def uniforms(seed, first, count):
    """The outputs first + 1, ..., first + count of splitmix64 begun at `seed`, in (0, 1)."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(first + 1, first + count + 1, dtype=np.uint64) * STEP
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0 ** -53 + 2.0 ** -54


def sample_labels(logits, seed, first):
    """A token for each row of logits: the one that arrives first, token v after a time that is exponential of rate p(v)."""
    labels = []
    for t, row in enumerate(logits.detach().float().cpu().numpy()):
        weights = np.exp(row.astype(np.float64) - np.float64(row.max()))
        with np.errstate(divide="ignore"):
            labels.append(int(np.argmin(-np.log(uniforms(seed, (first + t) * len(row), len(row))) / weights)))
    return labels


# ---- what is gathered ----

class Gatherer:
    """Sums for one model. `names`: id of a parameter -> name in the checkpoint; `matrices`: names whose whole moment is wanted."""

    def __init__(self, names):
        self.names = names
        self.matrices, self.gather_inputs, self.gather_fisher, self.ids = set(), False, False, None
        self.squares, self.tokens, self.full = {}, {}, {}
        self.fisher, self.fisher_tokens, self.lookups = {}, {}, {}

    def see(self, weight, x, apply):
        name = self.names.get(id(weight))
        if name is None:
            return apply(x)
        rows = x.detach().reshape(-1, x.shape[-1])
        if self.gather_inputs:
            self.squares[name] = self.squares.get(name, 0) + rows.double().square().sum(0).cpu()
            self.tokens[name] = self.tokens.get(name, 0) + rows.shape[0]
        if name in self.matrices:
            self.full[name] = self.full.get(name, 0) + rows.float().T @ rows.float()
        y = apply(x)
        if self.gather_fisher and y.requires_grad:
            self.fisher_tokens[name] = self.fisher_tokens.get(name, 0) + rows.shape[0]
            y.register_hook(lambda g: self.add_fisher(name, g))
        return y

    def add_fisher(self, name, g):
        values = g.detach().reshape(-1, g.shape[-1]).double().square().sum(0).cpu()
        if not torch.isfinite(values).all():
            sys.exit("%s: a gradient is not finite" % name)
        self.fisher[name] = self.fisher.get(name, 0) + values

    def look_up(self, ids, weight, row):
        name = self.names.get(id(weight))
        if name is None or not self.gather_fisher:
            return row
        row = row.detach().requires_grad_(True)
        row.register_hook(lambda g: self.add_lookup(name, ids, weight.shape[0], g))
        return row

    def add_lookup(self, name, ids, rows, g):
        values = g.detach().double().square().mean(-1).reshape(-1).cpu()
        ids = ids.reshape(-1).cpu()
        if ids.numel() != values.numel():
            ids = ids.expand(values.numel())
        self.lookups.setdefault(name, torch.zeros(rows, dtype=torch.float64)).index_add_(0, ids, values)

    @contextlib.contextmanager
    def watching(self):
        functional, kept = torch.nn.functional, [product.forward for product in OWN_PRODUCTS]
        linear, embedding = functional.linear, functional.embedding

        def watched_linear(x, weight, bias=None):
            return self.see(weight, x, lambda x: linear(x, weight, bias))

        def watched_embedding(ids, weight, *rest, **named):
            return self.look_up(ids, weight, embedding(ids, weight, *rest, **named))

        def watched_product(forward):
            return lambda module, x: self.see(module.weight, x, lambda x: forward(module, x))
        functional.linear, functional.embedding = watched_linear, watched_embedding
        for product, forward in zip(OWN_PRODUCTS, kept):
            product.forward = watched_product(forward)
        try:
            yield
        finally:
            functional.linear, functional.embedding = linear, embedding
            for product, forward in zip(OWN_PRODUCTS, kept):
                product.forward = forward


def checkpoint_names(model, tensors):
    """Names as the checkpoint has them: with or without the prefix of the base model; a tied output matrix is the embedding."""
    there, prefix = {tensor[0] for tensor in tensors}, model.base_model_prefix + "."
    names = {}
    for name, parameter in model.named_parameters():  # a tied parameter comes once, under its first name: the embedding's
        for candidate in (name, name[len(prefix):] if name.startswith(prefix) else prefix + name):
            if candidate in there:
                names[id(parameter)] = candidate
                break
    return names


# ---- passes ----

def windows_of(count, window):
    return [(first, min(window, count - first)) for first in range(0, count, window)]


def fisher_windows(windows, window, fisher_tokens):
    count = min(-(-fisher_tokens // window), len(windows))
    return [windows[i * len(windows) // count] for i in range(count)]


def run_forward(model, gatherer, ids, windows, device):
    with torch.no_grad(), gatherer.watching():
        for first, count in windows:
            model(input_ids=torch.tensor([ids[first:first + count]], device=device), use_cache=False)


def run_back(model, gatherer, ids, windows, seed, device, labels=None):
    """Adds the Fisher values of some windows; returns the labels: `labels` (by position) or sampled ones."""
    used = {}
    gatherer.gather_fisher = True
    for first, count in windows:
        with gatherer.watching():
            logits = model(input_ids=torch.tensor([ids[first:first + count]], device=device), use_cache=False).logits[0].float()
            chosen = [labels[first + t] for t in range(count)] if labels is not None else sample_labels(logits, seed, first)
            torch.nn.functional.cross_entropy(logits, torch.tensor(chosen, device=device), reduction="sum").backward()
        used.update(zip(range(first, first + count), chosen))
    gatherer.gather_fisher = False
    return used


def groups_of(widths, full_max, memory_bytes):
    """Names whose matrices fit together: one pass each."""
    groups, held = [[]], 0
    for name, width in sorted(widths.items()):
        size = 4 * width * width
        if width > full_max:
            continue
        if groups[-1] and held + size > memory_bytes:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    return groups


def collect(gatherer, fisher_tokens):
    """Finished tensors by name."""
    result = {}
    for name, squares in gatherer.squares.items():
        tokens = gatherer.tokens[name]
        result[name + ".input_moment_diag"] = (squares / tokens).float()
        result[name + ".input_tokens"] = torch.tensor([tokens], dtype=torch.int64)
    for name, sums in gatherer.fisher.items():
        result[name + ".output_fisher"] = (sums / gatherer.fisher_tokens[name]).float()
        result[name + ".fisher_tokens"] = torch.tensor([gatherer.fisher_tokens[name]], dtype=torch.int64)
    for name, sums in gatherer.lookups.items():
        result[name + ".lookup_fisher"] = (sums / fisher_tokens).float()
    return result


def finish_matrix(sums, tokens, diagonal):
    matrix = (sums / tokens).cpu()
    matrix = torch.tril(matrix) + torch.tril(matrix, -1).T
    matrix.diagonal().copy_(diagonal)
    return matrix.contiguous()


def open_model(folder, device):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.requires_grad_(False)
    return model.to(device).eval()


def read_ids(folder, text):
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    with open(text, "rb") as file:
        data = file.read()
    return tokenizer.encode(data.decode()).ids, xxh3_128(data)


def warn(gatherer, results):
    narrow = [name for name, squares in gatherer.squares.items() if gatherer.tokens[name] < len(squares)]
    dead = sum(int((values == 0).sum()) for name, values in results.items() if name.endswith("_diag"))
    if narrow:
        print("warning: %d weights saw fewer tokens than they have columns, %s first" % (len(narrow), narrow[0]), file=sys.stderr)
    if dead:
        print("note: %d columns never had an input" % dead, file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description="statistics of a model's linear operators (docs/stats.md)")
    parser.add_argument("model")
    parser.add_argument("--text", required=True)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--window", type=int, default=0)
    parser.add_argument("--full-max", type=int, default=4096)
    parser.add_argument("--fisher-tokens", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--memory", type=float, default=4, help="GiB of matrices in one pass")
    arguments = parser.parse_args()
    tensors = read_headers(arguments.model)
    model = open_model(arguments.model, arguments.device)
    ids, text_digest = read_ids(arguments.model, arguments.text)
    context = getattr(model.config, "max_position_embeddings", 0) or 0
    window = arguments.window or (min(512, context) if context else 512)
    windows = windows_of(len(ids), window)
    gatherer = Gatherer(checkpoint_names(model, tensors))
    chosen = fisher_windows(windows, window, arguments.fisher_tokens) if arguments.fisher_tokens else []
    fisher_tokens = sum(count for _, count in chosen)
    run_back(model, gatherer, ids, chosen, arguments.seed, arguments.device)
    gatherer.gather_inputs = True
    run_forward(model, gatherer, ids, windows, arguments.device)
    gatherer.gather_inputs = False
    results = collect(gatherer, fisher_tokens)
    widths = {name: len(squares) for name, squares in gatherer.squares.items()}
    for names in groups_of(widths, arguments.full_max, arguments.memory * 2 ** 30):
        gatherer.matrices = set(names)
        if names:
            run_forward(model, gatherer, ids, windows, arguments.device)
        for name in names:
            results[name + ".input_moment"] = finish_matrix(gatherer.full.pop(name), gatherer.tokens[name],
                                                            results[name + ".input_moment_diag"])
    warn(gatherer, results)
    metadata = {"tessera_stats": "0.1", "model": model_digest(tensors), "text": text_digest, "tokens": str(len(ids)),
                "window": str(window), "normalisation": "mean over tokens", "fisher_tokens": str(fisher_tokens),
                "fisher_seed": str(arguments.seed)}
    save_file(results, arguments.output, metadata)


if __name__ == "__main__":
    main()
