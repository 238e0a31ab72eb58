# SPDX-License-Identifier: Apache-2.0
"""The randomised Hadamard transform, docs/format.md section 9."""
import numpy as np


def signs(seed, count):
    """-1 or 1 for each value: bits of splitmix64."""
    words = []
    for i in range((count + 63) // 64):
        z = (seed + (i + 1) * 0x9E3779B97F4A7C15) & (1 << 64) - 1
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
        z = (z ^ z >> 27) * 0x94D049BB133111EB & (1 << 64) - 1
        words.append(z ^ z >> 31)
    bits = np.unpackbits(np.array(words, "<u8").view(np.uint8), bitorder="little")[:count]
    return np.where(bits == 1, np.float32(-1), np.float32(1))


def inverse(row, seed):
    """A row of F32 values, rotated back."""
    count = len(row)
    block = min(count & -count, 1 << 22)
    power = block.bit_length() - 1
    norm = np.float32(2.0 ** -(power // 2))
    if power % 2:
        norm *= np.float32(float.fromhex("0x1.6a09e6p-1"))
    x = (row * norm).reshape(-1, block)
    half = 1
    while half < block:
        pairs = x.reshape(-1, block // (2 * half), 2, half)
        x = np.concatenate([pairs[:, :, :1] + pairs[:, :, 1:], pairs[:, :, :1] - pairs[:, :, 1:]], axis=2)
        half *= 2
    return x.reshape(-1) * signs(seed, count)
