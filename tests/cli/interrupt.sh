#!/usr/bin/env bash
# SIGINT and SIGTERM end a run with 130 and keep what is done; the same command resumes to the same bytes.
source "$(dirname "$0")/lib"

python3 - "$work/large.safetensors" <<'END'
import json, struct, sys
import numpy as np
rng = np.random.default_rng(7)
header, offset, tensors = {}, 0, []
for i in range(48):
    values = (rng.standard_normal((512, 1024)).astype(np.float32) * 0.02).view(np.uint32) >> 16
    data = values.astype("<u2").tobytes()
    header[f"model.layers.{i}.mlp.up_proj.weight"] = {
        "dtype": "BF16", "shape": [512, 1024], "data_offsets": [offset, offset + len(data)]}
    offset += len(data)
    tensors.append(data)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[1], "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + b"".join(tensors))
END
"$tool" compress "$work/large.safetensors" -o "$work/whole" -q

# Stops a run when it has written something; 130 unless it was faster than the signal.
stop_with() { # signal output
    env --default-signal=INT,TERM "$tool" compress "$work/large.safetensors" -o "$2" -j1 >/dev/null 2>"$work/stderr" &
    local process=$!
    while kill -0 $process 2>/dev/null && [ "$(du -s --block-size=1024 "$work" | cut -f1)" -lt "$3" ]; do sleep 0.01; done
    kill -"$1" $process 2>/dev/null
    wait $process
}

for signal in INT TERM; do
    before=$(du -s --block-size=1024 "$work" | cut -f1)
    stop_with $signal "$work/$signal" $((before + 2000))
    check "sig${signal}_ends_with_130" [ $? -eq 130 ]
    check "sig${signal}_is_told_in_one_line" [ "$(grep -c '^tessera: error: ' "$work/stderr")" -eq 1 ]
    check "sig${signal}_publishes_nothing" [ ! -e "$work/$signal/tessera.json" ]
    check "sig${signal}_resumes" "$tool" compress "$work/large.safetensors" -o "$work/$signal" -q
    check "sig${signal}_resumes_to_the_same_bytes" diff -rq -x tessera.run.json "$work/whole" "$work/$signal"
done

# On a terminal one line redraws itself and is gone at the end; elsewhere there are whole lines or none.
on_terminal() { # command
    TERM=xterm script -qec "$1" /dev/null </dev/null
}
if command -v script >/dev/null; then
    on_terminal "$tool compress $work/large.safetensors -o $work/terminal -j1" >"$work/screen"
    check progress_redraws_one_line grep -q $'\r\e\\[Kencode  *[0-9]*%' "$work/screen"
    check headings_are_bold_on_a_terminal eval 'on_terminal "$tool inspect $model" | grep -q $'"'\e\\\\[1m'"
    check no_color_is_respected eval '! NO_COLOR=1 on_terminal "$tool inspect $model" | grep -q $'"'\e\\\\[1m'"
else
    echo "skip - progress_redraws_one_line: no script(1)"
fi
"$tool" compress "$work/large.safetensors" -o "$work/plain" -j1 >/dev/null 2>"$work/stderr"
check no_control_characters_in_a_pipe eval '! grep -q "[[:cntrl:]]" "$work/stderr"'
