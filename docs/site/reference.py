"""The API reference: each public header as a page of Markdown, in the order of the header.

A header is a list of items with empty lines between them: a comment, then what it describes. Names of the library
in comments become links to their items.
"""

import re

SECTION = re.compile(r"/\* -{2,} (.+?) -{2,} \*/$")
NAME = re.compile(r"\b(?:tlm|TLM)_\w+")
# What is there for the compiler only.
GUARDS = re.compile(r"^#(?:ifndef TINYLM_\w+_H|define TINYLM_\w+_H|include .*|endif)\n"
                    r"|^#ifdef __cplusplus\n(?:extern \"C\" \{|\})\n#endif\n", re.MULTILINE)


def chunks(text):
    """The items of a header: what stands between empty lines outside of comments and braces."""
    lines, depth, in_comment = [], 0, False
    for line in text.splitlines() + [""]:
        if not line.strip() and depth == 0 and not in_comment:
            if lines:
                yield "\n".join(lines)
            lines = []
            continue
        lines.append(line)
        for mark in re.findall(r'"(?:\\.|[^"\\])*"|/\*|\*/|[{}]', line):
            if mark[0] == '"':
                continue
            if mark in ("/*", "*/"):
                in_comment = mark == "/*"
            elif not in_comment:
                depth += 1 if mark == "{" else -1


def split(chunk):
    """The comment in front of an item as plain text, and the code below it."""
    match = re.match(r"/\*+ ?(.*?)\*/\n?", chunk, re.DOTALL)
    if not match or chunk.startswith("/**<"):
        return "", chunk
    return re.sub(r"\n \* ?", "\n", match.group(1)).strip(), chunk[match.end() :]


def names(code):
    """The names that an item declares, in order; its first is the item's own."""
    code = re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
    found = re.findall(r"^#define (TLM_\w+)", code, re.MULTILINE)
    if found:
        return found + re.findall(r"\bX\((TLM_\w+),", code)
    callback = re.search(r"^typedef [^;{]*\(\*(tlm_\w+)\)", code)
    if callback:
        return [callback.group(1)]
    ends = re.findall(r"^(?:typedef [^{;]*|\}) ?\b(\w+_t);", code, re.MULTILINE)
    if code.startswith("typedef") and ends:
        return ends
    return re.findall(r"^(?:TLM_API|static inline) [^;]*?\b(tlm_\w+)\(", code, re.MULTILINE) \
        or re.findall(r"^typedef tlm_\w+ (\w+);", code, re.MULTILINE)


class Header:
    """A header: its own comment, and items (section, names, comment, code)."""

    def __init__(self, path):
        text = path.read_text(encoding="utf-8")
        self.file = path.name
        self.about, rest = split(text)
        section = None
        self.items = []
        for chunk in chunks(GUARDS.sub("\n", rest)):
            title = SECTION.match(chunk)
            if title:
                section = title.group(1)
                continue
            comment, code = split(chunk)
            if code.strip():
                self.items.append((section, names(code), comment, code))

    @property
    def page(self):
        return self.file[: -len(".h")] + ".md"


class Reference:
    def __init__(self, folder):
        umbrella = (folder / "tinylm.h").read_text(encoding="utf-8")
        files = re.findall(r'#include "(\w+\.h)"', umbrella)
        others = sorted(path.name for path in folder.glob("*.h") if path.name not in files + ["tinylm.h"])
        self.headers = [Header(folder / name) for name in files + others]
        self.anchors = {}
        for header in self.headers:
            for _, declared, _, _ in header.items:
                for name in declared:
                    self.anchors.setdefault(name, f"{header.page}#{declared[0].lower()}")

    def link(self, name, folder=""):
        """The name as a link from a page that reaches the reference by `folder`; None if it is not in it."""
        anchor = self.anchors.get(name)
        return f"[`{name}`]({folder}{anchor})" if anchor else None

    def prose(self, text, folder=""):
        """A comment as Markdown."""
        text = re.sub(r"([*_<>#\[\]|])", r"\\\1", re.sub(r"@since (\d+\.\d+)", r"Since \1.", text))
        text = re.sub(r"docs/([\w-]+)\.md", r"[docs/\1.md](../docs/\1.md)", text)
        plain = lambda match: match.group().replace("\\", "")
        return re.sub(r"\b(?:tlm|TLM)(?:\\_\w+)+",
                      lambda match: self.link(plain(match), folder) or f"`{plain(match)}`", text)

    def write(self, header):
        lines = [f"# tinylm/{header.file}", "", self.prose(header.about), ""]
        last = None
        for section, declared, comment, code in header.items:
            if section != last:
                lines += [f"## {section}", ""]
                last = section
            if declared:
                lines += [f"### {declared[0]}", ""]
            lines += ["```c", re.sub(r"^TLM_API ", "", code, flags=re.MULTILINE), "```", "", self.prose(comment), ""]
        return "\n".join(lines)

    def index(self):
        """The list of headers, for the end of docs/reference.md."""
        lines = ["", "| header | what is in it |", "|---|---|"]
        for header in self.headers:
            about = re.split(r"(?<=\w)[.:] |\.\n|\.$", header.about.replace("\n", " "))[0]
            lines.append(f"| [tinylm/{header.file}](../reference/{header.page}) | {self.prose(about, '../reference/')} |")
        return "\n".join(lines) + "\n"
