#!/usr/bin/env python3
"""usage: make_qwen3_tts.py OUT [VARIANT [SEED]] - a checkpoint in the layout of the published Qwen3-TTS models with seeded random
weights: names, shapes, dtypes and files of 0.6b-customvoice (default), 0.6b-base, 1.7b-customvoice, 1.7b-voicedesign, 1.7b-base.
       make_qwen3_tts.py --check NAMES - compares all variants with tests/data/names/qwen3-tts.txt and the census of the
published files; writes nothing.
The tokenizer is that of tests/data/qwen3-tts/a: the published vocabulary is not ours to copy."""
import json
import os
import re
import shutil
import struct
import sys
from statistics import NormalDist

import numpy as np

FIXTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/qwen3-tts/a")
CHUNK = 1 << 24
VARIANTS = {
    "0.6b-customvoice": (1024, 3072, "custom_voice", "0b6"),
    "0.6b-base": (1024, 3072, "base", "0b6"),
    "1.7b-customvoice": (2048, 6144, "custom_voice", "1b7"),
    "1.7b-voicedesign": (2048, 6144, "voice_design", "1b7"),
    "1.7b-base": (2048, 6144, "base", "1b7"),
}
# tensors and bytes of data of the published files, as far as they are known exactly
CENSUS = {"0.6b-customvoice": (402, None), "0.6b-base": (478, 1829286016), "1.7b-customvoice": (404, None),
          "1.7b-voicedesign": (404, None), "1.7b-base": (480, None), "speech_tokenizer": (496, 682229764)}
PARAMETERS = {"0.6b-customvoice": 905788672, "1.7b-customvoice": 1916676352}
SPEAKERS = {"serena": 3066, "vivian": 3065, "uncle_fu": 3010, "ryan": 3061, "aiden": 2861, "ono_anna": 2873, "sohee": 2864,
            "eric": 2875, "dylan": 2878}
LANGUAGES = {"chinese": 2055, "english": 2050, "german": 2053, "italian": 2070, "portuguese": 2071, "spanish": 2054,
             "japanese": 2058, "korean": 2064, "french": 2061, "russian": 2069, "beijing_dialect": 2074, "sichuan_dialect": 2062}


# ---- names and shapes ----

def block(prefix, width, inner, heads, kv_heads, head_dim, qk_norm=True, scale=False):
    yield f"{prefix}.input_layernorm.weight", (width,)
    yield f"{prefix}.post_attention_layernorm.weight", (width,)
    for name, shape in (("q", (heads * head_dim, width)), ("k", (kv_heads * head_dim, width)),
                        ("v", (kv_heads * head_dim, width)), ("o", (width, heads * head_dim))):
        yield f"{prefix}.self_attn.{name}_proj.weight", shape
    if qk_norm:
        yield f"{prefix}.self_attn.q_norm.weight", (head_dim,)
        yield f"{prefix}.self_attn.k_norm.weight", (head_dim,)
    for name, shape in (("gate", (inner, width)), ("up", (inner, width)), ("down", (width, inner))):
        yield f"{prefix}.mlp.{name}_proj.weight", shape
    if scale:
        yield f"{prefix}.self_attn_layer_scale.scale", (width,)
        yield f"{prefix}.mlp_layer_scale.scale", (width,)


def conv(prefix, out, into, taps, bias=True):
    yield f"{prefix}.weight", (out, into, taps)
    if bias:
        yield f"{prefix}.bias", (out,)


def language_tensors(variant):
    width, inner, kind, _ = VARIANTS[variant]
    talker, predictor = "talker.model", "talker.code_predictor"
    yield f"{talker}.text_embedding.weight", (151936, 2048)
    yield "talker.text_projection.linear_fc1.weight", (2048, 2048)
    yield "talker.text_projection.linear_fc1.bias", (2048,)
    yield "talker.text_projection.linear_fc2.weight", (width, 2048)
    yield "talker.text_projection.linear_fc2.bias", (width,)
    yield f"{talker}.codec_embedding.weight", (3072, width)
    yield "talker.codec_head.weight", (3072, width)
    yield f"{talker}.norm.weight", (width,)
    for i in range(28):
        yield from block(f"{talker}.layers.{i}", width, inner, 16, 8, 128)
    for i in range(5):
        yield from block(f"{predictor}.model.layers.{i}", 1024, 3072, 16, 8, 128)
    yield f"{predictor}.model.norm.weight", (1024,)
    for i in range(15):
        yield f"{predictor}.model.codec_embedding.{i}.weight", (2048, width)
        yield f"{predictor}.lm_head.{i}.weight", (2048, 1024)
    if width != 1024:
        yield f"{predictor}.small_to_mtp_projection.weight", (1024, width)
        yield f"{predictor}.small_to_mtp_projection.bias", (1024,)
    if kind == "base":
        yield from speaker_tensors(width)


def speaker_tensors(width):
    yield from conv("speaker_encoder.blocks.0.conv", 512, 128, 5)
    for i in (1, 2, 3):
        at = f"speaker_encoder.blocks.{i}"
        yield from conv(f"{at}.tdnn1.conv", 512, 512, 1)
        for j in range(7):
            yield from conv(f"{at}.res2net_block.blocks.{j}.conv", 64, 64, 3)
        yield from conv(f"{at}.tdnn2.conv", 512, 512, 1)
        yield from conv(f"{at}.se_block.conv1", 128, 512, 1)
        yield from conv(f"{at}.se_block.conv2", 512, 128, 1)
    yield from conv("speaker_encoder.mfa.conv", 1536, 1536, 1)
    yield from conv("speaker_encoder.asp.tdnn.conv", 128, 4608, 1)
    yield from conv("speaker_encoder.asp.conv", 1536, 128, 1)
    yield from conv("speaker_encoder.fc", width, 3072, 1)


def decoder_tensors():
    for part, layers in (("first", 1), ("rest", 15)):
        at = f"decoder.quantizer.rvq_{part}"
        yield from conv(f"{at}.input_proj", 256, 512, 1, False)
        yield from conv(f"{at}.output_proj", 512, 256, 1, False)
        for i in range(layers):
            yield f"{at}.vq.layers.{i}._codebook.embedding_sum", (2048, 256)
            yield f"{at}.vq.layers.{i}._codebook.cluster_usage", (2048,)
    yield from conv("decoder.pre_conv.conv", 1024, 512, 3)
    at = "decoder.pre_transformer"
    for name, out, into in (("input_proj", 512, 1024), ("output_proj", 1024, 512)):
        yield f"{at}.{name}.weight", (out, into)
        yield f"{at}.{name}.bias", (out,)
    yield f"{at}.norm.weight", (512,)
    for i in range(8):
        yield from block(f"{at}.layers.{i}", 512, 1024, 16, 16, 64, False, True)
    for i in range(2):
        at = f"decoder.upsample.{i}"
        yield from conv(f"{at}.0.conv", 1024, 1024, 2)
        yield from conv(f"{at}.1.dwconv.conv", 1024, 1, 7)
        for name in ("norm.weight", "norm.bias", "gamma"):
            yield f"{at}.1.{name}", (1024,)
        for name, out, into in (("pwconv1", 4096, 1024), ("pwconv2", 1024, 4096)):
            yield f"{at}.1.{name}.weight", (out, into)
            yield f"{at}.1.{name}.bias", (out,)
    yield from conv("decoder.decoder.0.conv", 1536, 1024, 7)
    for i, rate in enumerate((8, 5, 4, 3), 1):
        into, out, at = 1536 >> (i - 1), 1536 >> i, f"decoder.decoder.{i}.block"
        for name in ("alpha", "beta"):
            yield f"{at}.0.{name}", (into,)
        yield f"{at}.1.conv.weight", (into, out, 2 * rate)
        yield f"{at}.1.conv.bias", (out,)
        for unit in (2, 3, 4):
            for name in ("act1.alpha", "act1.beta", "act2.alpha", "act2.beta"):
                yield f"{at}.{unit}.{name}", (out,)
            yield from conv(f"{at}.{unit}.conv1.conv", out, out, 7)
            yield from conv(f"{at}.{unit}.conv2.conv", out, out, 1)
    for name in ("alpha", "beta"):
        yield f"decoder.decoder.5.{name}", (96,)
    yield from conv("decoder.decoder.6.conv", 1, 96, 7)


def encoder_tensors():
    yield from conv("encoder.encoder.layers.0.conv", 64, 1, 7)
    for i, stride in enumerate((4, 5, 6, 8)):
        width, at = 64 << i, f"encoder.encoder.layers.{3 * i + 1}.block"
        yield from conv(f"{at}.1.conv", width // 2, width, 3)
        yield from conv(f"{at}.3.conv", width, width // 2, 1)
        yield from conv(f"encoder.encoder.layers.{3 * i + 3}.conv", 2 * width, width, 2 * stride)
    yield from conv("encoder.encoder.layers.14.conv", 512, 1024, 3)
    for i in range(8):
        at = f"encoder.encoder_transformer.layers.{i}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{at}.{norm}.weight", (512,)
            yield f"{at}.{norm}.bias", (512,)
        for name in "qkvo":
            yield f"{at}.self_attn.{name}_proj.weight", (512, 512)
        yield f"{at}.mlp.fc1.weight", (2048, 512)
        yield f"{at}.mlp.fc2.weight", (512, 2048)
        yield f"{at}.self_attn_layer_scale.scale", (512,)
        yield f"{at}.mlp_layer_scale.scale", (512,)
    yield from conv("encoder.downsample.conv", 512, 512, 4, False)
    for part, layers in (("semantic", 1), ("acoustic", 31)):
        at = f"encoder.quantizer.{part}_residual_vector_quantizer"
        yield from conv(f"{at}.input_proj", 256, 512, 1, False)
        yield from conv(f"{at}.output_proj", 512, 256, 1, False)
        for i in range(layers):
            yield f"{at}.layers.{i}.codebook.initialized", (1,)
            yield f"{at}.layers.{i}.codebook.cluster_usage", (2048,)
            yield f"{at}.layers.{i}.codebook.embed_sum", (2048, 256)


def tokenizer_tensors():
    yield from decoder_tensors()
    yield from encoder_tensors()


# ---- the check ----

def elements(shape):
    return int(np.prod(shape, dtype=np.int64))


def expand(pattern):
    """Names of "layers.{L0-27}.x": each number of each range."""
    found = re.search(r"\{L?(\d+)-(\d+)\}", pattern)
    if not found:
        return [pattern]
    return [name for i in range(int(found[1]), int(found[2]) + 1)
            for name in expand(pattern[:found.start()] + str(i) + pattern[found.end():])]


def documented(path):
    """The list's names, each under the models it was seen in. Its shapes are those of one name of a range."""
    parts, name = {}, None
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            words = line.split()
            if line.startswith("model "):
                name = " ".join(words[3:])
            elif words and not line.startswith("#"):
                parts.setdefault(name, set()).update(expand(words[0]))
    return parts


def check(path):
    tensors = {variant: dict(language_tensors(variant)) for variant in VARIANTS}
    tensors["speech_tokenizer"] = dict(tokenizer_tensors())
    problems = []
    for name, (count, size) in CENSUS.items():
        width = 4 if name == "speech_tokenizer" else 2
        total = width * sum(map(elements, tensors[name].values()))
        if len(tensors[name]) != count or (size and total != size):
            problems.append(f"{name}: {len(tensors[name])} tensors of {total} bytes, published: {count} of {size}")
    for name, count in PARAMETERS.items():
        if sum(map(elements, tensors[name].values())) != count:
            problems.append(f"{name}: not {count} parameters")
    ours = {"Qwen3-TTS-12Hz-0.6B-CustomVoice": "0.6b-customvoice", "Qwen3-TTS-12Hz-0.6B-Base": "0.6b-base",
            "what Qwen3-TTS-12Hz-1.7B has more": "1.7b-customvoice", "speech_tokenizer": "speech_tokenizer"}
    for model, names in documented(path).items():
        made = set(tensors[ours[model]])
        more = made - names if "more" not in model else set()
        problems += [f"{model}: {name}: is in one of the two only" for name in sorted((names - made) | more)]
    print(*problems, sep="\n", end="\n" if problems else "")
    return bool(problems)


# ---- writing ----

def quantiles():
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(65536)], dtype=np.float32)


def values(name, shape, table, rng):
    """Weights that keep activations of order one: none of the traits of a trained model, all of its work."""
    count = elements(shape)
    if name.endswith("cluster_usage"):
        return rng.uniform(0.5, 4, count).astype(np.float32)
    if name.endswith("initialized"):
        return np.ones(count, dtype=np.float32)
    noise = table[rng.integers(0, 65536, count, dtype=np.uint16)]
    if len(shape) == 1:
        centre = 0 if name.endswith(("bias", "alpha", "beta")) else 0.1 if "scale" in name or name.endswith("gamma") else 1
        return centre + 0.1 * noise
    if "embedding" in name or "embed_sum" in name:
        return noise
    fan_in = elements(shape[1:]) if "block.1.conv" not in name and "upsample" not in name else shape[0]
    return noise * np.float32(1 / np.sqrt(fan_in))


def write(path, tensors, bf16, seed):
    rng, table, header, offset, width = np.random.default_rng(seed), quantiles(), {}, 0, 2 if bf16 else 4
    for name, shape in tensors:
        size = width * elements(shape)
        header[name] = {"dtype": "BF16" if bf16 else "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors:
            data = values(name, shape, table, rng)
            file.write(((data.view(np.uint32) + 0x8000) >> 16).astype("<u2").tobytes() if bf16 else data.tobytes())


def configs(variant):
    width, inner, kind, size = VARIANTS[variant]
    with open(os.path.join(FIXTURE, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    with open(os.path.join(FIXTURE, "speech_tokenizer/config.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    voices = kind == "custom_voice"
    talker = config["talker_config"]
    sizes = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "num_code_groups": 16}
    talker.update(sizes, hidden_size=width, intermediate_size=inner, num_hidden_layers=28, vocab_size=3072, text_hidden_size=2048,
                  text_vocab_size=151936, rope_scaling={"interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default",
                                                        "type": "default"},
                  codec_pad_id=2148, pad_token_id=2148, codec_bos_id=2149, codec_eos_token_id=2150, codec_think_id=2154,
                  codec_nothink_id=2155, codec_think_bos_id=2156, codec_think_eos_id=2157, codec_language_id=LANGUAGES,
                  spk_id=SPEAKERS if voices else {},
                  spk_is_dialect={s: {"eric": "sichuan_dialect", "dylan": "beijing_dialect"}.get(s, False) for s in SPEAKERS}
                  if voices else {})
    talker["code_predictor_config"].update(sizes, hidden_size=1024, intermediate_size=3072, num_hidden_layers=5, vocab_size=2048,
                                           layer_types=["full_attention"] * 5)
    config.update(tts_model_type=kind, tts_model_size=size)
    if kind == "base":
        config["speaker_encoder_config"] = {"enc_dim": width, "sample_rate": 24000}
    tokenizer.update(encoder_valid_num_quantizers=16)
    tokenizer["decoder_config"].update(latent_dim=1024, codebook_dim=512, codebook_size=2048, decoder_dim=1536, hidden_size=512,
                                       intermediate_size=1024, head_dim=64, num_attention_heads=16, num_key_value_heads=16,
                                       num_hidden_layers=8, num_quantizers=16, rms_norm_eps=1e-5, sliding_window=72)
    tokenizer["encoder_config"].update(num_filters=64, hidden_size=512, intermediate_size=2048, num_hidden_layers=8,
                                       num_attention_heads=8, num_key_value_heads=8, head_dim=64, codebook_size=2048,
                                       codebook_dim=256, vector_quantization_hidden_dimension=256, num_quantizers=32,
                                       sliding_window=250, upsample_groups=512)
    return config, tokenizer


def make(folder, variant, seed):
    os.makedirs(os.path.join(folder, "speech_tokenizer"), exist_ok=True)
    for name in ("generation_config.json", "preprocessor_config.json", "tokenizer_config.json", "vocab.json", "merges.txt",
                 "speech_tokenizer/configuration.json", "speech_tokenizer/preprocessor_config.json"):
        shutil.copyfile(os.path.join(FIXTURE, name), os.path.join(folder, name))
    for name, config in zip(("config.json", "speech_tokenizer/config.json"), configs(variant)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2)
    write(os.path.join(folder, "model.safetensors"), list(language_tensors(variant)), True, seed)
    write(os.path.join(folder, "speech_tokenizer/model.safetensors"), list(tokenizer_tensors()), False, seed + 1)


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        sys.exit(check(sys.argv[2]))
    make(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "0.6b-customvoice", int(sys.argv[3]) if len(sys.argv) > 3 else 1)


main()
