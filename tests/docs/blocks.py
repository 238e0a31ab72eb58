"""usage: blocks.py PAGE - the commands of a page, as lines "NUMBER run|skip WHY" each followed by its commands and a line "%%".

Commands stand in fenced blocks that begin with ```sh. A comment <!-- not run: why --> in front of one says that a test
cannot run it. Prints lines "problem ..." for commands that no test would see."""
import re
import sys

lines = open(sys.argv[1], encoding="utf-8").read().split("\n")
why, at = None, 0
while at < len(lines):
    line = lines[at]
    comment = re.match(r"<!-- not run: (.+) -->$", line)
    if comment:
        why = comment.group(1)
    elif line.startswith("```sh"):
        end = lines.index("```", at)
        print(at + 1, "skip" if why else "run", why or "")
        print("\n".join(lines[at + 1:end]) + "\n%%")
        why, at = None, end
    elif re.match(r"(    |\t)(\$ )?(tessera|make|build/bin/tessera|cp|cat|for) ", line):
        print("problem", f"{sys.argv[1]}:{at + 1}: a command outside of a ```sh block: {line.strip()}")
    elif line.strip():
        why = None
    at += 1
