#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random tokenizers of supported components with random models, against Hugging Face tokenizers 0.22.

    stress_tokenizer.py compare SEED COUNT       prints what `tessera tokenize --golden` finds different, or ends badly
    stress_tokenizer.py write SEED COUNT FILE    writes small ones as goldens of tests/unit/test_tokenizer.c

Texts are random valid UTF-8. A Prepend of an empty text is not asked for: the reference repeats letters behind it."""
import json
import os
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

TOOL = os.path.join(os.environ.get("TESSERA_BUILD", "build"), "bin", "tessera")
R = random.Random()

SAMPLES = [
    "Hello", "日本語", " 한국", "Привет", "é", "e\u0301", "\u1e9b\u0323", "ﬁ", "①", "½", "ǅ", "İ", "ß", "ς", "  ",
    "   \n", "\t", "\r\n", "\u3000", "\u00a0", "▁", "▁▁", "'s", "'LL", "don't", "123", "4567", "٣", "👩‍👩‍👧", "👍🏽", "<unk>",
    "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "[X]", "tok", "</w>", "<0x41>", "##", "Ġ", "Ċ", "\u200d", "\ufeff",
    "\0", "\x7f", "_", "--", "...", "!?", "“”", "a", "b", "ab", "the ", " the", "ing", "x", "A", "क्ष", "ก็", "\u0345",
    "\u2028", "\u202e", "ı", "K"]
EXPRESSIONS = [
    r"\s+", r"\p{L}+", r"[^\s\p{L}\p{N}]+", r"\p{N}{1,3}", r"\w+", r"\d", r"[一-龥぀-ゟ゠-ヿ]+", r" ?", r"a|b", r"\bt",
    r"(?<=a)b", r".", r"[A-Za-z]+", r"\p{P}", r"\p{S}|\p{M}", r"$", r"(?=\p{Lu})", r"\p{Han}+",
    r"[\p{Hiragana}\p{Katakana}]+", r"\S+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"]
PLAIN = [" ", "▁", "a", "ab", "日", "'", "\n", "  ", "e", "Ġ", "."]
BEHAVIOURS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
SPECIAL = ["<unk>", "<s>", "</s>", "<|endoftext|>"]
ADDED = ["[X]", "tok", "<|im_start|>", "é", " lead", "Hello", "'s", "ab", "\n\n", "x y", "日本", "Tok", "▁t", "e"]
RANGES = [(.4, 32, 127), (.55, 0x80, 0x250), (.65, 0x300, 0x370), (.8, 0x370, 0x3000), (.9, 0x3000, 0xD800),
          (.95, 0xE000, 0x10000), (1, 0x10000, 0x110000)]


def chance(p):
    return R.random() < p


def character():
    at = R.random()
    return next(chr(R.randrange(low, high)) for p, low, high in RANGES if at < p)


def text():
    pieces = []
    for _ in range(R.choice([0, 1, 1, 2, 3, 5, 8, 13, 30])):
        letters = R.choice("abcdefghij klmnopqr stuvwxyz") * R.choice([1, 1, 1, 2, 5])
        pieces.append(R.choice(SAMPLES) if chance(.45) else character() if chance(.6) else letters)
    return "".join(pieces)


def byte_letters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(others))]


# ---- models ----

def base_letters(kind):
    if kind == "bytes":
        letters = byte_letters()
        return letters if chance(.8) else R.sample(letters, 200)
    letters = [chr(c) for c in range(32, 127)] + [c for s in SAMPLES for c in s if c != "\0"] + list("日本語éàü▁ \n")
    letters = list(dict.fromkeys(letters))
    return R.sample(letters, len(letters) * 2 // 3) if chance(.5) else letters


def make_vocabulary(kind, prefix, suffix):
    tokens = R.choice([["<unk>", "<s>", "</s>"], ["<|endoftext|>"], []])
    base = base_letters(kind)
    if kind == "fallback" or chance(.2):
        tokens = tokens + ["<0x%02X>" % b for b in range(256) if chance(.97)]
    tokens = tokens + base
    if prefix:
        tokens = tokens + [prefix + t for t in R.sample(base, len(base) // 2)]
    if suffix:
        tokens = tokens + [t + suffix for t in R.sample(base, len(base) // 2)]
    return {t: i for i, t in enumerate(dict.fromkeys(tokens))}


def add_merges(vocabulary, prefix, suffix):
    merges, seen = [], set()
    tokens = [t for t in vocabulary if t not in SPECIAL and not t.startswith("<0x")]
    common = [t for t in tokens if len(t) == 1 and t in "abcdefghijklmnopqrstuvwxyzĠ▁ "] or tokens[:]
    for _ in range(R.choice([0, 20, 150, 500])):
        left, right = R.choice(common if chance(.6) else tokens), R.choice(common if chance(.6) else tokens)
        both = left + right[len(prefix):]
        if suffix and left.endswith(suffix) and len(left) > len(suffix) or len(both.encode()) > 40:
            continue
        if prefix and (not right.startswith(prefix) or len(right) == len(prefix)):
            continue
        if (left, right) in seen and chance(.9):
            continue
        seen.add((left, right))
        vocabulary.setdefault(both, len(vocabulary))
        merges.append((left, right))
        tokens.append(both)
        common.append(both)
    if chance(.3):
        R.shuffle(merges)
    pairs = chance(.5) or any(" " in left + right for left, right in merges)
    return [list(m) for m in merges] if pairs else [" ".join(m) for m in merges]


def make_model():
    kind = R.choice(["bytes", "chars", "fallback"])
    prefix = R.choice(["##", "@@", "▁"]) if chance(.15) else ""
    suffix = R.choice(["</w>", "e", "_"]) if chance(.2) else ""
    vocabulary = make_vocabulary(kind, prefix, suffix)
    merges = add_merges(vocabulary, prefix, suffix)
    return kind, {"type": "BPE", "dropout": None, "unk_token": "<unk>" if "<unk>" in vocabulary and chance(.8) else None,
                  "continuing_subword_prefix": prefix or None, "end_of_word_suffix": suffix or None,
                  "fuse_unk": chance(.5), "byte_fallback": chance(.8) if kind == "fallback" else chance(.1),
                  "ignore_merges": chance(.3), "vocab": vocabulary, "merges": merges}


# ---- components ----

def pattern():
    return {"Regex": R.choice(EXPRESSIONS)} if chance(.6) else {"String": R.choice(PLAIN)}


def byte_level():
    return {"add_prefix_space": chance(.4), "trim_offsets": True, "use_regex": chance(.6)}


def metaspace():
    return {"replacement": R.choice("▁▁▁_"), "prepend_scheme": R.choice(["always", "first", "never"]),
            "split": chance(.7)}


NORMALIZERS = {
    "NFC": dict, "NFD": dict, "NFKC": dict, "NFKD": dict, "Lowercase": dict, "StripAccents": dict, "ByteLevel": dict,
    "Strip": lambda: {"strip_left": chance(.6), "strip_right": chance(.6)},
    "Prepend": lambda: {"prepend": R.choice(["▁", " ", "a", "xy"])},
    "Replace": lambda: {"pattern": pattern(), "content": R.choice(["", "▁", " ", "ab", "e\u0301", "\n"])}}
SPLITTERS = {
    "ByteLevel": byte_level, "Metaspace": metaspace, "Whitespace": dict, "WhitespaceSplit": dict,
    "Split": lambda: {"pattern": pattern(), "behavior": R.choice(BEHAVIOURS), "invert": chance(.25)},
    "Digits": lambda: {"individual_digits": chance(.5)}, "Punctuation": lambda: {"behavior": R.choice(BEHAVIOURS)},
    "CharDelimiterSplit": lambda: {"delimiter": R.choice(" a,▁é")}}
DECODERS = {
    "ByteLevel": byte_level, "Metaspace": metaspace, "ByteFallback": dict, "Fuse": dict,
    "Replace": lambda: {"pattern": pattern(), "content": R.choice(["", " ", "▁", "ab"])},
    "Strip": lambda: {"content": R.choice(" ▁a"), "start": R.randrange(3), "stop": R.randrange(3)},
    "BPEDecoder": lambda: {"suffix": R.choice(["</w>", "e", "_"])}}


def component(kinds):
    name = R.choice(list(kinds))
    return {"type": name, **kinds[name]()}


def components(kinds, member, single):
    if chance(single):
        return component(kinds)
    return {"type": "Sequence", member: [component(kinds) for _ in range(R.randrange(4))]}


def template(size):
    ids = [R.randrange(size) for _ in range(R.randrange(1, 3))]
    single = [{"Sequence": {"id": "A", "type_id": 0}}]
    for _ in range(R.randrange(3)):
        single.insert(R.randrange(len(single) + 1), {"SpecialToken": {"id": R.choice("se"), "type_id": 0}})
    return {"type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": {"s": {"id": "s", "ids": ids, "tokens": ["t"] * len(ids)},
                               "e": {"id": "e", "ids": [R.randrange(size)], "tokens": ["c"]}}}


def post_processor(size):
    ends = {"sep": ["x", R.randrange(size)], "cls": ["y", R.randrange(size)]}
    offsets = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": chance(.5), "use_regex": True}
    kinds = [offsets, template(size), {"type": "BertProcessing", **ends},
             {"type": "RobertaProcessing", **ends, "trim_offsets": True, "add_prefix_space": True},
             {"type": "Sequence", "processors": [offsets, template(size)]}]
    return R.choice(kinds)


def added_tokens(vocabulary):
    listed = [(vocabulary[t], t, True) for t in SPECIAL if t in vocabulary and chance(.9)]
    behind = len(vocabulary)
    for token in R.sample(ADDED, R.randrange(6)):
        is_new = token not in vocabulary
        listed.append((behind if is_new else vocabulary[token], token, is_new and chance(.4)))
        behind += is_new
    flags = ["single_word", "lstrip", "rstrip", "normalized"]
    return behind, [{"id": i, "content": t, "special": special, **{f: chance(.25) for f in flags}}
                    for i, t, special in sorted(listed)]


def make_tokenizer():
    kind, model = make_model()
    size, added = added_tokens(model["vocab"])
    splitter = components(SPLITTERS, "pretokenizers", .5)
    if kind == "bytes" and chance(.4):
        splitter = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": components(NORMALIZERS, "normalizers", .65) if chance(.6) else None,
            "pre_tokenizer": splitter if chance(.85) else None,
            "post_processor": post_processor(size) if chance(.6) else None,
            "decoder": components(DECODERS, "decoders", .5) if chance(.8) else None, "model": model}


# ---- against the reference ----

def cases_of(reference, count):
    """Its encodings; texts on which it panics are left out."""
    cases = []
    for item in [text() for _ in range(count)]:
        try:
            plain = reference.encode(item, add_special_tokens=False).ids
            whole = reference.encode(item, add_special_tokens=True).ids
            case = {"group": "stress", "text": item, "ids": plain,
                    "decoded": reference.decode(plain, skip_special_tokens=False)}
        except BaseException:  # PanicException is no Exception
            continue
        cases.append(case if whole == plain else {**case, "ids_template": whole})
    return cases


def compare(folder, document, cases):
    paths = [os.path.join(folder, name) for name in ("tokenizer.json", "golden.jsonl")]
    with open(paths[0], "w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False)
    with open(paths[1], "w", encoding="utf-8") as file:
        file.writelines(json.dumps(case) + "\n" for case in cases)
    run = subprocess.run([TOOL, "tokenize", paths[0], "--golden", paths[1]], capture_output=True, text=True,
                         errors="replace")
    return run.returncode, (run.stderr + run.stdout).split("\n")[0]


def main():
    action, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    kept, sums = [], {"equal": 0, "different": 0, "refused": 0, "died": 0}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            R.seed(seed * 1000003 + i)
            document = make_tokenizer()
            try:
                reference = Tokenizer.from_str(json.dumps(document))
            except BaseException:
                continue
            cases = cases_of(reference, 8 if action == "write" else 20)
            status, line = compare(folder, document, cases) if cases else (0, "")
            verdict = {0: "equal", 2: "refused", 3: "different"}.get(status, "died")
            sums[verdict] += 1
            if verdict != "equal":
                print(f"seed {seed}, number {i}: {verdict}: {line}")
            elif len(json.dumps(document)) < 9000 and len(cases) == 8:
                kept.append({**document, "cases": cases})
    print(sums)
    if action == "write":
        with open(sys.argv[4], "w", encoding="utf-8") as file:
            json.dump({"tokenizers": kept}, file, separators=(",", ":"))
            file.write("\n")
        print(len(kept), "tokenizers")
    return sums["died"] > 0


sys.exit(main())
