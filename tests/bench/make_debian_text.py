"""Makes a text of English that is harder than stories from Debian packages: the dictionary GCIDE, the documentation of
the kernel, the Debian handbook and the policy manual. Documents are separated by <|endoftext|> and shuffled by a hash of
what they say, so that the same packages give the same bytes; the last of them are for validation.

Packages may be installed, or unpacked into a folder, which needs no rights:
    apt-get download dict-gcide debian-handbook debian-policy linux-doc-6.1
    for package in *.deb; do dpkg -x $package packages; done
    python3 tests/bench/make_debian_text.py --root packages --train train.txt --valid valid.txt

Needs only Python's own library.
"""

import argparse
import gzip
import hashlib
import html.parser
import pathlib
import re
import sys

END = "<|endoftext|>"
DICTIONARY_PIECE = 4000  # characters of entries that make a document
SHORTEST = 200           # characters; shorter documents are left out


def read(path):
    data = path.read_bytes()
    if path.suffix in (".gz", ".dz"):
        data = gzip.decompress(data)
    return data.decode("utf-8", "replace").replace("\r", "").replace(END, "")


class Text(html.parser.HTMLParser):
    """The words of a page of HTML, a line for each block."""

    BLOCKS = {"p", "div", "li", "dt", "dd", "tr", "br", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "title"}
    LEFT_OUT = {"script", "style", "head", "nav"}

    def __init__(self):
        super().__init__()
        self.parts, self.hidden, self.pre = [], 0, 0

    def handle_starttag(self, tag, attributes):
        self.hidden += tag in self.LEFT_OUT
        self.pre += tag == "pre"
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag):
        self.hidden -= tag in self.LEFT_OUT
        self.pre -= tag == "pre"
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data if self.pre else re.sub(r"\s+", " ", data))

    def text(self):
        return re.sub(r"\n\s*\n+", "\n\n", "".join(self.parts)).strip()


def dictionary(root):
    path = root / "usr/share/dictd/gcide.dict.dz"
    piece, size = [], 0
    # Entries begin at the margin; their definitions are indented.
    for entry in re.split(r"\n(?=\S)", read(path)):
        piece.append(entry)
        size += len(entry)
        if size >= DICTIONARY_PIECE:
            yield "\n".join(piece)
            piece, size = [], 0
    yield "\n".join(piece)


def kernel(root):
    folder = root / "usr/share/doc/linux-doc-6.1/Documentation"
    for path in sorted(folder.rglob("*.rst*")):
        if "translations" not in path.parts:
            yield read(path)


def handbook(root):
    for path in sorted((root / "usr/share/doc/debian-handbook/html/en-US").glob("*.html")):
        page = Text()
        page.feed(read(path))
        yield page.text()


def policy(root):
    for path in sorted((root / "usr/share/doc/debian-policy/policy.html/_sources").glob("*.rst.txt")):
        yield read(path)


SOURCES = {"dict-gcide": dictionary, "linux-doc-6.1": kernel, "debian-handbook": handbook, "debian-policy": policy}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path("/"), help="where the packages are")
    parser.add_argument("--train", type=pathlib.Path, required=True)
    parser.add_argument("--valid", type=pathlib.Path, required=True)
    parser.add_argument("--valid-bytes", type=int, default=1000000)
    arguments = parser.parse_args()
    documents = set()
    for package, source in SOURCES.items():
        try:
            texts = {text.strip() for text in source(arguments.root)}
        except FileNotFoundError as error:
            sys.exit(f"{package} is not there: {error}")
        texts = {text for text in texts if len(text) >= SHORTEST}
        if not texts:
            sys.exit(f"{package} is not below {arguments.root}")
        print(f"{package}: {len(texts)} documents, {sum(map(len, texts)) / 1e6:.1f} million characters")
        documents |= texts
    encoded = sorted((text.encode() for text in documents), key=lambda text: hashlib.sha256(text).digest())
    valid, size = [], 0
    while encoded and size < arguments.valid_bytes:
        valid.append(encoded.pop())
        size += len(valid[-1])
    for path, part in ((arguments.train, encoded), (arguments.valid, valid)):
        path.write_bytes(f"\n{END}\n".encode().join(part) + f"\n{END}\n".encode())
        print(f"{path}: {len(part)} documents, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
