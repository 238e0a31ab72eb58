# SPDX-License-Identifier: Apache-2.0
"""What scalar and trellis share from their bitstream 2 on: distributions of a few numbers a scale (plugins/trellis/README.md, "Scales and
distributions"), by doubles with + - * / alone in the order of the README, and codes of columns."""
import struct

import numpy as np

from errors import require
from rans import Tables
from reader import read_rice, unzigzag
from series import exp2, log2

LIMIT_MAX = 2047


class Shape:
    """Numbers of all scales, and the frequencies that follow from them."""
    MOST = (31, 127, 127, 255, 255, 15)

    def __init__(self, quantisers, probability_bits, unit, scales, base):
        self.quantisers, self.bits, self.unit, self.scales, self.base = quantisers, probability_bits, unit, scales, base

    def read(self, bits):
        self.lists = []
        for number, most in enumerate(self.MOST):
            if self.quantisers == 1 and number in (2, 4):  # those of quantiser 1
                self.lists.append([])
                continue
            code, rice, codes = bits.get(8), bits.get(3), []
            for scale in range(self.scales):
                code += unzigzag(read_rice(bits, rice)) if scale else 0
                require(0 <= code <= most, "distribution out of range")
                codes.append(code)
            self.lists.append(codes)

    def densities(self, scale, quantiser):
        power = (4 + self.lists[0][scale]) / 8.0
        log_scale = self.base / 16 + (scale << self.unit) / 4
        shift = (self.lists[1 + quantiser][scale] - 32) / 8.0 - power * log_scale
        w, total, first = [0.0], 0.0, 0.0
        for m in range(1, LIMIT_MAX + 1):
            log_depth = power * log2(float(2 * m - quantiser)) + shift
            depth = 2.0 ** 60 if log_depth > 60 else 0.0 if log_depth < -60 else exp2(log_depth)
            first = depth if m == 1 else first
            if depth - first > 24:
                break
            w.append(exp2(first - depth))
            total += w[m]
        return w, total

    def frequencies(self, scale, quantiser):
        """Of -M .. M and the escape."""
        w, total = self.densities(scale, quantiser)
        every, limit, units = 1 << self.bits, len(w) - 1, 2.0 ** 30
        while limit > 1 and w[limit] * (every // 2) < total:
            limit -= 1
        odds = exp2((self.lists[3 + quantiser][scale] - 128) / 8.0)
        outside = units * exp2(-1.0 - self.lists[5][scale])
        zero = (units - outside) * (odds / (1 + odds))
        inside = 0.0
        for m in range(1, limit + 1):
            inside += w[m]
        each = (units - outside - zero) / (2 * inside)
        whole = [int(zero)] + [int(w[m] * each) for m in range(1, limit + 1)]
        parts = [whole[abs(i)] for i in range(-limit, limit + 1)] + [int(outside)]
        slot, shared, at, out = sum(parts) // every, every - len(parts), 0, []
        above = [max(part - slot, 0) for part in parts]
        for part in above:
            out.append(1 + (at + part) * shared // sum(above) - at * shared // sum(above) if any(above) else 1)
            at += part
        return out

    def group(self, scale):
        return scale << self.unit >> 2

    def model(self):
        """Limits of all contexts, the largest, and the model of the entropy coder."""
        contexts = range(self.quantisers * self.scales)
        found = [self.frequencies(i // self.quantisers, i % self.quantisers) for i in contexts]
        limits = [len(f) // 2 - 1 for f in found]
        pads = [[0] * (max(limits) - limit) for limit in limits]
        return limits, max(limits), Tables(self.bits, [pad + f[:-1] + pad + f[-1:] for pad, f in zip(pads, found)])


def read_means(bits, columns):
    """The mean of each column, F32."""
    unit = struct.unpack("<f", struct.pack("<I", bits.get(32)))[0]
    rice = bits.get(4)
    require(0 < unit < 2.0 ** 100, "unit of means out of range")
    codes = [unzigzag(read_rice(bits, rice)) for _ in range(columns)]
    return np.array(codes, np.float32) * np.float32(unit)


def read_columns(bits, columns):
    """Their centre, and the code of each."""
    centre, rice = (bits.get(8) ^ 128) - 128, bits.get(4)
    codes = [centre + unzigzag(read_rice(bits, rice)) for _ in range(columns)]
    require(all(-128 <= code < 128 for code in codes), "column out of range")
    return centre, codes
