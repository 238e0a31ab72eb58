# SPDX-License-Identifier: Apache-2.0
"""org.tessera.trellis, bitstream 1 (plugins/trellis/README.md)."""
import numpy as np

from codec_scalar import RAW, read_rice, unzigzag
from errors import require
from rans import LANES, LOW, Model
from reader import Bits, Reader

ID, VERSIONS, GIVES = "org.tessera.trellis", (1,), "f32"
INDEX_MAX = 1 << 22
POLYNOMIALS = {2: (0o5, 0o2), 3: (0o13, 0o4), 4: (0o23, 0o4), 5: (0o45, 0o10), 6: (0o103, 0o24), 7: (0o235, 0o126),
               8: (0o515, 0o362)}


def next_states(log_states):
    """[state][parity]."""
    h0, h1 = POLYNOMIALS[log_states]
    return [[s >> 1 ^ (h0 >> 1 if s & 1 else 0) ^ (h1 >> 1 if parity else 0) for parity in (0, 1)]
            for s in range(1 << log_states)]


def point(quantiser, index):
    magnitude = abs(index)
    value = np.float32(2 * magnitude - quantiser if magnitude else 0)
    return -value if index < 0 else value


class Stream:
    """Symbols one by one, each in a context that is known when it is asked for."""

    def __init__(self, model, data, count):
        reader = Reader(data)
        self.model, self.at, self.word = model, 0, 0
        self.states = list(reader.numbers("%dI" % min(count, LANES)))
        require(reader.left() % 2 == 0, "half a word")
        self.words = np.frombuffer(reader.take(reader.left()), "<u2")

    def symbol(self, context):
        model, lane = self.model, self.at % LANES
        x = self.states[lane]
        slot = x & (1 << model.bits) - 1
        symbol = int(model.symbol_of[context, slot])
        x = int(model.freq[context, symbol]) * (x >> model.bits) + slot - int(model.start[context, symbol])
        if x < LOW:
            require(self.word < len(self.words), "words cut short")
            x = x << 16 | int(self.words[self.word])
            self.word += 1
        self.states[lane] = x
        self.at += 1
        return symbol

    def end(self):
        require(self.word == len(self.words) and all(x == LOW for x in self.states), "stream that does not end")


class Decoder:
    def __init__(self, head):
        reader = Reader(head.codec_header)
        self.mantissa_bits, log_states, self.classes = reader.numbers("BBB")
        self.middle = reader.varint()
        require(1 <= self.mantissa_bits <= 7 and 2 <= log_states <= 8 and 1 <= self.classes <= 16 and self.middle <= 2047,
                "header numbers")
        self.next = next_states(log_states)
        self.values = [self.read_points(reader, context % 2) for context in range(2 * self.classes)]
        self.model = Model(reader)
        require(self.model.alphabet == 2 * self.middle + 2 and self.model.contexts == 2 * self.classes and
                not reader.left(), "model of another shape")

    def read_points(self, reader, quantiser):
        """Points in steps of the symbols 0 .. 2M (the indices -M .. M)."""
        count = reader.number(1)
        require(count <= 15, "reconstruction points")
        offsets = np.frombuffer(reader.take(count), np.int8)
        points = np.array([point(quantiser, m) for m in range(1, self.middle + 1)], np.float32)
        used = min(count, self.middle)
        points[:used] += offsets[:used].astype(np.float32) / np.float32(128)
        return np.concatenate([-points[::-1], np.zeros(1, np.float32), points])

    def step(self, code):
        require(1 << self.mantissa_bits <= code < 255 << self.mantissa_bits, "step code out of range")
        return np.array([code << 23 - self.mantissa_bits], np.uint32).view(np.float32)[0]

    def decode(self, tile, data):
        reader = Reader(data)
        centre, rice = reader.numbers("HB")
        class_rice = reader.number(1) if self.classes > 1 else 0
        side_bytes, stream_bytes = reader.varint(), reader.varint()
        require(rice <= 15 and class_rice <= 15, "Rice parameter")
        side, stream = Bits(reader.take(side_bytes)), reader.take(stream_bytes)
        rows = []
        for _ in range(tile.rows):
            code = centre + unzigzag(read_rice(side, rice))
            require(0 <= code < 1 << 16, "step code out of range")
            kind = read_rice(side, class_rice) if code > RAW and self.classes > 1 else 0
            require(kind < self.classes, "class out of range")
            rows.append((code, kind))
        require(side.size - side.at < 8, "side bits left over")
        return self.reconstruct(tile, rows, stream, reader)

    def reconstruct(self, tile, rows, stream, reader):
        count = sum(code > RAW for code, _ in rows) * tile.columns
        require(count > 0 or not stream, "symbols for no row")
        symbols, states = Stream(self.model, stream, count), [0] * tile.columns
        out = np.zeros((tile.rows, tile.columns), np.float32)
        for r, (code, kind) in enumerate(rows):
            if code <= RAW:
                continue
            step = self.step(code)
            for c in range(tile.columns):
                quantiser = states[c] & 1
                symbol = symbols.symbol(2 * kind + quantiser)
                if symbol == 2 * self.middle + 1:
                    index = unzigzag(reader.varint())
                    require(abs(index) <= INDEX_MAX, "escape out of range")
                    value = point(quantiser, index)
                else:
                    index, value = symbol - self.middle, self.values[2 * kind + quantiser][symbol]
                out[r, c] = value * step
                states[c] = self.next[states[c]][index & 1]
        symbols.end()
        for r, (code, _) in enumerate(rows):
            if code == RAW:
                out[r] = np.frombuffer(reader.take(4 * tile.columns), "<f4")
        require(not reader.left(), "bytes behind the tile")
        return out.reshape(-1)
