# SPDX-License-Identifier: Apache-2.0
"""What the vector quantisers share (plugins/vq_parts/README.md): scales, indices, codebooks, tiles."""
import re

import numpy as np

import hadamard
from errors import require
from rans import Model, decode_split, unpack_bits
from reader import Bits, Reader, read_rice, unzigzag

ZERO, RAW = 0, 1


def parameters(text):
    return dict(re.findall(r"(\w+)=(\[[^\]]*\]|\S+)", text))


def numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


class Stream:
    def __init__(self, size, coded):
        self.size, self.coded, self.model = size, coded, None
        self.width = (size - 1).bit_length()
        self.low = max(self.width, 12) - 12

    def indices(self, reader, count):
        if self.coded:
            values = decode_split(self.model, reader.take(reader.varint()), count, self.low, 16 - self.low)
        else:
            values = unpack_bits(reader.take((count * self.width + 7) // 8), count, self.width)
        values = np.asarray(values, np.int64)
        require(count == 0 or int(values.max()) < self.size, "index out of range")
        return values


class VectorDecoder:
    """A codec adds `most` (the sizes its parameters allow), `word_count` and `value`."""

    def __init__(self, head):
        self.params = parameters(head.params)
        self.group, self.rotated = int(self.params["group"]), self.params["hadamard"] == "true"
        reader = Reader(head.codec_header)
        form = reader.number(1)
        self.seed = reader.number(8) if self.rotated else 0
        require(form in (0, 1), "unknown form of header")
        if form == 0:
            require(not reader.left() and head.dictionary is not None, "no dictionary")
            reader = Reader(head.dictionary)
        self.read_codebook(reader, int(self.params["dim"]) or head.columns, form)

    def read_codebook(self, reader, dim, form):
        self.dim, streams = reader.varint(), reader.number(1)
        most = self.most()
        require(self.dim == dim and streams == len(most), "codebook of another shape")
        self.streams = []
        for limit in most:
            size, coded = reader.varint(), reader.number(1)
            require(1 <= size <= limit and coded <= 1, "codebook numbers")
            self.streams.append(Stream(size, coded))
        count = self.word_count([stream.size for stream in self.streams])
        words = np.frombuffer(reader.take(2 * count * dim), "<u2").astype(np.uint32) << 16
        self.words = words.view(np.float32).reshape(count, dim)
        require(np.isfinite(self.words).all(), "a word is not finite")
        for stream in self.streams:
            if stream.coded:
                stream.model = Model(reader)
                require(stream.model.alphabet == (stream.size - 1 >> stream.low) + 1 and stream.model.contexts == 1,
                        "model of another shape")
        require(not any(reader.take(reader.left())) if form == 0 else not reader.left(), "bytes behind the codebook")

    def read_codes(self, reader, count):
        form, centre = reader.numbers("BH")
        mantissa, rice = form >> 4, form & 15
        require(1 <= mantissa <= 7, "mantissa bits")
        side = Bits(reader.take(reader.varint()))
        codes = np.array([centre + unzigzag(read_rice(side, rice)) for _ in range(count)], np.int64)
        scaled = (codes >= 1 << mantissa) & (codes < 255 << mantissa)
        side.end()
        require(np.all(scaled | (codes == ZERO) | (codes == RAW)), "scale codes")
        scales = (np.where(scaled, codes, 0).astype(np.uint32) << np.uint32(23 - mantissa)).view(np.float32)
        return codes, np.where(scaled, scales, np.float32(0)).astype(np.float32)

    def decode(self, tile, data):
        reader = Reader(data)
        group = self.group or tile.columns
        widths = [min(group, tile.columns - at) for at in range(0, tile.columns, group)]
        codes, scales = self.read_codes(reader, tile.rows * len(widths))
        raw = {}
        for i in np.flatnonzero(codes == RAW):
            raw[i] = np.frombuffer(reader.take(4 * widths[i % len(widths)]), "<f4")
        vectors = -(-tile.columns // self.dim)
        indices = [stream.indices(reader, tile.rows * vectors) for stream in self.streams]
        require(not reader.left(), "bytes behind the tile")
        values = self.value(indices).reshape(tile.rows, vectors * self.dim)[:, :tile.columns]
        with np.errstate(over="ignore"):
            out = values * np.repeat(scales.reshape(tile.rows, len(widths)), widths, axis=1)
        out[np.repeat((codes == ZERO).reshape(tile.rows, len(widths)), widths, axis=1)] = 0
        for i, row in raw.items():
            at = i % len(widths) * group
            out[i // len(widths), at:at + len(row)] = row
        if self.rotated:
            for r in range(tile.rows):
                if not (codes[r * len(widths):(r + 1) * len(widths)] == RAW).any():
                    out[r] = hadamard.inverse(out[r], self.seed)
        return out.astype(np.float32).reshape(-1)
