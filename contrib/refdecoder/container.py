# SPDX-License-Identifier: Apache-2.0
"""Container files, blobs and payloads, docs/format.md sections 2 to 4."""
import importlib
import json
import mmap
import os
import re
import shutil
import struct
import subprocess

from errors import Damaged, Unsupported, require
from reader import Reader
from xxh3 import digest

# The format of a file, and what its payloads and blobs say.
VERSIONS = {"0.1": 1, "0.2": 2, **{"1.%d" % minor: 256 + minor for minor in range(256)}}
HEADER_START = b'{"__metadata__":{"tessera.header_digest":"'
DTYPES = ("?", "F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "I64", "I32", "I16", "I8", "U64", "U32",
          "U16", "U8", "BOOL", "C64")
BYTES = dict(zip(DTYPES, (1, 8, 4, 2, 2, 1, 1, 1, 1, 8, 4, 2, 1, 8, 4, 2, 1, 1, 8)))
OPAQUE, F4 = 0, 8
HERE = os.path.dirname(os.path.abspath(__file__))
CODECS = {codec.ID: codec for codec in (importlib.import_module(name[:-3]) for name in sorted(os.listdir(HERE))
                                        if name.startswith("codec_") and name.endswith(".py"))}


def no_duplicates(pairs):
    require(len({name for name, _ in pairs}) == len(pairs), "a key stands twice")
    return dict(pairs)


def parse_json(text):
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=no_duplicates)
    except ValueError as error:
        raise Damaged("JSON: %s" % error) from None


class File:
    """One container file: tensors by name, checked against the header's digest."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        require(len(self.data) >= 8, "header: fewer than 8 bytes")
        length = int.from_bytes(self.data[:8], "little")
        require(length <= 100000000 and length <= len(self.data) - 8, "header: length")
        self.check_header(bytearray(self.data[:8 + length]))
        header = parse_json(self.data[8:8 + length])
        metadata = header.pop("__metadata__")
        if metadata.get("tessera.format") not in VERSIONS:
            raise Unsupported("format %s, this decoder reads 1.x, 0.2 and 0.1" % metadata.get("tessera.format"))
        self.version = VERSIONS[metadata["tessera.format"]]
        self.tensors, end = {}, 8 + length
        for name, tensor in header.items():
            begin, stop = (8 + length + offset for offset in tensor["data_offsets"])
            require(tensor["dtype"] == "U8" and tensor["shape"] == [stop - begin], "header: tensor %r" % name)
            require(begin == end and begin <= stop <= len(self.data), "header: place of tensor %r" % name)
            self.tensors[name], end = (begin, stop), stop
        require(end == len(self.data), "header: bytes behind the last tensor")

    @staticmethod
    def check_header(header):
        at = 8 + len(HEADER_START)
        require(header[8:at] == HEADER_START, "header: does not begin with its checksum")
        stored = bytes(header[at:at + 32])
        require(re.fullmatch(b"[0-9a-f]{32}", stored), "header: checksum is not 32 digits")
        header[at:at + 32] = b"0" * 32
        require(digest(header).hex().encode() == stored, "header: checksum")

    def tensor(self, name):
        begin, stop = self.tensors[name]
        return self.data[begin:stop]

    def blob(self, name):
        data = self.tensor(name)
        require(len(data) >= 32 and digest(data[:-16]) == data[-16:], "blob: checksum")
        magic, version, zero, size = struct.unpack("<4sHHQ", data[:16])
        require((magic, version, zero) == (b"TSRB", self.version, 0), "blob: does not begin with TSRB")
        require(size // (1 << 15) <= len(data) - 32, "blob: claims too much")
        raw = zstd_decompress(data[16:-16], size)
        require(len(raw) == size, "blob: size")
        return raw


def zstd_decompress(frame, size):
    """Neither the standard library (before 3.14) nor numpy can: `zstandard` if it is there, else the zstd command."""
    try:
        import zstandard
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=size)
    except ImportError:
        pass
    if not shutil.which("zstd"):
        raise SystemExit("refdecoder: needs the Python package zstandard or the zstd command")
    done = subprocess.run(["zstd", "-dc", "--memory=512MB"], input=frame, capture_output=True)
    require(done.returncode == 0, "blob: zstd frame")
    return done.stdout


class Tile:
    def __init__(self, head, index):
        pieces = -(-head.columns // head.tile_columns)
        self.element_bytes = BYTES[head.dtype_name] if head.dtype != OPAQUE else 1
        self.row, self.column = index // pieces * head.tile_rows, index % pieces * head.tile_columns
        self.rows = min(head.tile_rows, head.rows - self.row)
        self.columns = min(head.tile_columns, head.columns - self.column)
        self.elements = self.rows * self.columns


class Payload:
    FIXED = "4sHBBBBBBIIIQQIII"

    def __init__(self, data, version):
        self.data = data
        require(len(data) >= 52 + 16, "payload: too short")
        (magic, stored_version, self.dtype, rank, flags, name_size, id_size, zero, params_size, header_size, self.bitstream,
         self.rows, self.columns, self.tile_rows, self.tile_columns, tiles) = struct.unpack("<" + self.FIXED, data[:52])
        require(magic == b"TSRP" and stored_version == version, "payload: does not begin with TSRP")
        prefix = 52 + 8 * rank + name_size + id_size + params_size + header_size + 8 * (flags & 2) + 20 * tiles + 16
        prefix += self.columns if flags & 4 else 0
        require(prefix <= len(data), "payload: directory does not fit")
        require(digest(data[:prefix - 16]) == data[prefix - 16:prefix], "payload: checksum of head or directory")
        require(self.dtype < len(DTYPES) and rank <= 8 and flags <= 7 and zero == 0, "payload: unknown dtype, rank or flag")
        require((self.dtype == OPAQUE) == (name_size != 0) and header_size <= 1 << 24, "payload: dtype name or header size")
        self.transposed = bool(flags & 1)
        reader = Reader(data[52:prefix - 16])
        self.shape = reader.numbers("%dQ" % rank)
        self.dtype_name, self.codec_id, self.params = (self.text(reader, n) for n in (name_size, id_size, params_size))
        self.dtype_name = self.dtype_name or DTYPES[self.dtype]
        self.codec_header = reader.take(header_size)
        self.dictionary_digest = reader.take(16) if flags & 2 else None
        self.dictionary = None
        self.column_scale = reader.numbers("%db" % self.columns) if flags & 4 else None
        self.directory = [reader.numbers("I16s") for _ in range(tiles)]
        self.tiles_at = prefix
        self.check_shape()
        self.check_grid(tiles)
        self.check_scales()
        self.check_lengths()

    @staticmethod
    def text(reader, size):
        try:
            text = reader.take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise Damaged("payload: text") from None
        require("\0" not in text, "payload: NUL in a text")
        return text

    def check_shape(self):
        elements = 1
        for extent in self.shape:
            elements *= extent
        view = self.rows * self.columns
        if self.dtype in (OPAQUE, F4):
            require(self.rows == 1 and not self.transposed, "payload: view of bytes is not one row")
            require(self.dtype == OPAQUE or elements == 2 * view, "payload: view and shape")
        else:
            require(elements == view, "payload: view and shape")
        if self.transposed:
            require(len(self.shape) >= 2 and self.shape[-2] == self.columns, "payload: transposed view")

    def check_grid(self, tiles):
        grid = (self.tile_rows, self.tile_columns)
        if self.rows == 0 or self.columns == 0:
            require(grid == (0, 0) and tiles == 0, "payload: tiles of nothing")
            return
        require(1 <= grid[0] <= self.rows and 1 <= grid[1] <= self.columns and grid[0] * grid[1] <= 1 << 22 and
                (grid[1] == self.columns or grid[0] == 1), "payload: tile shape")
        require(tiles == -(-self.rows // grid[0]) * -(-self.columns // grid[1]), "payload: number of tiles")

    def check_scales(self):
        if self.column_scale is not None:
            require(self.dtype_name in ("F32", "F16", "BF16") and 1 <= self.columns == self.tile_columns <= 1 << 22 and
                    all(-64 <= code <= 64 for code in self.column_scale), "payload: scales of columns")

    def check_lengths(self):
        end = self.tiles_at
        for i, (length, _) in enumerate(self.directory):
            tile = Tile(self, i)
            if length >> 31:
                require(length & 0x7FFFFFFF == tile.elements * tile.element_bytes, "payload: size of raw tile %d" % i)
            end += length & 0x7FFFFFFF
        require(end == len(self.data), "payload: tiles do not fill it")

    def stored_tiles(self):
        """Each tile as it is stored, and whether it is raw."""
        at = self.tiles_at
        for i, (length, wanted) in enumerate(self.directory):
            stored = self.data[at:at + (length & 0x7FFFFFFF)]
            at += len(stored)
            require(digest(stored) == wanted, "tile %d: checksum" % i)
            yield Tile(self, i), stored, bool(length >> 31)

    def tiles(self):
        """Each tile with its bytes in the source dtype and matrix order."""
        decoder = None
        for i, (tile, stored, raw) in enumerate(self.stored_tiles()):
            if not raw:
                decoder = decoder or self.make_decoder()
                stored = self.to_source(self.scaled(decoder.decode(tile, stored)))
            require(len(stored) == tile.elements * tile.element_bytes, "tile %d: size" % i)
            yield tile, stored

    def scaled(self, values):
        """F32 values of a tile times the scales of their columns (section 3.1)."""
        if self.column_scale is None:
            return values
        import numpy as np
        quarters = [float.fromhex(text) for text in ("0x1p0", "0x1.306fep0", "0x1.6a09e6p0", "0x1.ae89fap0")]
        factors = np.array([quarters[code % 4] * 2.0 ** (code // 4) for code in self.column_scale], "<f4")
        return (np.asarray(values, "<f4").reshape(-1, self.columns) * factors).reshape(-1)

    def corrected(self, base, tiles):
        """The tiles of a payload before this one in a stack, corrected by this one (docs/format.md section 3.3)."""
        require(not self.transposed and (self.rows, self.columns, self.tile_rows, self.tile_columns) ==
                (base.rows, base.columns, base.tile_rows, base.tile_columns), "payload: does not fit the one it corrects")
        decoder = None
        for (tile, before), (own, stored, raw) in zip(tiles, self.stored_tiles()):
            codec = CODECS.get(self.codec_id)
            if codec is not None and getattr(codec, "PREDICTED", False):
                require(self.dtype == base.dtype, "payload: corrects another dtype")
                decoder = decoder or self.make_decoder()
                yield tile, stored if raw else decoder.decode_given(own, stored, before)
            else:
                require(self.dtype_name == "F32", "payload: differences are not F32")
                import numpy as np
                if not raw:
                    decoder = decoder or self.make_decoder()
                values = np.frombuffer(stored, "<f4") if raw else decoder.decode(own, stored)
                yield tile, add(before, values, base.dtype_name)

    def make_decoder(self):
        codec = CODECS.get(self.codec_id)
        if codec is None or self.bitstream not in codec.VERSIONS:
            raise Unsupported("codec %s, bitstream %d" % (self.codec_id, self.bitstream))
        return codec.Decoder(self)

    def to_source(self, decoded):
        if CODECS[self.codec_id].GIVES == "source":
            return decoded
        return from_f32(decoded, self.dtype_name)


def to_f32(data, dtype):
    import numpy as np
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.frombuffer(data, {"F16": "<f2", "F32": "<f4"}[dtype]).astype(np.float32)


def add(before, values, dtype):
    """before + values, rounded; what is not finite stays."""
    import numpy as np
    total = to_f32(before, dtype) + values.astype(np.float32)
    size = BYTES[dtype]
    result, after = bytearray(before), from_f32(total, dtype)
    for i in np.flatnonzero(np.isfinite(total)):
        result[i * size:i * size + size] = after[i * size:i * size + size]
    return bytes(result)


def from_f32(x, dtype):
    """Rounds to nearest, ties to even; finite values beyond the largest finite one give that one."""
    import numpy as np
    x = x.astype(np.float32)
    if dtype == "F32":
        return x.tobytes()
    require(dtype in ("F16", "BF16"), "payload: F32 values for dtype %s" % dtype)
    if dtype == "F16":
        return np.where(np.isfinite(x), np.clip(x, -65504, 65504), x).astype("<f2").tobytes()
    bits = x.view(np.uint32)
    size, sign = bits & np.uint32(0x7FFFFFFF), bits >> np.uint32(31) << np.uint32(15)
    rounded = np.minimum(size + np.uint32(0x7FFF) + (size >> np.uint32(16) & np.uint32(1)) >> np.uint32(16), 0x7F7F)
    special = size >> np.uint32(16) | np.where(size > 0x7F800000, np.uint32(0x40), np.uint32(0))
    return (np.where(size < 0x7F800000, rounded, special) | sign).astype("<u2").tobytes()
