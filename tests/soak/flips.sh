#!/usr/bin/env bash
# 10000 flipped bits (tests/unit/test_flips.c).
TESSERA_SOAK=1 exec "${TESSERA_BUILD:-build}/tests/test_flips"
