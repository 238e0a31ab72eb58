# SPDX-License-Identifier: Apache-2.0
"""Entropy-coded streams, docs/format.md section 8: stored models, interleaved rANS, raw bits beside it."""
import numpy as np

from errors import require
from reader import Bits, Reader

LANES = 32
LOW = 1 << 16


def read_gamma(bits):
    """Elias gamma: n zeros, a one, the n bits below the highest."""
    low = 0
    while not bits.get(1):
        low += 1
        require(low < 16, "a gamma code above 16 bits")
    return 1 << low | bits.get(low)


class LazyBits(Bits):
    """Bits of a model whose length is not known before it is read."""

    def __init__(self, data):
        super().__init__(b"")
        self.data, self.size = data, 8 * len(data)

    def get(self, count):
        require(count <= self.size - self.at, "model cut short")
        first, last = self.at // 8, (self.at + count + 7) // 8
        value = int.from_bytes(self.data[first:last], "little") >> self.at % 8 & (1 << count) - 1
        self.at += count
        return value


class Tables:
    """Frequencies of `contexts` distributions over `alphabet` symbols, each summing to 2^bits (or to nothing)."""

    def __init__(self, bits, frequencies):
        self.bits, self.freq = bits, np.array(frequencies, np.uint32)
        self.contexts, self.alphabet = self.freq.shape
        sums = self.freq.sum(axis=1)
        require(np.all((sums == 0) | (sums == 1 << self.bits)), "model whose probabilities do not sum to one")
        self.start = np.cumsum(self.freq, axis=1, dtype=np.uint32) - self.freq
        self.symbol_of = np.zeros((self.contexts, 1 << self.bits), np.uint16)
        for context in range(self.contexts):
            if sums[context]:
                self.symbol_of[context] = np.repeat(np.arange(self.alphabet), self.freq[context])


class Model(Tables):
    """A stored one."""

    def __init__(self, reader):
        self.bits, self.alphabet, self.contexts = reader.numbers("BHB")
        require(8 <= self.bits <= 14 and 1 <= self.alphabet <= 4096 and 1 <= self.contexts <= 64, "model of impossible shape")
        bits = LazyBits(bytes(reader.data[reader.at:]))
        super().__init__(self.bits, [self.read_context(bits) for _ in range(self.contexts)])
        reader.take((bits.at + 7) // 8)

    def read_context(self, bits):
        freq, before = [], 0
        while len(freq) < self.alphabet:
            zigzag = read_gamma(bits) - 1
            now = before - (zigzag + 1) // 2 if zigzag % 2 else before + zigzag // 2
            require(0 <= now <= self.bits + 1, "frequency class out of range")
            before = now
            if now:
                freq.append(1 << now - 1 | bits.get(now - 1))
            else:
                run = read_gamma(bits)
                require(run <= self.alphabet - len(freq), "run of zeros beyond the alphabet")
                freq += [0] * run
        return freq


def decode_symbols(model, data, count, contexts=None):
    """symbols[count] from exactly `data`."""
    reader = Reader(data)
    lanes = min(count, LANES)
    state = np.array(reader.numbers("%dI" % lanes), np.uint64)
    require(reader.left() % 2 == 0, "half a word")
    words = np.frombuffer(reader.take(reader.left()), "<u2")
    contexts = np.zeros(count, np.uint8) if contexts is None else contexts
    require(count == 0 or int(contexts.max()) < model.contexts, "context without a model")
    symbols = np.zeros(count, np.uint16)
    mask, shift, at = np.uint64((1 << model.bits) - 1), np.uint64(model.bits), 0
    for first in range(0, count, LANES):
        size = min(LANES, count - first)
        context, x = contexts[first:first + size], state[:size]
        slot = x & mask
        symbol = model.symbol_of[context, slot.astype(np.int64)]
        symbols[first:first + size] = symbol
        x = model.freq[context, symbol] * (x >> shift) + slot - model.start[context, symbol]
        due = np.flatnonzero(x < LOW)
        require(len(due) <= len(words) - at, "words cut short")
        x[due] = x[due] << np.uint64(16) | words[at:at + len(due)]
        at += len(due)
        state[:size] = x
    require(at == len(words) and np.all(state == LOW), "stream that does not end where it began")
    return symbols


def unpack_bits(data, count, width):
    """values[count] of `width` bits each, packed without gaps."""
    require(len(data) == (count * width + 7) // 8, "packed bits of another size")
    if width == 0:
        return np.zeros(count, np.uint16)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:count * width].reshape(count, width)
    return (bits.astype(np.uint32) << np.arange(width, dtype=np.uint32)).sum(axis=1).astype(np.uint16)


def decode_split(model, data, count, low_bits, symbol_bits, contexts=None):
    """16-bit values whose bits low_bits .. low_bits + symbol_bits - 1 are symbols; the others stand raw in front."""
    width = 16 - symbol_bits
    raw_bytes = (count * width + 7) // 8
    require(raw_bytes <= len(data), "raw bits cut short")
    raw = unpack_bits(data[:raw_bytes], count, width).astype(np.uint32)
    symbols = decode_symbols(model, data[raw_bytes:], count, contexts).astype(np.uint32)
    low = raw & (1 << low_bits) - 1
    return (low | symbols << low_bits | raw >> low_bits << low_bits + symbol_bits).astype(np.uint16)
