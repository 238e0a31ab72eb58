# SPDX-License-Identifier: Apache-2.0
"""What _native_api.py says of the library is what its header says: a compiler is asked."""
import ctypes
import re
import shutil
import subprocess

import pytest

from conftest import ROOT
from tessera import _native_api as api

HEADERS = [ROOT / "framework/library/include", ROOT / "framework/include"]
STRUCTS = {
    "tsr_error": api.Error,
    "tsr_progress": api.Progress,
    "tsr_library_options": api.LibraryOptions,
    "tsr_tensor_info": api.TensorInfo,
    "tsr_read": api.Read,
    "tsr_compress_options": api.CompressOptions,
    "tsr_decompress_options": api.DecompressOptions,
}


def test_structs_lie_in_memory_as_the_header_says(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler")
    lines = []
    for name, struct in STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        for field, *_type in struct._fields_:
            lines.append(f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));')
    source = tmp_path / "layout.c"
    source.write_text("#include <stddef.h>\n#include <stdio.h>\n#include <tessera/tessera.h>\nint main(void) {\n%s\n}\n" % "\n".join(lines))
    subprocess.run([compiler, *(f"-I{folder}" for folder in HEADERS), source, "-o", tmp_path / "layout"], check=True)
    said = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    ours = []
    for name, struct in STRUCTS.items():
        ours.append(f"{name} {ctypes.sizeof(struct)}")
        for field, *_type in struct._fields_:
            ours.append(f"{name}.{field} {getattr(struct, field).offset} {getattr(struct, field).size}")
    assert said.splitlines() == ours


def test_no_struct_of_the_header_is_missing():
    text = (HEADERS[0] / "tessera/tessera.h").read_text()
    assert set(re.findall(r"typedef struct (\w+) \{", text)) == set(STRUCTS) - {"tsr_error"}


def test_functions_are_those_of_the_header():
    text = re.sub(r"/\*.*?\*/", "", (HEADERS[0] / "tessera/tessera.h").read_text(), flags=re.S)
    declared = {name: arguments.count(",") + (arguments.strip() != "void") for name, arguments in re.findall(r"TSR_API [^(]*?(tsr_\w+)\(([^)]*)\)", text)}
    for name, (_result, arguments) in api._FUNCTIONS.items():
        assert declared[name] == len(arguments), name
