# SPDX-License-Identifier: Apache-2.0
"""org.tessera.scalar, bitstream 1 (plugins/scalar/README.md)."""
import numpy as np

from errors import require
from rans import Model, decode_split
from reader import Bits, Reader

ID, VERSIONS, GIVES = "org.tessera.scalar", (1,), "f32"
ZERO, RAW = 0, 1
INDEX_MAX = 1 << 24


def unzigzag(value):
    return -(value // 2) - 1 if value & 1 else value // 2


def read_rice(bits, parameter):
    prefix = 0
    while prefix < 12 and bits.get(1):
        prefix += 1
    return bits.get(16) if prefix == 12 else prefix << parameter | bits.get(parameter)


class Decoder:
    def __init__(self, head):
        reader = Reader(head.codec_header)
        self.mantissa_bits, self.classes = reader.numbers("BB")
        self.group, self.middle = reader.varint(), reader.varint()
        require(1 <= self.mantissa_bits <= 7 and 1 <= self.classes <= 16 and self.middle <= 2047, "header numbers")
        self.values = np.stack([self.read_points(reader) for _ in range(self.classes)])
        self.model = Model(reader)
        require(self.model.alphabet == 2 * self.middle + 2 and self.model.contexts == self.classes and
                not reader.left(), "model of another shape")

    def read_points(self, reader):
        """Reconstruction points in steps, of symbols 0 .. 2M (the indices -M .. M) and of the escape."""
        count = reader.number(1)
        require(count <= 15, "reconstruction points")
        offsets = np.frombuffer(reader.take(count), np.int8)
        points = np.arange(1, self.middle + 1, dtype=np.float32)
        used = min(count, self.middle)
        points[:used] += offsets[:used].astype(np.float32) / np.float32(256)
        return np.concatenate([-points[::-1], np.zeros(1, np.float32), points, np.zeros(1, np.float32)])

    def step(self, code):
        require(1 << self.mantissa_bits <= code < 255 << self.mantissa_bits, "step code out of range")
        return np.array([code << 23 - self.mantissa_bits], np.uint32).view(np.float32)[0]

    def segments(self, tile):
        """(code, class, columns) of the segments of a tile, row by row; needs the side bits."""
        group = self.group or max(tile.columns, 1)
        widths = [min(group, tile.columns - at) for at in range(0, tile.columns, group)]
        return widths * tile.rows

    def decode(self, tile, data):
        reader = Reader(data)
        centre, rice = reader.numbers("HB")
        class_rice = reader.number(1) if self.classes > 1 else 0
        side_bytes, stream_bytes = reader.varint(), reader.varint()
        require(rice <= 15 and class_rice <= 15, "Rice parameter")
        side, stream = Bits(reader.take(side_bytes)), reader.take(stream_bytes)
        segments = []
        for columns in self.segments(tile):
            code = centre + unzigzag(read_rice(side, rice))
            require(0 <= code < 1 << 16, "step code out of range")
            kind = read_rice(side, class_rice) if code > RAW and self.classes > 1 else 0
            require(kind < self.classes, "class out of range")
            segments.append((code, kind, columns))
        require(side.size - side.at < 8, "side bits left over")
        return self.reconstruct(segments, stream, reader)

    def reconstruct(self, segments, stream, reader):
        coded = [(kind, columns) for code, kind, columns in segments if code > RAW]
        count = sum(columns for _, columns in coded)
        contexts = np.repeat([kind for kind, _ in coded], [columns for _, columns in coded]).astype(np.uint8)
        require(count > 0 or not stream, "symbols for no segment")
        symbols = decode_split(self.model, stream, count, 0, 16, contexts) if count else np.zeros(0, np.uint16)
        out, at = [], 0
        for code, kind, columns in segments:
            x = np.zeros(columns, np.float32)
            if code > RAW:
                own, step = symbols[at:at + columns], self.step(code)
                at += columns
                x = self.values[kind][own] * step
                for i in np.flatnonzero(own == 2 * self.middle + 1):
                    index = unzigzag(reader.varint())
                    require(abs(index) <= INDEX_MAX, "escape out of range")
                    x[i] = np.float32(index) * step
            out.append(x)
        for i, (code, _, columns) in enumerate(segments):
            if code == RAW:
                out[i] = np.frombuffer(reader.take(4 * columns), "<f4")
        require(not reader.left(), "bytes behind the tile")
        return np.concatenate(out) if out else np.zeros(0, np.float32)
