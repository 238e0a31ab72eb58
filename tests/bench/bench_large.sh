#!/usr/bin/env bash
# A checkpoint of LARGE_GB (6) gigabytes of distinct weights: peak memory with two workers (256 MiB at most), and two
# workers against one (1.9 times as fast). Needs twice that much free disk below LARGE_FOLDER (default: the build folder).
set -eu
tool=${TESSERA_BUILD:-build}/bin/tessera
folder=$(mktemp -d "${LARGE_FOLDER:-${TESSERA_BUILD:-build}}/large.XXXXXX")
trap 'rm -rf "$folder"' EXIT
gigabytes=${LARGE_GB:-6}
python3 tests/bench/make_large.py "$folder/in.safetensors" "$gigabytes"
cat "$folder/in.safetensors" >/dev/null # as warm as it gets, for both

echo "A synthetic checkpoint of $gigabytes GB (distinct Gaussian BF16 weights, seed 1). Memory is RssAnon + RssShmem, sampled"
echo "every 20 ms. The demand is 256 MiB with two workers, and 1.9 times the speed of one worker."
echo
echo "| command | seconds | MB/s | peak MiB |"
echo "|---|---|---|---|"
declare -A seconds
row() { # label output arguments...
    local label=$1 key=$2 result
    shift 2
    result=$(python3 tests/bench/watch.py "$@")
    python3 - "$label" "$gigabytes" "$result" <<'END'
import json, sys
r = json.loads(sys.argv[3])
assert r["exit"] == 0, r
print(f"| `{sys.argv[1]}` | {r['seconds']:.1f} | {float(sys.argv[2]) * 1000 / r['seconds']:.0f} | {r['peak_bytes'] / 2**20:.0f} |")
END
    seconds[$key]=$(python3 -c 'import json,sys; print(json.loads(sys.argv[1])["seconds"])' "$result")
}
row "compress -j1" c1 "$tool" compress "$folder/in.safetensors" -o "$folder/one" -j1 -q
rm -rf "$folder/one"
row "compress -j2" c2 "$tool" compress "$folder/in.safetensors" -o "$folder/two" -j2 -q
row "verify -j1" v1 "$tool" verify "$folder/two" -j1 -q
row "verify -j2" v2 "$tool" verify "$folder/two" -j2 -q
row "decompress -j2" d2 "$tool" decompress "$folder/two" -o "$folder/back" -j2 -q
cmp "$folder/in.safetensors" "$folder/back/in.safetensors" || cmp "$folder/in.safetensors" "$folder/back/model.safetensors"
echo
python3 -c 'import sys; a = list(map(float, sys.argv[1:])); print(f"Two workers against one: compress {a[0] / a[1]:.2f}x, verify {a[2] / a[3]:.2f}x.")' \
    "${seconds[c1]}" "${seconds[c2]}" "${seconds[v1]}" "${seconds[v2]}"
