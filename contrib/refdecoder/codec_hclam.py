# SPDX-License-Identifier: Apache-2.0
"""org.tessera.hclam, bitstream 1 (plugins/hclam/README.md)."""
from vq import VectorDecoder, numbers

ID, VERSIONS, GIVES = "org.tessera.hclam", (1,), "f32"


class Decoder(VectorDecoder):
    def most(self):
        return numbers(self.params["tree"])

    def word_count(self, sizes):
        return sizes[0] * sizes[1]

    def value(self, indices):
        cell, leaf = indices
        return self.words[cell * self.streams[1].size + leaf]
