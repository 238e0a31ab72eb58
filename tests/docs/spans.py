"""usage: spans.py PAGE OPTIONS - commands that a page mentions without running them name a command and options that exist.

Such are `tessera COMMAND ...` in backticks, and the lines of blocks that are not run. OPTIONS has a line "COMMAND OPTION..." a command."""
import re
import sys

known = {line.split()[0]: set(line.split()[1:]) for line in open(sys.argv[2])}
text = open(sys.argv[1], encoding="utf-8").read()
spans = [span.replace("\n", " ") for span in re.findall(r"`(tessera [^`]+)`", text)]
spans += re.findall(r"^ *(tessera [a-z].*?)(?: # .*)?$", text, re.M)
wrong = 0
for span in spans:
    words = re.split(r"[ =]", re.split(r"[|>;]", span)[0])[1:]
    command = words[0] if words else ""
    if command not in known:
        # A placeholder, or an option of the program itself.
        wrong += bool(re.match(r"[a-z]", command)) and print(f"  {sys.argv[1]}: no command \"{command}\": {span}") is None
        continue
    for word in words[1:]:
        if re.match(r"--?[A-Za-z]", word) and word.rstrip(",.") not in known[command] | {"--help"}:
            print(f"  {sys.argv[1]}: tessera {command} has no {word}: {span}")
            wrong += 1
sys.exit(wrong > 0)
