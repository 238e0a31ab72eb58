"""usage: blocks.py PAGE - what a page holds for tests, as lines "NUMBER KIND WHY", each followed by its lines and a line "%%".

KIND is run (a block ```sh), skip (one behind a comment <!-- not run: WHY -->), c or python (a block that must compile, or run).
Prints lines "problem WHERE WHAT" for commands that no test would see."""
import re
import sys

PROGRAMS = ("tessera|make|cc|gcc|g++|cmake|cp|cat|cd|ls|mkdir|for|export|python3?|pip|gdb|git|apt|apt-get|sudo|docker|dpkg|dpkg-buildpackage|sbatch|"
            "kubectl|seq|parallel|xargs|diff|tar|curl|man")
COMMAND = re.compile(rf"(?:    |\t)(?:\$ )?(?:(?:{PROGRAMS.replace('+', '[+]')})\s+[^ =:|]|(?:build|contrib|tests|\.)/[\w./-]+\s|[A-Z_]+=\S+ \w)")
KINDS = {"sh": "run", "c": "c", "python": "python"}
OTHERS = ("yaml", "json", "text")

lines = open(sys.argv[1], encoding="utf-8").read().split("\n")
why, at = None, 0


def problem(number, what):
    print("problem", f"{sys.argv[1]}:{number} {what}")


while at < len(lines):
    line = lines[at]
    comment = re.match(r"<!-- not run: (.+) -->$", line)
    fence = re.match(r"```([a-z]*)$", line)
    if comment:
        why = comment.group(1)
    elif fence:
        end = lines.index("```", at + 1)
        kind = KINDS.get(fence.group(1))
        if kind:
            print(at + 1, "skip" if why else kind, why or "")
            print("\n".join(lines[at + 1:end]) + "\n%%")
        elif fence.group(1) not in OTHERS:
            problem(at + 1, f"a block of a kind that no test knows: {line}")
        why, at = None, end
    elif COMMAND.match(line) and not line.startswith("\t#"):
        problem(at + 1, f"a command outside of a ```sh block: {line.strip()}")
    elif line.strip():
        why = None
    at += 1
