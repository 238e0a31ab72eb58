#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second decoder of compressed checkpoints, written from docs/format.md and the READMEs of the codecs, for reading.

    refdecoder.py OUT DEST             gives back every source file of the compressed checkpoint OUT in the folder DEST
    refdecoder.py --compare OUT DIR    decodes in memory and compares with the files in DIR, byte for byte
    refdecoder.py --digest OUT         prints the digest and name of every file that it would give back

Exit codes: 0 done, 1 wrong usage, 2 damaged or unsupported input (one line says what), 3 a file differs."""
import json
import os
import sys

import numpy as np

from container import VERSIONS, File, Payload, parse_json
from errors import Damaged, Unsupported, require
from xxh3 import digest


def container_files(out):
    """(folder with its slash, path) of the container files, by the rules of docs/format.md section 1."""
    if os.path.isfile(out):
        return [("", out)]
    found = []
    for folder, below, names in sorted(os.walk(out)):
        below[:] = [name for name in below if not name.startswith(".")]
        prefix = os.path.relpath(folder, out) + "/" if folder != out else ""
        indexes = [name for name in names if name.endswith(".safetensors.index.json")]
        tensors = [name for name in names if name.endswith(".safetensors")]
        if indexes:
            index = "model.safetensors.index.json" if "model.safetensors.index.json" in indexes else indexes[0]
            with open(os.path.join(folder, index), encoding="utf-8") as file:
                shards = sorted(set(json.load(file)["weight_map"].values()))
        elif "model.safetensors" in tensors:
            shards = ["model.safetensors"]
        else:
            shards = tensors if len(tensors) == 1 and not prefix else []
        found += [(prefix, os.path.join(folder, shard)) for shard in shards]
    require(found, "%s: no container files" % out)
    return found


def matrix_to_source(payload, matrix, element_bytes):
    """Bytes in matrix order to bytes in source order: blocks [K][M] for a transposed view, else the same."""
    if not payload.transposed or not matrix:
        return matrix
    elements = np.frombuffer(matrix, np.uint8).reshape(-1, payload.shape[-1], payload.columns, element_bytes)
    return np.ascontiguousarray(elements.transpose(0, 2, 1, 3)).tobytes()


def decode_stack(payloads):
    """The tensor of a payload and of those that correct it."""
    base, element_bytes, pieces = payloads[0], 1, []
    tiles = base.tiles()
    for payload in payloads[1:]:
        tiles = payload.corrected(base, tiles)
    for tile, piece in tiles:
        element_bytes = tile.element_bytes
        pieces.append(piece)
    return matrix_to_source(base, b"".join(pieces), element_bytes)


class Checkpoint:
    def __init__(self, out):
        self.out, self.places, self.blobs, self.dictionaries = out, {}, None, {}
        for prefix, path in container_files(out):
            try:
                file = File(path)
            except Damaged as error:
                raise Damaged("%s: %s" % (os.path.basename(path), error)) from None
            for name in file.tensors:
                if name == "tessera.manifest":
                    self.blobs = file
                require(name.startswith("tessera.") or prefix + name not in self.places, "%s: stands twice" % name)
                self.places[prefix + name] = (file, name)
                if name.startswith("tessera.dictionary/"):
                    self.add_dictionary(file, name)
        require(self.blobs is not None, "tessera.manifest: is not there")
        self.manifest = parse_json(self.blob("tessera.manifest"))
        require(self.manifest["tessera"] in VERSIONS, "tessera.manifest: version")

    def blob(self, name):
        require(name in self.blobs.tensors, "%s: is not there" % name)
        try:
            return self.blobs.blob(name)
        except Damaged as error:
            raise Damaged("%s: %s" % (name, error)) from None

    def add_dictionary(self, file, name):
        data = file.blob(name)
        require(digest(data).hex() == name.split("/")[1], "%s: holds another dictionary" % name)
        self.dictionaries[digest(data)] = data

    def payload(self, full_name):
        require(full_name in self.places, "%s: has no payload" % full_name)
        file, name = self.places[full_name]
        payload = Payload(file.tensor(name), file.version)
        if payload.dictionary_digest is not None:
            require(payload.dictionary_digest in self.dictionaries, "its dictionary is not there")
            payload.dictionary = self.dictionaries[payload.dictionary_digest]
        return payload

    def tensor(self, prefix, name, stages):
        try:
            names = [prefix + name] + [prefix + "tessera.stage.%d/%s" % (i, name) for i in range(1, stages)]
            return decode_stack([self.payload(full_name) for full_name in names])
        except Damaged as error:
            raise Damaged("%s: %s" % (prefix + name, error)) from None

    def owner(self, full_name):
        """(prefix, tensor) of the manifest with that full name."""
        for source in self.manifest["sources"]:
            for tensor in source["tensors"]:
                if source["prefix"] + tensor["name"] == full_name:
                    return source["prefix"], tensor
        raise Damaged("%s: an alias leads nowhere" % full_name)

    def source(self, source):
        """One safetensors file of the source."""
        parts, exact = [self.blob("tessera.header/" + source["name"])], True
        require(len(parts[0]) == source["header_bytes"], "%s: header size" % source["name"])
        for tensor in source["tensors"]:
            prefix, owner = self.owner(tensor["alias_of"]) if tensor["alias_of"] else (source["prefix"], tensor)
            data = self.tensor(prefix, owner["name"], owner.get("stages", 1))
            require(len(data) == tensor["bytes"], "%s: size" % tensor["name"])
            if tensor["exact"]:
                require(digest(data).hex() == tensor["digest"], "%s: differs from the source" % tensor["name"])
            exact = exact and tensor["exact"]
            parts.append(data)
        whole = b"".join(parts)
        require(len(whole) == source["bytes"], "%s: size" % source["name"])
        require(not exact or digest(whole).hex() == source["digest"], "%s: differs from the source" % source["name"])
        return whole

    def extra(self, extra):
        if extra["kept"] == "blob":
            data = self.blob("tessera.file/" + extra["name"])
        else:
            with open(os.path.join(self.out, extra["name"]), "rb") as file:
                data = file.read()
        require(digest(data).hex() == extra["digest"], "%s: differs from the source" % extra["name"])
        return data

    def files(self):
        """(name, bytes) of every file of the source that can be given back."""
        for source in self.manifest["sources"]:
            yield source["name"], self.source(source)
        for extra in self.manifest["extras"]:
            if extra["kept"] != "none":
                yield extra["name"], self.extra(extra)


def safe_path(folder, name):
    require(not name.startswith("/") and not {"", ".", ".."} & set(name.split("/")), "%s: lies outside the folder" % name)
    return os.path.join(folder, name)


def write(out, folder):
    for name, data in Checkpoint(out).files():
        path = safe_path(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    return 0


def compare(out, folder):
    status = 0
    for name, data in Checkpoint(out).files():
        try:
            with open(safe_path(folder, name), "rb") as file:
                same = file.read() == data
        except FileNotFoundError:
            same = False
        if not same:
            print("differs: %s" % name)
            status = 3
    return status


def print_digests(out):
    for name, data in Checkpoint(out).files():
        print("%s  %s" % (digest(data).hex(), name))
    return 0


def main(arguments):
    try:
        if len(arguments) == 3 and arguments[0] == "--compare":
            return compare(*arguments[1:])
        if len(arguments) == 2 and arguments[0] == "--digest":
            return print_digests(arguments[1])
        if len(arguments) == 2 and not arguments[0].startswith("-"):
            return write(*arguments)
    except (Damaged, Unsupported) as error:
        print("refdecoder: %s" % error, file=sys.stderr)
        return 2
    print(__doc__, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
