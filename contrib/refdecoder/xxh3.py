# SPDX-License-Identifier: Apache-2.0
"""XXH3 with 128 bits and seed 0 (Collet; specified in xxhash's doc/xxhash_spec.md), long inputs with numpy.

digest(data) gives the 16 bytes of the canonical form."""
import numpy as np

MASK = (1 << 64) - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
STRIPE, BLOCK = 64, 1024


def read32(data, at):
    return int.from_bytes(data[at:at + 4], "little")


def read64(data, at):
    return int.from_bytes(data[at:at + 8], "little")


def fold(a, b):
    product = a * b
    return (product & MASK) ^ (product >> 64)


def avalanche(h):
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & MASK
    return h ^ h >> 32


def avalanche64(h):
    h ^= h >> 33
    h = h * P64_2 & MASK
    h ^= h >> 29
    h = h * P64_3 & MASK
    return h ^ h >> 32


def swap(value, size):
    return int.from_bytes(value.to_bytes(size, "little"), "big")


def up_to_3(data):
    size = len(data)
    low = data[0] << 16 | data[size >> 1] << 24 | data[-1] | size << 8
    high = swap(low, 4)
    high = (high << 13 | high >> 19) & 0xFFFFFFFF
    return (avalanche64(low ^ read32(SECRET, 0) ^ read32(SECRET, 4)),
            avalanche64(high ^ read32(SECRET, 8) ^ read32(SECRET, 12)))


def up_to_8(data):
    size = len(data)
    keyed = (read32(data, 0) + (read32(data, size - 4) << 32)) ^ read64(SECRET, 16) ^ read64(SECRET, 24)
    product = keyed * (P64_1 + (size << 2) & MASK)
    low, high = product & MASK, product >> 64
    high = high + (low << 1) & MASK
    low ^= high >> 3
    low ^= low >> 35
    low = low * 0x9FB21C651E98DF25 & MASK
    return low ^ low >> 28, avalanche(high)


def up_to_16(data):
    size = len(data)
    first, last = read64(data, 0), read64(data, size - 8)
    product = (first ^ last ^ read64(SECRET, 32) ^ read64(SECRET, 40)) * P64_1
    low, high = product & MASK, product >> 64
    low = low + ((size - 1) << 54) & MASK
    last ^= read64(SECRET, 48) ^ read64(SECRET, 56)
    high = high + last + (last & 0xFFFFFFFF) * (P32_2 - 1) & MASK
    low ^= swap(high, 8)
    product = low * P64_2
    return avalanche(product & MASK), avalanche((product >> 64) + high * P64_2 & MASK)


def mix16(data, at, secret):
    return fold(read64(data, at) ^ read64(SECRET, secret), read64(data, at + 8) ^ read64(SECRET, secret + 8))


def mix32(acc, data, a, b, secret):
    low, high = acc
    low = (low + mix16(data, a, secret) & MASK) ^ (read64(data, b) + read64(data, b + 8) & MASK)
    high = (high + mix16(data, b, secret + 16) & MASK) ^ (read64(data, a) + read64(data, a + 8) & MASK)
    return low, high


def up_to_240(data):
    size = len(data)
    acc = (size * P64_1 & MASK, 0)
    if size <= 128:
        for i in range((size - 1) // 32, -1, -1):
            acc = mix32(acc, data, 16 * i, size - 16 * (i + 1), 32 * i)
    else:
        for i in range(4):
            acc = mix32(acc, data, 32 * i, 32 * i + 16, 32 * i)
        acc = avalanche(acc[0]), avalanche(acc[1])
        for i in range(4, size // 32):
            acc = mix32(acc, data, 32 * i, 32 * i + 16, 3 + 32 * (i - 4))
        acc = mix32(acc, data, size - 16, size - 32, 136 - 17 - 16)
    low = acc[0] + acc[1] & MASK
    high = acc[0] * P64_1 + acc[1] * P64_4 + size * P64_2 & MASK
    return avalanche(low), -avalanche(high) & MASK


def stripe_sums(stripes, keys):
    """What stripes [n][8] with their keys add to the eight accumulators, one row for each stripe."""
    keyed = stripes ^ keys
    return (keyed & np.uint64(0xFFFFFFFF)) * (keyed >> np.uint64(32)) + stripes[..., [1, 0, 3, 2, 5, 4, 7, 6]]


def keys_at(offset):
    return np.frombuffer(SECRET, "<u8", 8, offset) if offset % 8 == 0 else \
        np.frombuffer(SECRET[offset:offset + 64], "<u8")


def merge(acc, secret, start):
    for i in range(4):
        start += fold(acc[2 * i] ^ read64(SECRET, secret + 16 * i), acc[2 * i + 1] ^ read64(SECRET, secret + 16 * i + 8))
    return avalanche(start & MASK)


def long_input(data):
    size = len(data)
    acc = np.array([P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1], np.uint64)
    keys = np.stack([keys_at(8 * i) for i in range(16)])
    scramble = keys_at(192 - 64)
    blocks = (size - 1) // BLOCK
    for first in range(0, blocks, 1024):
        count = min(1024, blocks - first)
        part = np.frombuffer(data, "<u8", count * BLOCK // 8, first * BLOCK).reshape(count, 16, 8)
        for sums in stripe_sums(part, keys).sum(axis=1, dtype=np.uint64):
            acc = acc + sums
            acc = (acc ^ acc >> np.uint64(47) ^ scramble) * np.uint64(P32_1)
    rest = (size - 1 - blocks * BLOCK) // STRIPE
    if rest:
        part = np.frombuffer(data, "<u8", rest * 8, blocks * BLOCK).reshape(rest, 8)
        acc = acc + stripe_sums(part, keys[:rest]).sum(axis=0, dtype=np.uint64)
    last = np.frombuffer(data, "<u8", 8, size - STRIPE)
    acc = acc + stripe_sums(last, keys_at(192 - 64 - 7))
    acc = [int(a) for a in acc]
    return merge(acc, 11, size * P64_1 & MASK), merge(acc, 192 - 64 - 11, ~(size * P64_2) & MASK)


def digest(data):
    data = bytes(data)
    size = len(data)
    if size == 0:
        low, high = (avalanche64(read64(SECRET, at) ^ read64(SECRET, at + 8)) for at in (64, 80))
    elif size <= 3:
        low, high = up_to_3(data)
    elif size <= 8:
        low, high = up_to_8(data)
    elif size <= 16:
        low, high = up_to_16(data)
    elif size <= 240:
        low, high = up_to_240(data)
    else:
        low, high = long_input(data)
    return high.to_bytes(8, "big") + low.to_bytes(8, "big")
