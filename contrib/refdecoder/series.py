# SPDX-License-Identifier: Apache-2.0
"""Logarithms and powers of two by the series of plugins/tile_parts/row_step.c: the same doubles everywhere."""
import struct


def log2(value):
    bits = struct.unpack("<Q", struct.pack("<d", value))[0]
    exponent = float((bits >> 52) - 1023)
    value = struct.unpack("<d", struct.pack("<Q", bits & (1 << 52) - 1 | 1023 << 52))[0]
    if value > 1.4142135623730951:
        value /= 2
        exponent += 1
    t = (value - 1) / (value + 1)
    square, total = t * t, 0.0
    for k in range(17, 0, -2):
        total = total * square + 1.0 / k
    return exponent + 2 * t * total * 1.4426950408889634


def exp2(value):
    whole = int(value - 0.5 if value < 0 else value + 0.5)
    x, total = (value - whole) * 0.6931471805599453, 1.0
    for k in range(14, 0, -1):
        total = 1 + total * x / k
    return total * 2.0 ** whole
