# SPDX-License-Identifier: Apache-2.0
"""org.tessera.remainder, bitstream 1 (plugins/remainder/README.md)."""
import numpy as np

from errors import require
from rans import Model, decode_split, decode_symbols, unpack_bits
from reader import Reader

ID, VERSIONS, GIVES, PREDICTED = "org.tessera.remainder", (1,), "source", True
WINDOW = 4096


def rank(word):
    word = word.astype(np.int32)
    return np.where(word & 0x8000, -1 - (word & 0x7FFF), word)


def read_model(data, alphabet, contexts):
    if not data:
        return None
    reader = Reader(data)
    model = Model(reader)
    require(model.alphabet == alphabet and model.contexts == contexts and not reader.left(), "model of another shape")
    return model


class Decoder:
    def __init__(self, head):
        reader = Reader(head.codec_header)
        self.low, self.mantissa, self.first, self.contexts = reader.numbers("BBBB")
        zeros = reader.number(4)
        require(self.low <= 4 and self.mantissa <= 2 and 1 <= self.contexts <= 64, "header numbers")
        self.zeros = read_model(reader.take(zeros), 1024, 1)
        self.differences = read_model(reader.take(reader.left()), WINDOW >> self.low, self.contexts)
        self.bytes = {"F32": 4, "BF16": 2, "F16": 2}[head.dtype_name]
        self.form_mantissa = 10 if head.dtype_name == "F16" else 7

    def decode(self, tile, data):
        return self.decode_given(tile, data, bytes(tile.elements * self.bytes))

    def context(self, predicted):
        exponent = (predicted & 0x7FFF).astype(np.int32) >> self.form_mantissa
        top = predicted.astype(np.int32) >> (self.form_mantissa - self.mantissa) & (1 << self.mantissa) - 1
        return np.clip((exponent - self.first) * (1 << self.mantissa) + top, 0, self.contexts - 1).astype(np.uint8)

    def decode_given(self, tile, data, before):
        reader = Reader(data)
        zero_bytes, difference_bytes, lows = reader.numbers("IIB")
        predicted = np.frombuffer(before, "<u2")[self.bytes // 2 - 1::self.bytes // 2]
        is_zero = predicted & 0x7FFF == 0
        words = np.zeros(tile.elements, np.uint16)
        words[is_zero] = self.read_zeros(reader.take(zero_bytes), int(is_zero.sum()))
        given = predicted[~is_zero]
        values = self.read_values(reader, reader.take(difference_bytes), given)
        escaped = values < 1 << self.low
        ranks = rank(given) + values - WINDOW // 2
        require(np.all(escaped | (ranks >= -0x8000) & (ranks <= 0x7FFF)), "a difference leads nowhere")
        found = np.where(ranks < 0, 0x8000 | (-1 - ranks), ranks).astype(np.uint16)
        found[escaped] = np.frombuffer(reader.take(2 * int(escaped.sum())), "<u2")
        words[~is_zero] = found
        require(lows in (0, 1) and (not lows or self.bytes == 4), "low halves where there are none")
        halves = [words]
        if self.bytes == 4:
            low = np.frombuffer(reader.take(2 * tile.elements), "<u2") if lows else np.zeros(tile.elements, np.uint16)
            halves = [low, words]
        require(not reader.left(), "bytes behind the streams")
        return np.stack(halves, axis=1).astype("<u2").tobytes()

    def read_zeros(self, data, count):
        require(bool(data) == bool(count) and (not count or self.zeros is not None), "zeros")
        return decode_split(self.zeros, data, count, 5, 10) if count else np.zeros(0, np.uint16)

    def read_values(self, reader, data, given):
        count = len(given)
        require(bool(data) == bool(count) and (not count or self.differences is not None), "differences")
        if not count:
            return np.zeros(0, np.int32)
        symbols = decode_symbols(self.differences, data, count, self.context(given)).astype(np.int32)
        rest = unpack_bits(reader.take((count * self.low + 7) // 8), count, self.low).astype(np.int32)
        return symbols << self.low | rest
