# SPDX-License-Identifier: Apache-2.0
"""org.tessera.passthrough, bitstream 1 (plugins/passthrough/README.md)."""
import numpy as np

from errors import require
from rans import Model, decode_split, unpack_bits
from reader import Reader

ID, VERSIONS, GIVES = "org.tessera.passthrough", (1,), "source"
RAW, BYTES, HEAD, SCALED, LOCAL = range(5)
METHOD_RAW, METHOD_SHARED, METHOD_OWN = range(3)
SUMS = 127
WIDE = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "C64": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}


class Field:
    def __init__(self, reader, element_bytes):
        self.kind, self.offset, self.bytes, self.low_bits, self.symbol_bits = reader.numbers("BBBBB")
        require(1 <= self.bytes <= 2 and self.offset + self.bytes <= element_bytes, "field outside the element")
        if self.kind == RAW:
            require(self.low_bits == 0 and self.symbol_bits == 0, "raw field with symbols")
        elif self.kind in (BYTES, LOCAL):
            require((self.bytes, self.low_bits, self.symbol_bits) == (1, 0, 8), "byte field of another shape")
        else:
            require(self.kind in (HEAD, SCALED) and self.bytes == 2 and 1 <= self.symbol_bits <= 12 and
                    self.low_bits + self.symbol_bits <= 16, "field of impossible shape")
        self.model = None

    def read_model(self, reader, contexts):
        model = Model(reader)
        require(model.alphabet == 1 << self.symbol_bits and contexts in (0, model.contexts), "model of another shape")
        return model

    def decode(self, model, data, count, contexts):
        if self.bytes == 1:
            return decode_split(model, data, count, 0, 16)
        return decode_split(model, data, count, self.low_bits, self.symbol_bits, contexts)


class Decoder:
    def __init__(self, head):
        self.element_bytes = WIDE.get(head.dtype_name, 1)
        self.fields, self.rows = [], None
        reader = Reader(head.codec_header)
        if not reader.left():
            return
        count, covered = reader.number(1), []
        require(1 <= count <= 8, "number of fields")
        for _ in range(count):
            field = Field(reader, self.element_bytes)
            covered += range(field.offset, field.offset + field.bytes)
            self.fields.append(field)
            if field.kind not in (RAW, LOCAL):
                field.model = field.read_model(reader, 0 if field.kind == SCALED else 1)
            if field.kind == SCALED:
                self.read_scales(reader, head, field.model)
        require(sorted(covered) == list(range(self.element_bytes)), "fields that do not partition the element")
        require(not reader.left(), "bytes behind the header")

    def read_scales(self, reader, head, model):
        self.context_of = np.frombuffer(reader.take(SUMS), np.uint8)
        require(self.rows is None and int(self.context_of.max()) < model.contexts, "scales")
        self.rows, self.columns = (self.read_classes(reader, count) for count in (head.rows, head.columns))

    @staticmethod
    def read_classes(reader, count):
        width = reader.number(1)
        require(width <= 6, "scale classes too wide")
        return unpack_bits(reader.take((count * width + 7) // 8), count, width).astype(np.int64)

    def decode(self, tile, data):
        size = tile.elements * tile.element_bytes
        if not self.fields:
            require(len(data) == size, "copy of another size")
            return data
        require(size % self.element_bytes == 0, "half an element")
        reader, count = Reader(data), size // self.element_bytes
        out = np.zeros((count, self.element_bytes), np.uint8)
        for field in self.fields:
            out[:, field.offset:field.offset + field.bytes] = self.decode_field(field, tile, reader, count)
        require(not reader.left(), "bytes behind the tile")
        return out.tobytes()

    def decode_field(self, field, tile, reader, count):
        """The bytes of one field, [count][field.bytes]."""
        method = METHOD_RAW if field.kind == RAW else reader.number(1)
        if method == METHOD_RAW:
            return np.frombuffer(reader.take(count * field.bytes), np.uint8).reshape(count, field.bytes)
        require(method == METHOD_OWN or method == METHOD_SHARED and field.model, "method")
        contexts = self.contexts(tile) if method == METHOD_SHARED and field.kind == SCALED else None
        model = field.model if method == METHOD_SHARED else field.read_model(reader, 1)
        values = field.decode(model, reader.take(reader.number(4)), count, contexts)
        return values.astype("<u2").view(np.uint8).reshape(count, 2)[:, :field.bytes]

    def contexts(self, tile):
        rows = self.rows[tile.row:tile.row + tile.rows]
        columns = self.columns[tile.column:tile.column + tile.columns]
        return self.context_of[rows[:, None] + columns[None, :]].reshape(-1)
