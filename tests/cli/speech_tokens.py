"""usage: speech_tokens.py OUT VERSION PATTERN - writes a folder with the tokenizer files of a published Qwen3-TTS model as far as
the texts of tests/data/qwen3-tts/a/text-ids-qwen2.json need them (other entries are fillers, so that there are as many as published), the
given transformers_version, and the ids by PATTERN (local, plain) as golden.jsonl."""
import json
import sys

DATA = "tests/data/qwen3-tts/"
out, version, pattern = sys.argv[1:]
kept = json.load(open(DATA + "tokens.json", encoding="utf-8"))
golden = json.load(open(DATA + "a/text-ids-qwen2.json", encoding="utf-8"))
used = set(kept["vocab"].values())
vocabulary = {**kept["vocab"], **{f"\u0120\u0120filler{i}": i for i in range(151643) if i not in used}}
added = {str(151643 + i): {"content": text, "special": True, "normalized": False} for i, text in enumerate(golden["added_tokens"])}
for name, value in (("vocab.json", vocabulary), ("config.json", {"model_type": "qwen3_tts", "transformers_version": version}),
                    ("tokenizer_config.json", {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added})):
    json.dump(value, open(f"{out}/{name}", "w", encoding="utf-8"))
with open(f"{out}/merges.txt", "w", encoding="utf-8") as file:
    file.write("#version: 0.2\n" + "".join(line + "\n" for line in kept["merges"]))
with open(f"{out}/golden.jsonl", "w", encoding="utf-8") as file:
    file.writelines(json.dumps({"text": case["text"], "ids": case["ids_" + pattern]}) + "\n" for case in golden["cases"])
