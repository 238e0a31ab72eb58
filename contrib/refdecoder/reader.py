# SPDX-License-Identifier: Apache-2.0
"""A byte string that is read from front to back, and a bit string on top of it. Reading past the end is damage."""
import struct

from errors import Damaged, require


class Reader:
    def __init__(self, data):
        self.data, self.at = memoryview(data), 0

    def left(self):
        return len(self.data) - self.at

    def take(self, size):
        require(size <= self.left(), "cut short")
        self.at += size
        return bytes(self.data[self.at - size:self.at])

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def numbers(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def varint(self):
        """LEB128 of at most five bytes, below 2^32."""
        value = 0
        for i in range(5):
            byte = self.number(1)
            value |= (byte & 127) << 7 * i
            if byte < 128:
                require(value < 1 << 32, "varint above 32 bits")
                return value
        raise Damaged("varint of more than five bytes")


class Bits:
    """Bits of each byte, least significant first."""

    def __init__(self, data):
        self.bits = int.from_bytes(data, "little")
        self.size, self.at = 8 * len(data), 0

    def get(self, count):
        require(count <= self.size - self.at, "bits cut short")
        value = self.bits >> self.at & (1 << count) - 1
        self.at += count
        return value

    def align(self):
        """To the next byte, past zeros."""
        require(self.get(-self.at % 8) == 0, "padding that is not zero")

    def end(self):
        self.align()
        require(self.at == self.size, "bits left over")


def unzigzag(value):
    return -(value // 2) - 1 if value & 1 else value // 2


def read_rice(bits, parameter):
    prefix = 0
    while prefix < 12 and bits.get(1):
        prefix += 1
    return bits.get(16) if prefix == 12 else prefix << parameter | bits.get(parameter)
