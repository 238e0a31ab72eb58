# SPDX-License-Identifier: Apache-2.0
"""Comparisons, tables and the picture of bench_quality.py. A row is {"name", "bits", "kld", "interval", "top1", "p99_9", "ppl",
"positions", "made", "memory"}."""
import math
import statistics

# What issue "quality per byte" asks at the bytes of a peer (KLD of ours over its KLD) and at its quality (bytes saved): the bound that
# was agreed on, and the one that was hoped for.
ASKED = {"Q4_K_M as users get it": ((.08, .06), (.33, .35)), "Q3_K_M as users get it": ((.08, .06), (.33, .35)),
         "Q5_K_M padded": ((.16, .12), (.22, .25)), "Q4_K_M padded": ((.16, .12), (.22, .25)),
         "Q3_K_M padded": ((.14, .10), (.22, .25)),
         "IQ4_KT (quoted)": ((.20, .15), (.22, .25)), "IQ3_KT (quoted)": ((.28, .25), (.22, .25))}
# ik_llama.cpp is on no package index: measured before, 20 000 positions, in its own runtime.
QUOTED = [{"name": "IQ4_KT (quoted)", "bits": 4.56, "kld": .0860, "top1": .844}, {"name": "IQ3_KT (quoted)", "bits": 3.43, "kld": .2946, "top1": .718}]


def number(value, form):
    return "" if value is None or math.isnan(value) else format(value, form)


def rows_table(rows):
    print("| | bits a weight | positions | KLD | top-1 % | KLD 99.9 % | PPL ratio | made in processor s | MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for r in sorted(rows, key=lambda r: -r["bits"]):
        print(f"| {r['name']} | {r['bits']:.3f} | {r['positions']} | {r['kld']:.4f} ± {r['interval']:.4f} | {100 * r['top1']:.1f} | "
              f"{r['p99_9']:.3f} | {r['ppl']:.4f} | {number(r['made'], '.0f')} | {number(r['memory'], '.0f')} |")


# ---- between points ----

def between(points, bits, figure):
    """log-linear interpolation of a figure over bits; the nearest segment's line outside."""
    points = sorted(points, key=lambda p: p["bits"])
    for a, b in zip(points, points[1:]):
        if bits <= b["bits"] or b is points[-1]:
            part = (bits - a["bits"]) / (b["bits"] - a["bits"])
            return math.exp((1 - part) * math.log(figure(a)) + part * math.log(figure(b)))
    return math.nan


def bits_for(points, wanted, figure):
    """Where a figure that falls with bits comes down to what is wanted."""
    low, high = 0.5, 16.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if between(points, middle, figure) > wanted else (low, middle)
    return low


def kld_of(point):
    return point["kld"]


def changed_of(point):
    return 1 - point["top1"]


def verdict(value, asked):
    """Both bounds and how far one got."""
    must, hoped = asked
    return f"{must:g} ({hoped:g}): " + ("met, and what was hoped for" if value <= hoped else "met" if value <= must else "**not met**")


def compare(peer, ours):
    at = between(ours, peer["bits"], kld_of)
    saved = [1 - bits_for(ours, figure(peer), figure) / peer["bits"] for figure in (kld_of, changed_of)]
    asked = ASKED.get(peer["name"])
    ratio, least = at / peer["kld"], min(saved)
    line = f"| {peer['name']} | {peer['bits']:.2f} | {peer['kld']:.4f} | {at:.4f} | **{ratio:.3f}** | {verdict(ratio, asked[0]) if asked else ''} | "
    line += f"{100 * saved[0]:.0f} % | {100 * saved[1]:.0f} % | "
    return line + (verdict(-least, tuple(-a for a in asked[1])).replace("-", "") if asked else "") + " |"


def ratios_table(peers, ours_at):
    """`ours_at(positions)`: our points on as many positions as the peer has."""
    print("| peer | bits | its KLD | Tessera's KLD at its bytes | times its KLD | asked (hoped) | fewer bytes at its KLD | at its top-1 | asked (hoped) |")
    print("|---|---|---|---|---|---|---|---|---|")
    for peer in sorted(peers, key=lambda p: -p["bits"]):
        ours = ours_at(peer.get("positions"))
        if len(ours) > 1:
            print(compare(peer, ours))


def spread(values):
    return (f"mean {statistics.mean(values):.5f}, standard deviation {statistics.stdev(values):.5f} "
            f"({100 * statistics.stdev(values) / statistics.mean(values):.1f} %), least {min(values):.5f}, most {max(values):.5f}")


# ---- the picture ----

def draw(series, path):
    """KLD on a log scale against bits a weight; each series is (name, colour, whether its points are joined, points)."""
    points = [p for _, _, _, ps in series for p in ps]
    if not points:
        return
    width, height, left, top = 760, 460, 70, 20
    x0, x1 = math.floor(min(p["bits"] for p in points)), math.ceil(max(p["bits"] for p in points))
    y0, y1 = (f(math.log10(g(p["kld"] for p in points))) for f, g in ((math.floor, min), (math.ceil, max)))
    X = lambda b: left + (b - x0) / max(x1 - x0, 1) * (width - left - 20)
    Y = lambda k: top + (y1 - math.log10(k)) / max(y1 - y0, 1) * (height - top - 50)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for b in range(x0, x1 + 1):
        out.append(f'<path d="M{X(b):.1f} {top}V{height - 50}" stroke="#ddd"/><text x="{X(b):.1f}" y="{height - 32}" '
                   f'text-anchor="middle">{b}</text>')
    for e in range(y0, y1 + 1):
        out.append(f'<path d="M{left} {Y(10 ** e):.1f}H{width - 20}" stroke="#ddd"/><text x="{left - 8}" y="{Y(10 ** e) + 4:.1f}" '
                   f'text-anchor="end">1e{e}</text>')
    out.append(f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">bits a weight, all bytes on disk</text>')
    out.append(f'<text transform="translate(16 {height / 2}) rotate(-90)" text-anchor="middle">KLD from the model, nats a position</text>')
    for i, (name, colour, joined, ps) in enumerate(s for s in series if s[3]):
        ps = sorted(ps, key=lambda p: p["bits"])
        line = " ".join(f"{X(p['bits']):.1f},{Y(p['kld']):.1f}" for p in ps)
        if joined:
            out.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        for p in ps:
            out.append(f'<circle cx="{X(p["bits"]):.1f}" cy="{Y(p["kld"]):.1f}" r="4" fill="{colour}"><title>{p["name"].replace("*", "").replace("`", "")}: '
                       f'{p["bits"]:.3f} bits, KLD {p["kld"]:.4f}</title></circle>')
        out.append(f'<text x="{width - 24}" y="{top + 18 + 18 * i}" text-anchor="end" fill="{colour}">{name}</text>')
    with open(path, "w") as file:
        file.write("\n".join(out + ["</svg>"]) + "\n")
