"""usage: speech_memory.py TOOL MODEL WORK - decodes 100 and 3000 frames with one worker (others take scratch when they first get work); the
longer one, 2.9 MB of samples, takes at most 1 MB more memory that is not file pages."""
import json
import os
import struct
import subprocess
import sys

tool, model, work = sys.argv[1:]
groups = json.load(open(model + "/config.json", encoding="utf-8"))["talker_config"]["num_code_groups"]
peaks = []
for frames in (100, 3000):
    header = json.dumps({"codes": {"dtype": "I32", "shape": [frames, groups], "data_offsets": [0, 4 * frames * groups]}}).encode()
    with open(work + "/long.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.write(b"".join(struct.pack("<i", i * 37 % 64) for i in range(frames * groups)))
    command = [tool, "run", model, "--codes-in", work + "/long.safetensors", "--one-piece", "-j1", "-o", work + "/long.wav", "-q"]
    watched = json.loads(subprocess.check_output([sys.executable, "tests/bench/watch.py", *command]))
    assert watched["exit"] == 0, watched
    peaks.append(watched["peak_bytes"])
assert os.path.getsize(work + "/long.wav") > 3000 * 2 * 100
print(peaks)
sys.exit(peaks[1] > peaks[0] + (1 << 20))
