#!/usr/bin/env python3
"""Encoding on one thread, in processor time: opening a tokenizer, a text in one call (seconds and MB/s) and the same
text line by line; and, in the same run on the same texts, Hugging Face tokenizers (if its module is there). Tokenizers
are those of the tests and the folders in TESSERA_TOKENIZERS, texts the demo's and the files in TESSERA_TEXTS (":" between);
two texts are made to be hard: one letter, and random characters of up to two bytes, 1 MB each."""
import glob
import os
import random
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
PROGRAM = os.path.join(os.environ.get("TESSERA_BUILD", "build"), "bench", "bench_tokenizer_core")
REPEATS = 3


def listed(variable):
    return [path for path in os.environ.get(variable, "").split(":") if path]


def hard_texts(folder):
    source = random.Random(7)
    texts = {"one-letter": "a" * 1000000, "random": "".join(chr(source.randrange(1, 256)) for _ in range(666000))}
    for name, text in texts.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as file:
            file.write(text)
    return [os.path.join(folder, name) for name in texts]


def best(action):
    seconds = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        action()
        seconds = min(seconds, time.process_time() - start)
    return seconds


def peer(model, path):
    from tokenizers import Tokenizer
    file = os.path.join(model, "tokenizer.json")
    opening = best(lambda: Tokenizer.from_file(file))
    tokenizer = Tokenizer.from_file(file)
    with open(path, encoding="utf-8", newline="") as text_file:
        text = text_file.read()
    lines, size = text.splitlines(True), len(text.encode())
    whole = best(lambda: tokenizer.encode(text, add_special_tokens=False))
    by_line = best(lambda: tokenizer.encode_batch_fast(lines, add_special_tokens=False))
    print(f"| {os.path.basename(model)} | {os.path.basename(path)} | HF tokenizers | {opening:.3f} | {whole:.3f} | "
          f"{size / whole / 1e6:.1f} | {size / by_line / 1e6:.1f} |", flush=True)


def main():
    models = listed("TESSERA_TOKENIZERS") or sorted(
        os.path.dirname(path) for path in glob.glob("tests/data/tokenizers/*/tokenizer.json"))
    print("| tokenizer | text | coder | open s | encode s | MB/s | MB/s by line |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        texts = ["demo/text/stories.txt", *listed("TESSERA_TEXTS"), *hard_texts(folder)]
        for model in models:
            for path in texts:
                print(end="", flush=True)
                subprocess.run([PROGRAM, model, path], check=True)
                try:
                    peer(model, path)
                except ImportError:
                    pass


main()
