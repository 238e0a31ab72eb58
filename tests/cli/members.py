"""usage: members.py docs/cli.md SECTION result.json - the members that the section's table names are in the result."""
import json
import re
import sys


def documented(path, section):
    """Rows of the table below "### SECTION": (names in the first column, names in the second)."""
    lines = open(path, encoding="utf-8").read().split("\n")
    rows, inside = [], False
    for line in lines:
        if line.startswith("### "):
            inside = line[4:].split(",")[0] == section
        elif inside and line.startswith("| `"):
            first, second = line.strip("|").split("|", 1)
            plain = re.sub(r"\([^()]*\)", "", second)
            rows.append((re.findall(r"`([^`]+)`", first), re.findall(r"`([a-z_]+)[\[\]]*`", plain)))
    return rows


def main():
    path, section, result_path = sys.argv[1:]
    result = json.load(open(result_path, encoding="utf-8"))
    rows = documented(path, section)
    problems = [] if rows else [f"{path}: no table for {section}"]
    for names, inner in rows:
        for name in names:
            key = name.rstrip("[]")
            if key not in result:
                problems.append(f"{section}: no member {key}")
                continue
            values = result[key] if name.endswith("[]") else [result[key]]
            if name.endswith("[]") and not isinstance(values, list):
                problems.append(f"{section}: {key} is no list")
                continue
            for value in values[:1] if isinstance(values, list) else []:
                problems += [f"{section}: no member {key}.{k}" for k in inner if isinstance(value, dict) and k not in value]
    print(*problems, sep="\n", end="\n" if problems else "")
    return bool(problems)


sys.exit(main())
