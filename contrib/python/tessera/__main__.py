# SPDX-License-Identifier: Apache-2.0
"""The program that the package carries: `tessera ...`, `python -m tessera ...`."""
from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Becomes the program."""
    program = Path(__file__).parent / "_native" / "bin" / "tessera"
    try:
        os.execv(program, ["tessera", *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"tessera: {program} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main()
