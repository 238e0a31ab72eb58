# SPDX-License-Identifier: Apache-2.0
"""org.tessera.hhtld-block, bitstream 1 (plugins/hhtld/README.md, Block mode)."""
import numpy as np

from errors import require
from reader import Reader

ID, VERSIONS, GIVES = "org.tessera.hhtld-block", (1,), "f32"
OCTAVE, NODES_MAX, LEAVES_MAX, BF16_INF = 17, 64, 256, 0x7F80


class Decoder:
    def __init__(self, head):
        reader = Reader(head.codec_header)
        nodes, zero = reader.numbers("BB")
        require(1 <= nodes <= NODES_MAX and zero == 0, "header numbers")
        self.leaves = np.array(reader.numbers("H" * nodes), np.int64)
        require(self.leaves.min() >= 1 and self.leaves.max() <= LEAVES_MAX, "leaves of a node")
        self.first = np.cumsum(self.leaves) - self.leaves
        count = int(self.leaves.sum())
        codes = np.frombuffer(reader.take(OCTAVE * count), np.int8).reshape(count, OCTAVE)
        require(not reader.left(), "bytes behind the header")
        require(codes.any(axis=1).all(), "a leaf without a direction")
        self.codes = codes.astype(np.float64)
        self.lengths = np.sqrt((self.codes * self.codes).sum(axis=1))

    def decode(self, tile, data):
        octaves = -(-tile.columns // OCTAVE)
        require(len(data) == 4 * tile.rows * octaves, "tile of another size")
        slots, gains = np.frombuffer(data, "<u2").reshape(-1, 2).astype(np.int64).T
        require(not (slots & 1).any() and (gains < BF16_INF).all(), "entry numbers")
        nodes, leaves = slots >> 10, slots >> 2 & 255
        require((nodes < len(self.leaves)).all() and (leaves < self.leaves[nodes]).all(), "an address outside the tree")
        at = self.first[nodes] + leaves
        values = (gains.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
        scales = np.where(slots & 2, -1.0, 1.0) * (values / self.lengths[at])
        out = (scales[:, None] * self.codes[at]).astype(np.float32)
        return out.reshape(tile.rows, octaves * OCTAVE)[:, :tile.columns].reshape(-1)
