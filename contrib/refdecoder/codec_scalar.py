# SPDX-License-Identifier: Apache-2.0
"""org.tessera.scalar, bitstreams 1 and 2 (plugins/scalar/README.md)."""
import numpy as np

from errors import require
from rans import Model, decode_split
from reader import Bits, Reader, read_rice, unzigzag
from shape import Shape, read_columns

ID, VERSIONS, GIVES = "org.tessera.scalar", (1, 2), "f32"
ZERO, RAW = 0, 1
INDEX_MAX = 1 << 24
ROWS, COLUMNS, TABLES = 1, 2, 4


class Decoder:
    def __init__(self, head):
        reader = Reader(head.codec_header)
        self.version, self.centre, self.columns = head.bitstream, 0, [0] * head.columns
        self.mantissa_bits = reader.number(1)
        require(1 <= self.mantissa_bits <= 7, "header numbers")
        if self.version == 1:
            self.read_first_version(reader)
        else:
            self.read_second_version(reader, head.columns)

    def read_first_version(self, reader):
        self.scales, self.group, self.middle = reader.number(1), reader.varint(), reader.varint()
        require(1 <= self.scales <= 16 and self.middle <= 2047, "header numbers")
        self.rows_coded = self.scales > 1
        self.values = [self.read_points(reader) for _ in range(self.scales)]
        self.read_model(reader)

    def read_second_version(self, reader, columns):
        probability_bits, unit, self.scales, base, flags, self.row_centre = reader.numbers("BBBhBb")
        self.group = reader.varint()
        require(12 <= probability_bits <= 14 and unit <= 2 and 1 <= self.scales <= 32 and flags < 8, "header numbers")
        self.rows_coded = bool(flags & ROWS)
        shape = Shape(1, probability_bits, unit, self.scales, base)
        self.limits = [reader.varint() for _ in range(self.scales if flags & TABLES else 0)]
        require(all(limit <= 2047 for limit in self.limits), "limit above 2047")
        offsets = Reader(reader.data[reader.at:])
        lists = shape.group(self.scales - 1) + 1
        for _ in range(lists):
            reader.take(reader.number(1))
        bits = Bits(reader.data[reader.at:])
        if flags & COLUMNS:
            self.centre, self.columns = read_columns(bits, columns)
        if not flags & TABLES:
            shape.read(bits)
        bits.align()
        reader.take(bits.at // 8)
        if flags & TABLES:
            self.middle = max(self.limits)
            self.read_model(reader)
        else:
            require(not reader.left(), "header bytes left over")
            self.limits, self.middle, self.model = shape.model()
        points = [self.read_points(offsets) for _ in range(lists)]
        self.values = [points[shape.group(scale)] for scale in range(self.scales)]

    def read_model(self, reader):
        self.model = Model(reader)
        require(self.model.alphabet == 2 * self.middle + 2 and self.model.contexts == self.scales and
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

    def scale(self, row, column):
        return max(0, min(self.scales - 1, row + column))

    def places(self, tile):
        """First column and columns of the segments of a row."""
        group = self.group or max(tile.columns, 1)
        return [(tile.column + at, min(group, tile.columns - at)) for at in range(0, tile.columns, group)]

    def row_code(self, stored):
        if self.version == 1:
            require(stored < self.scales, "class out of range")
            return stored
        row = self.row_centre + unzigzag(stored)
        require(-128 <= row < 128, "row out of range")
        return row

    def decode(self, tile, data):
        reader = Reader(data)
        centre, rice = reader.numbers("HB")
        row_rice = reader.number(1) if self.rows_coded else 0
        side_bytes, stream_bytes = reader.varint(), reader.varint()
        require(rice <= 15 and row_rice <= 15, "Rice parameter")
        side, stream = Bits(reader.take(side_bytes)), reader.take(stream_bytes)
        segments = []
        for first, columns in self.places(tile) * tile.rows:
            code = centre + unzigzag(read_rice(side, rice))
            require(0 <= code < 1 << 16, "step code out of range")
            stored = read_rice(side, row_rice) if code > RAW and self.rows_coded else 0
            segments.append((code, self.row_code(stored) if code > RAW else 0, first, columns))
        side.end()
        return self.reconstruct(segments, stream, reader)

    def contexts(self, segments):
        found = [np.clip(row + np.array(self.columns[first:first + columns]), 0, self.scales - 1)
                 for code, row, first, columns in segments if code > RAW]
        return np.concatenate(found).astype(np.uint8) if found else np.zeros(0, np.uint8)

    def escaped(self, stored, context):
        if self.version == 1:
            return unzigzag(stored)
        magnitude = stored // 2 + self.limits[context] + 1
        return -magnitude if stored % 2 else magnitude

    def reconstruct(self, segments, stream, reader):
        contexts = self.contexts(segments)
        count = len(contexts)
        require(count > 0 or not stream, "symbols for no segment")
        symbols = decode_split(self.model, stream, count, 0, 16, contexts) if count else np.zeros(0, np.uint16)
        out, at = [], 0
        for code, row, _, columns in segments:
            x = np.zeros(columns, np.float32)
            if code > RAW:
                own, step = symbols[at:at + columns], self.step(code)
                x = self.values[self.scale(row, self.centre)][own] * step
                for i in np.flatnonzero(own == 2 * self.middle + 1):
                    index = self.escaped(reader.varint(), contexts[at + i])
                    require(abs(index) <= INDEX_MAX, "escape out of range")
                    x[i] = np.float32(index) * step
                at += columns
            out.append(x)
        for i, (code, _, _, columns) in enumerate(segments):
            if code == RAW:
                out[i] = np.frombuffer(reader.take(4 * columns), "<f4")
        require(not reader.left(), "bytes behind the tile")
        return np.concatenate(out) if out else np.zeros(0, np.float32)
