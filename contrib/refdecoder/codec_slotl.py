# SPDX-License-Identifier: Apache-2.0
"""org.tessera.slotl, bitstream 1 (plugins/slotl/README.md)."""
import numpy as np

from errors import require
from rans import Model, decode_symbols
from reader import Reader

ID, VERSIONS, GIVES = "org.tessera.slotl", (1,), "f32"
LIMIT = np.float32(3.40282347e38)


def from_bf16(data, rows, columns):
    bits = np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)
    return bits.view(np.float32).reshape(rows, columns)


def packed(data, rows, count, width):
    """Coefficients [rows][count] of `width` bits, low bits first, rows on whole bytes."""
    per, line = 8 // width, np.frombuffer(data, np.uint8).reshape(rows, -1)
    every = (line[:, :, None] >> (np.arange(per, dtype=np.uint8) * width)) & (1 << width) - 1
    return every.reshape(rows, -1)[:, :count].astype(np.float32)


class Decoder:
    def __init__(self, head):
        reader = Reader(head.codec_header)
        *self.bands, self.palette_rows = reader.numbers("HHHHH")
        (self.exponent,) = reader.numbers("h")
        flags, zero = reader.numbers("BB")
        self.rank = sum(self.bands)
        require(self.rank <= 64 and self.palette_rows <= 256 and flags <= 3 and zero == 0 and abs(self.exponent) <= 160,
                "header numbers")
        scales = np.frombuffer(reader.take(4 * self.rank), "<f4")
        if flags & 1:
            basis = self.shared_basis(head)
        else:
            basis = from_bf16(reader.take(2 * self.rank * head.columns), self.rank, head.columns)
        self.scaled = scales[:, None] * basis[:self.rank]
        self.palette = from_bf16(reader.take(2 * self.palette_rows * head.columns), self.palette_rows, head.columns)
        require(np.isfinite(self.scaled).all() and np.isfinite(self.palette).all(), "a number is not finite")
        self.model = Model(reader) if flags & 2 else None
        require(self.model is None or (self.model.alphabet, self.model.contexts) == (256, 1), "model of another shape")
        require(not reader.left(), "bytes behind the header")

    def shared_basis(self, head):
        require(head.dictionary is not None, "no dictionary")
        reader = Reader(head.dictionary)
        rank, zero, columns = reader.numbers("HHI")
        require(self.rank <= rank <= 64 and zero == 0 and columns == head.columns, "dictionary of another shape")
        basis = from_bf16(reader.take(2 * rank * columns), rank, columns)
        require(not reader.left(), "bytes behind the dictionary")
        return basis

    def bytes_band(self, reader, rows):
        count = rows * self.bands[1]
        size = reader.number(4) if self.model is not None and count else 0
        if size:
            values = decode_symbols(self.model, reader.take(size), count)
        else:
            values = np.frombuffer(reader.take(count), np.uint8)
        return values.astype(np.float32).reshape(rows, self.bands[1]) - np.float32(128)

    def decode(self, tile, data):
        reader, rows, columns = Reader(data), tile.rows, tile.columns
        n16, _, n4, n2 = self.bands
        twigs = np.frombuffer(reader.take(rows), np.uint8) if self.palette_rows else None
        wide = np.frombuffer(reader.take(2 * rows * n16), "<i2").reshape(rows, n16).astype(np.float32)
        middle = self.bytes_band(reader, rows)
        nibbles = packed(reader.take(rows * ((n4 + 1) // 2)), rows, n4, 4) - np.float32(8)
        pairs = packed(reader.take(rows * ((n2 + 3) // 4)), rows, n2, 2) - np.float32(1)
        require(not reader.left(), "bytes behind the tile")
        q = np.concatenate([wide, middle, nibbles, pairs], axis=1)
        at = slice(tile.column, tile.column + columns)
        if twigs is None:
            result = np.zeros((rows, columns), np.float32)
        else:
            require(twigs.max() < self.palette_rows, "a twig outside the palette")
            result = self.palette[twigs, at].copy()
        for k in range(self.rank):
            result += q[:, k:k + 1] * self.scaled[k, at]
        half = int(self.exponent / 2)
        with np.errstate(over="ignore"):
            result = np.ldexp(np.float32(1), half) * result
            result = np.ldexp(np.float32(1), self.exponent - half) * result
        result = np.where(np.isfinite(result), result, np.copysign(LIMIT, result)).astype(np.float32)
        return result.reshape(-1)
