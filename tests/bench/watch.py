#!/usr/bin/env python3
"""usage: watch.py COMMAND... - runs it and prints JSON: seconds, exit code, peak resident memory that is not clean file
pages (RssAnon + RssShmem of /proc/PID/status, sampled every 20 ms)."""
import json
import subprocess
import sys
import time


def resident(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon:", "RssShmem:"))) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0


def main():
    start, peak = time.monotonic(), 0
    with subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.02)
    print(json.dumps({"seconds": time.monotonic() - start, "exit": process.returncode, "peak_bytes": peak}))


main()
