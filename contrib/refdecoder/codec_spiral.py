# SPDX-License-Identifier: Apache-2.0
"""org.tessera.spiral, bitstream 1 (plugins/spiral/README.md)."""
import math

import numpy as np

import hadamard
from codec_scalar import INDEX_MAX, RAW
from errors import require
from rans import Model, decode_split, unpack_bits
from reader import Bits, Reader, read_rice, unzigzag
from series import log2

ID, VERSIONS, GIVES = "org.tessera.spiral", (1,), "f32"
GOLDEN_TURN = 0x61C8864680B583EB
ESCAPE_UNIT = np.float32(float.fromhex("0x1.c5bf8ap+0"))


def cosine_sine(turn):
    quarter = (turn + (1 << 61)) >> 62
    angle = float(turn - (quarter << 62)) * 2.0 ** -62 * 1.5707963267948966
    square, s, c = angle * angle, 1.0, 1.0
    for k in range(16, 0, -2):
        s = 1 - s * square / (k * (k + 1))
        c = 1 - c * square / (k * (k - 1))
    s *= angle
    return [(c, s), (-s, c), (-c, -s), (s, -c)][quarter % 4]


def curve(count, companded, delta):
    """[count][2], F32: the points of the curve in steps."""
    points, count_log = [], log2(float(count))
    for n in range(count):
        square = n + delta / 16
        if companded:
            square = 2 * 0.6931471805599453 * (count_log - log2((count - n) - 0.5))
        radius = math.sqrt(square)
        cosine, sine = cosine_sine(n * GOLDEN_TURN & (1 << 64) - 1)
        points.append((radius * cosine, radius * sine))
    return np.array(points, np.float64).astype(np.float32)


def walk(stride, columns):
    hop = stride % columns
    if hop == 0 or math.gcd(hop, columns) != 1:
        hop = 1
    return np.arange(columns, dtype=np.int64) * hop % columns


class Decoder:
    def __init__(self, head):
        reader = Reader(head.codec_header)
        kind, flags = reader.numbers("BB")
        require(kind <= 1 and flags <= 3, "curve or flags")
        self.companded, self.packed = kind == 1, bool(flags & 2)
        self.seed = reader.number(8) if flags & 1 else None
        self.mantissa_bits = reader.number(1)
        self.stride, self.alphabet = reader.varint(), reader.varint()
        require(1 <= self.mantissa_bits <= 7 and self.stride >= 1 and 2 <= self.alphabet <= 4096, "header numbers")
        self.low_bits, self.classes, delta = 0, 1, 0
        if self.companded:
            require(self.alphabet >= 4, "header numbers")
            self.points = [curve(self.alphabet, True, 0)]
        else:
            delta, self.low_bits, self.classes = reader.numbers("BBB")
            require(not self.packed and self.low_bits <= 12 and 1 <= self.classes <= 16 and
                    self.alphabet - 1 << self.low_bits <= 65535, "header numbers")
            base = curve(self.alphabet - 1 << self.low_bits, False, delta)
            self.points = [self.moved(base, reader) for _ in range(self.classes)]
        self.model = None if self.packed else Model(reader)
        require(not reader.left(), "bytes behind the header")
        if self.model:
            require(self.model.alphabet == self.alphabet and self.model.contexts == self.classes, "model of another shape")

    @staticmethod
    def moved(base, reader):
        count = reader.number(1)
        require(count <= 64, "offsets")
        offsets = np.frombuffer(reader.take(2 * count), np.int8).reshape(count, 2).astype(np.float32) / np.float32(64)
        factor = np.float32(512 - reader.number(1)) / np.float32(512)
        points, used = base * factor, min(count, len(base))
        points[:used] = base[:used] + offsets[:used]
        return points

    def step(self, code):
        require(1 << self.mantissa_bits <= code < 255 << self.mantissa_bits, "step code out of range")
        return np.array([code << 23 - self.mantissa_bits], np.uint32).view(np.float32)[0]

    def tickets(self, stream, count, contexts):
        if count == 0:
            require(not stream, "tickets for no row")
            return np.zeros(0, np.uint16)
        if not self.packed:
            return decode_split(self.model, stream, count, self.low_bits, 16 - self.low_bits, contexts)
        tickets = unpack_bits(stream, count, (self.alphabet - 1).bit_length())
        require(int(tickets.max()) < self.alphabet, "ticket without a point")
        return tickets

    def decode(self, tile, data):
        reader = Reader(data)
        centre, rice = reader.numbers("HB")
        class_rice = reader.number(1) if self.classes > 1 else 0
        side_bytes, stream_bytes = reader.varint(), reader.varint()
        require(rice <= 15 and class_rice <= 15, "Rice parameter")
        side, stream = Bits(reader.take(side_bytes)), reader.take(stream_bytes)
        rows, pairs = [], (tile.columns + 1) // 2
        for _ in range(tile.rows):
            code = centre + unzigzag(read_rice(side, rice))
            require(0 <= code < 1 << 16, "step code out of range")
            kind = read_rice(side, class_rice) if code > RAW and self.classes > 1 else 0
            require(kind < self.classes, "class out of range")
            rows.append((code, kind))
        side.end()
        kinds = np.array([kind for code, kind in rows if code > RAW], np.uint8)
        tickets = self.tickets(stream, len(kinds) * pairs, np.repeat(kinds, pairs))
        return self.reconstruct(tile, rows, tickets.reshape(len(kinds), pairs), reader)

    def reconstruct(self, tile, rows, tickets, reader):
        out, at, order = np.zeros((tile.rows, tile.columns), np.float32), 0, walk(self.stride, max(tile.columns, 1))
        for r, (code, kind) in enumerate(rows):
            if code <= RAW:
                continue
            points, own, step = self.points[kind], tickets[at].astype(np.int64), self.step(code)
            at += 1
            values = points[np.minimum(own, len(points) - 1)] * step
            for i in np.flatnonzero(own >= len(points)):
                indices = unzigzag(reader.varint()), unzigzag(reader.varint())
                require(max(map(abs, indices)) <= INDEX_MAX, "escape out of range")
                values[i] = np.array(indices, np.float32) * (step * ESCAPE_UNIT)
            out[r, order] = values.reshape(-1)[:tile.columns]
            if self.seed is not None:
                out[r] = hadamard.inverse(out[r], self.seed)
        for r, (code, _) in enumerate(rows):
            if code == RAW:
                out[r] = np.frombuffer(reader.take(4 * tile.columns), "<f4")
        require(not reader.left(), "bytes behind the tile")
        return out.reshape(-1)
