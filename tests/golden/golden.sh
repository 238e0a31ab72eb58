#!/usr/bin/env bash
# The golden files: each good one decodes to the recorded bytes, each broken one is refused with the recorded error, by the
# program and by the second decoder (contrib/refdecoder), where python3 with numpy and a zstd reader are there.
here=tests/golden
tool=$(realpath "${TESSERA_BUILD:-build}")/bin/tessera
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() { # name command...
    local name=$1
    shift
    if "$@"; then echo "ok - $name"; else echo "not ok - $name"; fi
}

has_reference() {
    python3 -c 'import numpy' 2>/dev/null && { command -v zstd >/dev/null || python3 -c 'import zstandard' 2>/dev/null; }
}

program() { "$tool" decompress "$1" -o "$2" --quiet; }
reference() { python3 contrib/refdecoder/refdecoder.py "$1" "$2"; }

# Exactly the recorded files with the recorded bytes.
gives() { # decoder good-folder
    local out
    out=$work/$1-$(basename "$2")
    "$1" "$2" "$out" || return 1
    (cd "$out" && find . -type f | sed 's|^\./||' | LC_ALL=C sort) >"$work/names"
    cut -c67- "$2.sha256" | LC_ALL=C sort | cmp -s - "$work/names" && (cd "$out" && sha256sum --quiet --strict -c -) <"$2.sha256"
}

# The good folder "tiny" with one broken file in it.
place_broken() { # name
    rm -rf "$work/broken"
    cp -r "$here/good/tiny" "$work/broken"
    cp "$here/broken/$1.safetensors" "$work/broken/model.safetensors"
}

program_refuses() { # name code message
    local code
    place_broken "$1"
    program "$work/broken" "$work/never" 2>"$work/stderr"
    code=$?
    [ "$code" = "$2" ] && [ ! -e "$work/never" ] && grep -qF -- "$3" "$work/stderr" && return
    echo "  exit $code, expected $2 and \"$3\""
    sed 's/^/  /' "$work/stderr"
    return 1
}

# The second decoder need not say the same words. One process for all, since importing numpy takes longer than the work.
reference_refuses_all() {
    python3 - "$here" "$work" <<'END'
import os, shutil, sys
sys.path.insert(0, "contrib/refdecoder")
from errors import Damaged, Unsupported
from refdecoder import Checkpoint
here, folder = sys.argv[1], os.path.join(sys.argv[2], "reference-broken")
shutil.copytree(os.path.join(here, "good", "tiny"), folder)
for line in open(os.path.join(here, "broken", "errors"), encoding="utf-8"):
    name = line.split("\t")[0]
    shutil.copy(os.path.join(here, "broken", name + ".safetensors"), os.path.join(folder, "model.safetensors"))
    try:
        list(Checkpoint(folder).files())
        print("not ok - reference_%s_is_refused" % name)
    except (Damaged, Unsupported):
        print("ok - reference_%s_is_refused" % name)
    except Exception as error:
        print("  %r\nnot ok - reference_%s_is_refused" % (error, name))
END
}

for good in "$here"/good/*/; do
    good=${good%/}
    check "$(basename "$good")_decodes_to_the_recorded_bytes" gives program "$good"
done
while IFS=$'\t' read -r name code message; do
    check "${name}_is_refused" program_refuses "$name" "$code" "$message"
done <"$here/broken/errors"

if has_reference; then
    for good in "$here"/good/*/; do
        good=${good%/}
        check "reference_$(basename "$good")_decodes_to_the_recorded_bytes" gives reference "$good"
    done
    reference_refuses_all
else
    echo "skip - reference decoder: needs python3-numpy, and zstd or python3-zstandard"
fi

# A test that cannot fail tests nothing: a file that is not recorded, and bytes that are not the recorded ones.
cp -r "$here/good/tiny" "$work/other"
: >"$work/other.sha256"
check an_unrecorded_file_is_seen eval '! gives program "$work/other"'
sed 's/^.\{64\}/0000000000000000000000000000000000000000000000000000000000000000/' "$here/good/tiny.sha256" >"$work/other.sha256"
rm -rf "$work/program-other"
check other_bytes_are_seen eval '! gives program "$work/other" >/dev/null 2>&1'
