# SPDX-License-Identifier: Apache-2.0
"""org.tessera.trellis, bitstreams 1 to 3 (plugins/trellis/README.md)."""
import numpy as np

from errors import require
from rans import LANES, LOW, Model
from reader import Bits, Reader, read_rice, unzigzag
from shape import Shape, read_columns, read_means

ID, VERSIONS, GIVES = "org.tessera.trellis", (1, 2, 3), "f32"
RAW = 1
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
        self.version, self.columns, self.means = head.bitstream, [0] * head.columns, None
        self.mantissa_bits, log_states = reader.numbers("BB")
        require(1 <= self.mantissa_bits <= 7 and 2 <= log_states <= 8, "header numbers")
        self.next = next_states(log_states)
        if self.version == 1:
            self.read_first_version(reader)
        else:
            self.read_shaped_version(reader, head.columns)

    def read_first_version(self, reader):
        self.classes, self.middle = reader.number(1), reader.varint()
        require(1 <= self.classes <= 16 and self.middle <= 2047, "header numbers")
        self.rows_coded = self.classes > 1
        self.values = [self.read_points(reader, context % 2) for context in range(2 * self.classes)]
        self.model = Model(reader)
        require(self.model.alphabet == 2 * self.middle + 2 and self.model.contexts == 2 * self.classes and
                not reader.left(), "model of another shape")

    def read_shaped_version(self, reader, columns):
        probability_bits, unit, self.classes, base, flags, self.row_centre = reader.numbers("BBBhBb")
        require(12 <= probability_bits <= 14 and unit <= 2 and 1 <= self.classes <= 32 and
                flags < (4 if self.version == 2 else 8), "header numbers")
        self.rows_coded = bool(flags & 1)
        groups = ((self.classes - 1 << unit) >> 2) + 1
        offsets = Reader(reader.data[reader.at:])
        for _ in range(2 * groups):
            reader.take(reader.number(1))
        bits = Bits(reader.take(reader.left()))
        if flags & 2:
            _, self.columns = read_columns(bits, columns)
        if flags & 4:
            self.means = read_means(bits, columns)
        shape = Shape(2, probability_bits, unit, self.classes, base)
        shape.read(bits)
        bits.end()
        self.limits, self.middle, self.model = shape.model()
        lists = [self.read_points(offsets, i % 2) for i in range(2 * groups)]
        self.values = [lists[2 * shape.group(i // 2) + i % 2] for i in range(2 * self.classes)]

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
        class_rice = reader.number(1) if self.rows_coded else 0
        side_bytes, stream_bytes = reader.varint(), reader.varint()
        require(rice <= 15 and class_rice <= 15, "Rice parameter")
        side, stream = Bits(reader.take(side_bytes)), reader.take(stream_bytes)
        rows = []
        for _ in range(tile.rows):
            code = centre + unzigzag(read_rice(side, rice))
            require(0 <= code < 1 << 16, "step code out of range")
            kind = read_rice(side, class_rice) if code > RAW and self.rows_coded else 0
            if self.version == 1:
                require(kind < self.classes, "class out of range")
            else:
                kind = self.row_centre + unzigzag(kind)
                require(-128 <= kind < 128, "row out of range")
            rows.append((code, kind))
        side.end()
        return self.reconstruct(tile, rows, stream, reader)

    def escaped(self, stored, context):
        if self.version == 1:
            return unzigzag(stored)
        magnitude = stored // 2 + self.limits[context] + 1
        return -magnitude if stored % 2 else magnitude

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
                scale = max(0, min(self.classes - 1, kind + self.columns[tile.column + c]))
                context = 2 * scale + quantiser
                symbol = symbols.symbol(context)
                if symbol == 2 * self.middle + 1:
                    index = self.escaped(reader.varint(), context)
                    require(abs(index) <= INDEX_MAX, "escape out of range")
                    value = point(quantiser, index)
                else:
                    index, value = symbol - self.middle, self.values[context][symbol]
                out[r, c] = value * step
                if self.means is not None:
                    out[r, c] += self.means[tile.column + c]
                states[c] = self.next[states[c]][index & 1]
        symbols.end()
        for r, (code, _) in enumerate(rows):
            if code == RAW:
                out[r] = np.frombuffer(reader.take(4 * tile.columns), "<f4")
        require(not reader.left(), "bytes behind the tile")
        return out.reshape(-1)
