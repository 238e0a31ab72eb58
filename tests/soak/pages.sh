#!/usr/bin/env bash
# The pages in a real browser (Debian: chromium), at the widths of a phone and of a desk, light and dark: no error on the console,
# nothing wider than the window, every text with a contrast of 4.5 against what is behind it, tables that sort and filter.
# Screenshots go to build/pages, for eyes.
set -u
tool=$PWD/${TESSERA_BUILD:-build}/bin/tessera model=demo/stories-1m out=$PWD/${TESSERA_BUILD:-build}/pages
if ! command -v chromium >/dev/null; then
    echo "skip - pages_in_a_browser: chromium is not installed"
    exit 0
fi
rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$tool" compress "$model" -c balanced -o "$work/balanced" -q
"$tool" gate "$work/balanced" --reference "$model" --text demo/text/stories.txt --positions 2000 --controls --json >"$work/gates.json"
"$tool" plan "$model" -c balanced --json -q >"$work/plan.json"
"$tool" report "$work/balanced" --gates "$work/gates.json" --plan "$work/plan.json" --html "$out/report.html"
"$tool" diff "$model" "$work/balanced" --html "$out/diff.html"

# As many tensors as a page shows.
python3 - "$work/many" <<'END'
import json, os, struct, sys
count = 5000
os.makedirs(sys.argv[1])
header = {f"model.layers.{i // 12}.self_attn.{'qkvo'[i % 4]}_proj.part{i % 12}.weight":
          {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8 * i, 8 * i + 8]} for i in range(count)}
text = json.dumps(header).encode()
with open(f"{sys.argv[1]}/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + b"".join(struct.pack("<Q", i * 0x0123456789abcdf & (2**64 - 1)) for i in range(count)))
END
"$tool" compress "$work/many" -o "$work/many.tsr" -q
"$tool" report "$work/many.tsr" --html "$out/many.html"

browser() { # arguments of chromium
    timeout 120 chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr --log-level=0 \
        --user-data-dir="$work/profile" "$@"
}

# The probe runs in a copy without the policy, in a frame: windows narrower than 500 pixels cannot be had.
try_page() { # page width dark|light
    local scheme=() name=$1-$2-$3 frame
    [ "$3" = dark ] && scheme=(--blink-settings=preferredColorScheme=0)
    python3 - "$out/$1.html" "$work/$1.html" tests/soak/page_probe.js <<'END'
import re, sys
page = open(sys.argv[1], encoding="utf-8").read()
page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*/>', "", page)
probe = open(sys.argv[3]).read() + "parent.postMessage(document.title, '*');"
open(sys.argv[2], "w", encoding="utf-8").write(page.replace("</body>", "<script>\n" + probe + "</script></body>"))
END
    echo "<title>x</title><body style='margin:0'><script>addEventListener('message', e => document.title = e.data)</script>
        <iframe src='$1.html' style='width:$2px;height:3000px;border:0'></iframe>" >"$work/frame.html"
    browser "${scheme[@]}" --window-size=1400,3000 --dump-dom "file://$work/frame.html" >"$work/dom" 2>"$work/log"
    python3 - "$work/dom" "$name" "$3" <<'END'
import html, json, re, sys
title = re.search(r"<title>(.*?)</title>", open(sys.argv[1]).read()).group(1)
name = sys.argv[2]
try:
    seen = json.loads(html.unescape(title))
except ValueError:
    print(f"not ok - {name}: the probe said {title[:80]}")
    sys.exit()
print(f"  {name}: {seen['texts']} texts, least contrast {seen['worst']:.2f} ({seen['where']}), {seen['milliseconds']} ms")
for what, good in (("contrast", seen["worst"] >= 4.5), ("fits", seen["overflow"] <= 0), ("sorts", seen["sorts"]), ("filters", seen["filters"]),
                   ("scheme", seen["dark"] == (sys.argv[3] == "dark"))):
    print(f"{'ok' if good else 'not ok'} - {name}_{what}")
END
    if grep -q 'CONSOLE' "$work/log"; then grep CONSOLE "$work/log"; echo "not ok - ${name}_console"; else echo "ok - ${name}_console"; fi
}

# From the beginning of the navigation to the frame after the load event, what is drawn then included.
opens() { # page
    python3 - "$out/$1.html" "$work/$1.html" <<'END'
import re, sys
page = open(sys.argv[1], encoding="utf-8").read()
page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*/>', "", page)
probe = "addEventListener('load', () => requestAnimationFrame(() => setTimeout(() => console.log('OPENED', Math.round(performance.now())))))"
open(sys.argv[2], "w", encoding="utf-8").write(page.replace("</body>", f"<script>{probe}</script></body>"))
END
    for _ in 1 2 3 4 5; do
        browser --window-size=1280,2000 --screenshot="$work/opened.png" "file://$work/$1.html" 2>&1 | grep -oE 'OPENED [0-9]+' | cut -d' ' -f2
    done | sort -n | sed -n 3p
}
for page in report many; do
    milliseconds=$(opens $page)
    echo "  $page: $(stat -c %s "$out/$page.html") bytes, opens in $milliseconds ms (median of 5; load averages $(cut -d' ' -f1-3 /proc/loadavg))"
    [ "${milliseconds:-9999}" -lt 1000 ] && echo "ok - ${page}_opens_within_a_second" || echo "not ok - ${page}_opens_within_a_second"
done
try_page many 1280 light

for page in report diff; do
    for width in 390 1280; do
        for scheme in light dark; do try_page $page $width $scheme; done
    done
    # As it is delivered, with its policy: the script must have run, and nothing may be refused.
    browser --window-size=1280,2000 --dump-dom "file://$out/$page.html" >"$work/dom" 2>"$work/log"
    if grep -q '<button type="button">' "$work/dom" && ! grep -q CONSOLE "$work/log"; then echo "ok - ${page}_under_its_policy"; else
        grep CONSOLE "$work/log"
        echo "not ok - ${page}_under_its_policy"
    fi
    browser --window-size=1280,3000 --screenshot="$out/$page.png" "file://$out/$page.html" >/dev/null 2>&1
done
