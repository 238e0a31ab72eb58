#!/usr/bin/env bash
# A new user: a fresh Debian 12 in which nothing is installed but what README.md asks for. The source is cloned there, and the commands of
# README.md and of docs/tutorial.md are typed as they stand on the page; each must end well, the demo within 5 minutes of the first
# command, the tutorial within 10 more. Needs root, debootstrap and a Debian archive. MODEL and TEXT are the user's own (default: those
# of the source); ROOT is kept for further looks (default: a folder that goes). The times go to standard output, all that the
# commands printed to LOG. The kernel and the processors are this machine's: a container, not another computer.
set -u
work=$(mktemp -d)
root=${ROOT:-$work/root} log=${LOG:-$work/log} model=${MODEL:-demo/stories-1m} text=${TEXT:-demo/text/stories.txt}
trap 'rm -rf "$work"' EXIT
if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
    echo "skip - new_user: needs root and debootstrap"
    exit 0
fi
debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}" >"$log" 2>&1 ||
    { echo "skip - new_user: debootstrap says $(tail -1 "$log")"; exit 0; }
git bundle create -q "$root/root/tessera.bundle" HEAD || exit 1
cp -rL "$model" "$root/root/my-model" && cp "$text" "$root/root/eval.txt" || exit 1
python3 tests/docs/blocks.py README.md >"$work/readme"
python3 tests/docs/blocks.py docs/tutorial.md >"$work/tutorial"
block_with() { # text: the README's block that has it
    python3 -c 'import sys
for block in open(sys.argv[1]).read().split("\n%%\n"):
    lines = block.split("\n")[1:]
    if any(line.startswith(sys.argv[2]) for line in lines): print("\n".join(lines))' "$work/readme" "$1"
}

begin=$(date +%s) failed=0
in_root() { # folder: commands from standard input, in the shell of a user who has just logged in
    unshare --mount --pid --fork chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash -c "mount -t proc proc /proc; cd $1; [ ! -e /root/.profile-of-readme ] || . /root/.profile-of-readme; set -eu; . /dev/stdin" >>"$log" 2>&1
}
typed() { # name folder: commands from standard input
    local status start commands
    commands=$(cat)
    printf '\n== %s\n%s\n' "$1" "$commands" >>"$log"
    start=$(date +%s)
    in_root "$2" <<<"$commands"
    status=$?
    printf '%4d s  +%-4d exit %d  %s\n' $(($(date +%s) - begin)) $(($(date +%s) - start)) "$status" "$1"
    [ "$status" -eq 0 ] || failed=$((failed + 1))
}
check() { if "${@:2}"; then echo "ok - $1"; else echo "not ok - $1"; fi; }

typed "apt-get install git make" /root <<<"apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends git make"
typed "git clone" /root <<<"git clone -q tessera.bundle tessera"
typed "make demo" /root/tessera <<<"make demo"
demo=$(($(date +%s) - begin))
block_with 'make install' >"$work/install"
typed "make install" /root/tessera <"$work/install"
grep '^export ' "$work/install" >"$root/root/.profile-of-readme"

own=$(date +%s)
while IFS= read -r line; do
    number=${line%% *} commands=
    while IFS= read -r line && [ "$line" != %% ]; do commands+=$line$'\n'; done
    typed "docs/tutorial.md:$number" /root <<<"$commands"
done <"$work/tutorial"
own=$(($(date +%s) - own))
echo "demo after $demo s, own model ($(stat -c %s "$root/root/my-model/model.safetensors") bytes) in $own s more; load averages now: $(cut -d' ' -f1-3 /proc/loadavg)"
check no_dead_end [ "$failed" -eq 0 ]
check demo_within_5_minutes [ "$demo" -lt 300 ]
check own_model_within_10_more [ "$own" -lt 600 ]
