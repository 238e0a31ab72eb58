#!/usr/bin/env python3
"""usage: make_llama.py OUT TOKENIZER_FOLDER HIDDEN LAYERS INTERMEDIATE HEADS VOCABULARY [SEED] - a Llama checkpoint of
distinct random BF16 weights of about 0.02, with the tokenizer of another folder. Only the standard library."""
import json
import os
import random
import shutil
import struct
import sys

PIECE = 1 << 22
# The upper byte of a BF16 of -2^-5 to 2^-5: signs and three exponents, the smaller ones more often.
UPPER = bytes((0x3C, 0xBC, 0x3C, 0xBC, 0x3B, 0xBB, 0x3C, 0xBC)[i % 8] for i in range(256))


def shapes(hidden, layers, intermediate, vocabulary):
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for i in range(layers):
        layer = f"model.layers.{i}."
        for name in ("q", "k", "v", "o"):
            yield f"{layer}self_attn.{name}_proj.weight", (hidden, hidden)
        yield layer + "mlp.gate_proj.weight", (intermediate, hidden)
        yield layer + "mlp.up_proj.weight", (intermediate, hidden)
        yield layer + "mlp.down_proj.weight", (hidden, intermediate)
        yield layer + "input_layernorm.weight", (hidden,)
        yield layer + "post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)


def write_values(file, rng, shape):
    left = shape[0] * (shape[1] if len(shape) == 2 else 1)
    if len(shape) == 1:
        file.write(b"\x80\x3f" * left)
        return
    while left:
        count = min(left, PIECE)
        values = bytearray(rng.randbytes(2 * count))
        values[1::2] = values[1::2].translate(UPPER)
        file.write(values)
        left -= count


def write_weights(path, tensors, seed):
    header, offset, rng = {}, 0, random.Random(seed)
    for name, shape in tensors:
        size = 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in tensors:
            write_values(file, rng, shape)


def main():
    out, tokenizer = sys.argv[1:3]
    hidden, layers, intermediate, heads, vocabulary = map(int, sys.argv[3:8])
    os.makedirs(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if os.path.exists(os.path.join(tokenizer, name)):
            shutil.copy(os.path.join(tokenizer, name), out)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers,
              "intermediate_size": intermediate, "num_attention_heads": heads, "num_key_value_heads": heads,
              "vocab_size": vocabulary, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "hidden_act": "silu", "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
    with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    seed = int(sys.argv[8]) if len(sys.argv) > 8 else 1
    write_weights(os.path.join(out, "model.safetensors"), list(shapes(hidden, layers, intermediate, vocabulary)), seed)


main()
