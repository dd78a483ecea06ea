"""Checks the links of the project's Markdown files: files that they point to exist, and so do headings.
Addresses on the web are not asked for.

Usage: check_links.py PROJECT_ROOT. Prints each dead link as path: link and exits with 1 if there is one.
"""

import pathlib
import re
import sys


def prose(path):
    """The text without code, in which brackets and # mean other things."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return text


def anchors(path):
    """GitHub's anchors of the headings: lower case, spaces as hyphens, punctuation dropped."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dead_links(path, root):
    text = re.sub(r"`[^`\n]*`", "", prose(path))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        other = (path.parent / file).resolve() if file else path
        if not other.exists() or not other.is_relative_to(root):
            yield target
        elif anchor and anchor not in anchors(other):
            yield target


def main(root):
    root = root.resolve()
    files = [path for path in sorted(root.rglob("*.md"))
             if not any(part.startswith((".", "build")) for part in path.relative_to(root).parts)]
    dead = [(path, link) for path in files for link in dead_links(path, root)]
    for path, link in dead:
        print(f"{path.relative_to(root)}: {link}")
    return 1 if dead or not files else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
