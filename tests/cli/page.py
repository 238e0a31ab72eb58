"""usage: page.py PAGE.html REPORT.json [--diff] - the page is what framework/page/page.h promises: well-formed, one file, no
foreign script, readable in light and dark, and its figures are those of the JSON. Prints what is wrong."""
import base64
import hashlib
import json
import re
import sys
import xml.etree.ElementTree as tree

SIZE_MAX = 1500000
SPACE = "{http://www.w3.org/1999/xhtml}"
SECTIONS = ["gates", "sizes", "files", "run", "tensors"]


def text_of(element):
    return "".join(element.itertext())


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def style_problems(style):
    if "prefers-color-scheme:dark" not in style or "@media print" not in style:
        yield "no dark colours, or nothing for print"
    schemes = re.findall(r":root\{([^}]*)\}", style)
    if len(schemes) != 3:
        yield f"expected light, dark and printed colours, found {len(schemes)} sets"
    for scheme in schemes:
        colours = dict(re.findall(r"--([a-z]+):(#[0-9a-f]+)", scheme))
        for name in ("text", "soft", "accent", "second", "pass", "fail", "open"):
            for ground in ("page", "card"):
                if contrast(colours[name], colours[ground]) < 4.5:
                    yield f"--{name} on --{ground}: contrast {contrast(colours[name], colours[ground]):.2f}"


def safety_problems(root, source):
    policy = next(m.get("content") for m in root.iter(SPACE + "meta") if m.get("http-equiv"))
    scripts = list(root.iter(SPACE + "script"))
    if "default-src 'none'" not in policy:
        yield "the policy allows connections"
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
        if f"'sha256-{digest}'" not in policy:
            yield f"a script that the policy does not know (its digest is {digest})"
    if len(scripts) > 1:
        yield f"{len(scripts)} scripts"
    for element in root.iter():
        for key, value in element.attrib.items():
            if key.startswith("on") or (key in ("src", "href") and re.match(r"\s*(?!data:|#|\.?/)", value)):
                yield f"attribute {key}={value[:60]}"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f\u0080-\u009f\u202a-\u202e\u2066-\u2069]", source):
        yield "control characters"


def access_problems(root):
    if root.get("lang") is None or not list(root.iter(SPACE + "main")) or len(list(root.iter(SPACE + "h1"))) != 1:
        yield "no language, no main, or not one h1"
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    if len(ids) != len(set(ids)):
        yield "an id stands twice"
    for link in root.iter(SPACE + "a"):
        if link.get("href").startswith("#") and link.get("href")[1:] not in ids:
            yield f"link to {link.get('href')}, which is not there"
    for picture in root.iter(SPACE + "svg"):
        if picture.get("role") != "img" or picture[0].tag != SPACE + "title" or not picture[0].text:
            yield "a picture without a title"
    for image in root.iter(SPACE + "img"):
        if not image.get("alt"):
            yield "an image without words"
    for header in root.iter(SPACE + "th"):
        if header.get("scope") is None:
            yield "a table's head without scope"
    for figure in root.iter(SPACE + "figure"):
        if "measured" not in text_of(figure) and not list(figure.iter(SPACE + "audio")) and "Estimate" not in text_of(figure):
            yield f"a figure that does not say where its numbers are from: {text_of(figure)[:50]}"


def number(text):
    return float(text.replace("\u202f", ""))


def figure_problems(root, report):
    receipt = report["receipt"]
    headings = {h.get("id") for h in root.iter(SPACE + "h2")}
    for section in SECTIONS:
        if section not in headings and not (section == "run" and report["run"] is None):
            yield f"no section {section}"
    totals, page = receipt["totals"], text_of(root)
    expected = [f"{totals['source_bytes']} bytes", f"{totals['output_bytes']} bytes", f"{totals['ratio']:.4f} : 1",
                f"{totals['bits_per_weight']:.3f}", receipt["digest"], receipt["source"]["digest"]]
    yield from (f"does not say \"{figure}\"" for figure in expected if figure not in page)
    if "gates" not in sys.argv[3:]:
        for gate in receipt["gates"].get("results", []):
            yield from (f"gate {gate['gate']} lacks {key}" for key in ("verdict", "reason") if gate[key][:70] not in page)
    table = next(t for t in root.iter(SPACE + "table") if "sorts" in t.get("class"))
    tables = [table, *(more for fold in root.iter(SPACE + "details") if fold.get("class") == "more" for more in fold.iter(SPACE + "table"))]
    rows = {text_of(r[0]): r for table in tables for r in table.iter(SPACE + "tr") if r[0].tag == SPACE + "td"}
    compared = 0
    for tensor in receipt["tensors"]:
        row = rows.get(tensor["name"])
        if row is None:
            continue
        compared += 1
        stored = tensor["bytes"] + tensor.get("index_bytes", 0)
        error = "exact" if tensor["exact"] or not tensor["relative_error"] else f"{tensor['relative_error']:.2e}"
        cells = [text_of(cell) for cell in row]
        if number(cells[4]) != tensor["source_bytes"] or number(cells[5]) != stored or cells[7] != error:
            yield f"{tensor['name']}: the page says {cells}"
    if len(rows) != len(receipt["tensors"]) and "smaller tensors are not shown" not in page:
        yield f"{len(rows)} tensors of {len(receipt['tensors'])}"
    if not compared:
        yield "no tensor could be compared"


def main():
    source = open(sys.argv[1], encoding="utf-8", newline="").read()
    root = tree.fromstring(source.replace("<!DOCTYPE html>", ""))
    problems = []
    if len(source.encode()) >= SIZE_MAX:
        problems.append(f"{len(source.encode())} bytes")
    problems += style_problems(next(root.iter(SPACE + "style")).text)
    problems += safety_problems(root, source)
    problems += access_problems(root)
    if len(sys.argv) > 2:
        problems += figure_problems(root, json.load(open(sys.argv[2], encoding="utf-8")))
    print(*problems, sep="\n", end="\n" if problems else "")
    return bool(problems)


sys.exit(main())
