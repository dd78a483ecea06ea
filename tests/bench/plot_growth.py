#!/usr/bin/env python3
"""How a train step grows with batch, context, layers and vocabulary: runs bench_train_step for each, prints a
Markdown table and writes a plot. Rows measured before can be given as a table, and are not measured again.

    python3 tests/bench/plot_growth.py build/tests/bench/bench_train_step docs/growth.svg > growth.md
    python3 tests/bench/plot_growth.py --table growth.md build/tests/bench/bench_train_step docs/growth.svg
"""
import argparse
import re
import subprocess

BASE = {"batch": 8, "context": 256, "layers": 4, "vocabulary": 10000}  # in the benchmark's order
VALUES = {"batch": (1, 2, 4, 8, 16), "context": (64, 128, 256, 512, 1024), "layers": (1, 2, 4, 8),
          "vocabulary": (1000, 5000, 10000, 20000, 50000)}


def measure(program, sizes, steps):
    command = [program, "0", str(steps)] + [str(sizes[name]) for name in BASE]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, tokens = re.search(r"step ([\d.]+) s, (\d+) tokens/s", text).groups()
    share = re.search(r"(\d+)% of the peak", text).group(1)
    return float(seconds), int(tokens), int(share), int(re.search(r"peak memory (\d+)", text).group(1))


def read_table(path):
    """Rows by (what varies, size)."""
    pattern = r"\| (\w+) \| (\d+) \| ([\d.]+) \| (\d+) \| (\d+)% \| (\d+) MiB \|"
    with open(path) as file:
        found = re.findall(pattern, file.read())
    return {(name, int(size)): (float(s), int(tokens), int(share), int(memory))
            for name, size, s, tokens, share, memory in found}


def panel(x, name, points):
    """One plot of seconds over the sizes, both from 0, 220 x 160 at x."""
    left, width, height, top = x + 45, 160, 120, 30
    widest, slowest = max(p[0] for p in points), 1.1 * max(p[1] for p in points)
    at = [(left + width * size / widest, top + height * (1 - s / slowest)) for size, s in points]
    yield '<path d="M%d %dV%dH%d" class="axis"/>' % (left, top, top + height, left + width)
    yield '<polyline points="%s" class="line"/>' % " ".join("%.1f,%.1f" % p for p in at)
    for (px, py), (size, _) in zip(at, points):
        yield '<circle cx="%.1f" cy="%.1f" r="3"/>' % (px, py)
    yield '<text x="%d" y="%d">0</text>' % (left - 4, top + height + 14)
    yield '<text x="%d" y="%d" class="end">%d</text>' % (left + width, top + height + 14, widest)
    yield '<text x="%d" y="%d" class="end">%.2f s</text>' % (left - 4, at[-1][1] + 4, points[-1][1])
    yield '<text x="%d" y="%d" class="middle">%s</text>' % (left + width / 2, top + height + 30, name)


def write_plot(path, rows):
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" width="880" height="190" font-family="sans-serif" font-size="11">',
             "<style>.axis{stroke:#888;fill:none}.line{stroke:#0a62a8;fill:none;stroke-width:2}circle{fill:#0a62a8}"
             "text{fill:#444}.end{text-anchor:end}.middle{text-anchor:middle}</style>",
             '<rect width="880" height="190" fill="white"/>',
             '<text x="440" y="16" class="middle">Seconds of a train step</text>']
    for i, name in enumerate(dict.fromkeys(row[0] for row in rows)):
        lines += panel(220 * i, name, [(size, row[0]) for which, size, row in rows if which == name])
    with open(path, "w") as file:
        file.write("\n".join(lines + ["</svg>"]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", help="path of bench_train_step")
    parser.add_argument("plot", help="SVG file to write")
    parser.add_argument("--steps", type=int, default=2, help="steps per row; the best counts")
    parser.add_argument("--what", nargs="+", choices=list(BASE), default=list(BASE), help="what to vary")
    parser.add_argument("--table", help="file with rows measured before")
    arguments = parser.parse_args()
    known = read_table(arguments.table) if arguments.table else {}
    rows = []
    print("| what varies | size | s/step | tokens/s | of peak | peak memory |\n|---|---|---|---|---|---|")
    for name in arguments.what:
        for size in VALUES[name]:
            row = known.get((name, size)) or measure(arguments.program, dict(BASE, **{name: size}),
                                                     arguments.steps)
            rows.append((name, size, row))
            print("| %s | %d | %.3f | %d | %d%% | %d MiB |" % ((name, size) + row), flush=True)
    write_plot(arguments.plot, rows)


if __name__ == "__main__":
    main()
