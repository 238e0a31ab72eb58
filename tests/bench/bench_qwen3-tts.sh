#!/usr/bin/env bash
# The published 0.6B CustomVoice shape with seeded random weights: loading, codes against the bandwidth bound, the vocoder
# against real time, both checkpoints compressed as one job. QWEN3_TTS: a folder made before by make_qwen3_tts.py; else 2.5 GB are
# written below QWEN3_TTS_FOLDER (default: the build folder), and twice that for outputs.
set -eu
build=${TESSERA_BUILD:-build} tool=$build/bin/tessera
folder=$(mktemp -d "${QWEN3_TTS_FOLDER:-$build}/qwen3-tts.XXXXXX")
trap 'rm -rf "$folder"' EXIT
model=${QWEN3_TTS:-$folder/model}
[ -e "$model/config.json" ] || python3 tests/bench/make_qwen3_tts.py "$model"
python3 tests/bench/make_qwen3_tts.py --check tests/data/names/qwen3-tts.txt
make -s "$build/bench/speech_speed" >&2
cat "$model/model.safetensors" "$model/speech_tokenizer/model.safetensors" >/dev/null

echo "Qwen3-TTS 0.6B CustomVoice by shape (402 + 496 tensors, BF16 and F32, 2.49 GB), random weights, seed 1: names, shapes and byte"
echo "totals are those of the published files, quality says nothing. Two workers. Load while this ran: $(cut -d' ' -f1 /proc/loadavg)."
echo
echo "| measure | |"
echo "|---|---|"
"$build/bench/speech_speed" "$model" 2 "${ROUNDS:-5}" 16
echo
echo "Codes read every weight of the talker once and of the code predictor's layers 16 times a frame; the bound is these bytes at the rate"
echo "at which both workers read 1 GiB of memory, measured before and after each round. The predictor's layers (157 MB) fit"
echo "the last-level cache of this machine, so a share above 1 is possible."
echo
echo "| compress, 2 workers | seconds | output bytes | ratio | peak MiB (at most 1024) |"
echo "|---|---|---|---|---|"
for config in lossless qwen3-tts-small; do
    result=$(python3 tests/bench/watch.py "$tool" compress "$model" -c $config -o "$folder/out" -j2 -q)
    python3 - "$config" "$folder/out" "$result" <<'END'
import json, sys
run, totals = json.loads(sys.argv[3]), json.load(open(sys.argv[2] + "/tessera.json"))["totals"]
assert run["exit"] == 0, run
print(f"| `{sys.argv[1]}` | {run['seconds']:.0f} | {totals['output_bytes']} | {totals['ratio']:.3f}:1 | {run['peak_bytes'] / 2**20:.0f} |")
END
    if [ $config = lossless ]; then
        "$tool" decompress "$folder/out" -o "$folder/back" -j2 -q
        diff -r "$model" "$folder/back" >&2
        rm -rf "$folder/back"
    fi
    rm -rf "$folder/out"
done
echo
echo "The lossless output decompresses to the same bytes, file by file. Random Gaussian weights have the entropy of no trained model: the"
echo "lossless ratio here says nothing about published weights."
