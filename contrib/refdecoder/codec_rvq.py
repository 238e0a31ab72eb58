# SPDX-License-Identifier: Apache-2.0
"""org.tessera.rvq, bitstream 1 (plugins/rvq/README.md)."""
from vq import VectorDecoder, numbers

ID, VERSIONS, GIVES = "org.tessera.rvq", (1,), "f32"


class Decoder(VectorDecoder):
    def most(self):
        return numbers(self.params["ladder"])

    def word_count(self, sizes):
        return sum(sizes)

    def value(self, indices):
        total, at = None, 0
        for stream, own in zip(self.streams, indices):
            words = self.words[at + own]
            total = words if total is None else total + words
            at += stream.size
        return total
