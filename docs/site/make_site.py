"""Builds the documentation as a site: the guides of docs/ and the reference made from the public headers,
searched together. It needs MkDocs (Debian's package mkdocs). Dead links and anchors are errors.

Usage: make_site.py PROJECT_ROOT OUTPUT_DIRECTORY, or ninja -C build site.
"""

import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

from reference import NAME, Reference

CODE = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)


def outside_code(text, change):
    """Applies `change` to what is not in a block of code."""
    parts, end = [], 0
    for block in CODE.finditer(text):
        parts += [change(text[end : block.start()]), block.group()]
        end = block.end()
    return "".join(parts + [change(text[end:])])


def prepare(text, path, root, reference):
    """A page of the project for MkDocs: names of the library as links to the reference, links to folders as plain
    text, and an empty line before each list, which GitHub does not need."""
    to_reference = os.path.relpath(root / "reference", path.parent) + "/"

    def change(part):
        part = re.sub(r"`(" + NAME.pattern + r")(?:\(\))?`(?!\])",
                      lambda match: reference.link(match.group(1), to_reference) or match.group(), part)
        part = re.sub(r"\[([^\]]*)\]\(([^):#]+)\)",
                      lambda match: match.group(1) if (path.parent / match.group(2)).is_dir() else match.group(), part)
        return re.sub(r"^(?![ \-*|\d]|$)(.+)\n(?=(?:- |\d+\. ))", r"\1\n\n", part, flags=re.MULTILINE)

    return outside_code(text, change)


def linked_files(text, path, root):
    for target in re.findall(r"\]\(([^):#\s]+)[^)]*\)", text):
        file = (path.parent / target).resolve()
        if file.is_file() and file.is_relative_to(root):
            yield file


def gather(root, source):
    """Lays the pages, and the files that they link to, into `source`, as they lie in the project."""
    reference = Reference(root / "include" / "tinylm")
    pages = [root / "README.md", root / "CHANGELOG.md", *sorted(root.glob("docs/*.md"))]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if page.name == "reference.md":
            text += reference.index()
        place = source / page.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(prepare(text, page, root, reference), encoding="utf-8")
        for file in linked_files(text, page, root):
            if file.suffix == ".md":
                pages += [] if file in pages else [file]
            else:
                copy = source / file.relative_to(root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
    (source / "reference").mkdir()
    for header in reference.headers:
        (source / "reference" / header.page).write_text(reference.write(header), encoding="utf-8")
    return reference


def configuration(root, source, output, reference):
    """MkDocs's configuration, with the pages in the order of the table of README.md."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[((?:docs|lib)/[\w-]+\.md)\]", readme, re.MULTILINE)
    guides = "".join(f"      - {page}\n" for page in listed if page != "docs/reference.md")
    headers = "".join(f"      - tinylm/{header.file}: reference/{header.page}\n" for header in reference.headers)
    return (f"site_name: libtinylm\nsite_url: ''\ndocs_dir: {source}\nsite_dir: {output}\n"
            "theme:\n  name: readthedocs\n  navigation_depth: 3\nstrict: true\nuse_directory_urls: false\n"
            "plugins:\n  - search\nmarkdown_extensions:\n  - tables\n  - fenced_code\n  - toc:\n"
            "      slugify: !!python/name:make_site.anchor\n"
            f"nav:\n  - Home: README.md\n  - Guides:\n{guides}"
            f"  - Reference:\n      - docs/reference.md\n{headers}  - Changes: CHANGELOG.md\n")


def anchor(heading, separator):
    """GitHub's anchor of a heading: lower case, spaces as hyphens, punctuation dropped."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", separator)


class Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.add(value)
            elif name == "href" and tag == "a" and value:
                self.links.append(value)


def dead_links(site):
    """Links inside the site that lead nowhere; MkDocs looks at files only, not at anchors."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or path.name == "404.html":
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or parts.fragment and target in pages and parts.fragment not in pages[target].ids:
                yield f"{path.relative_to(site)}: {link}"


def main(root, output):
    mkdocs = shutil.which("mkdocs")
    if not mkdocs:
        sys.exit("make_site.py: MkDocs is not installed; on Debian: apt-get install mkdocs")
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder).resolve() / "docs"
        source.mkdir()
        reference = gather(root, source)
        config = source.parent / "mkdocs.yml"
        config.write_text(configuration(root, source, output, reference), encoding="utf-8")
        here = str(pathlib.Path(__file__).resolve().parent)  # where MkDocs finds anchor()
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": here}
        subprocess.run([mkdocs, "build", "--quiet", "--config-file", config], check=True, env=environment)
    dead = sorted(dead_links(output))
    sys.exit("\n".join(["make_site.py: dead links:", *dead]) if dead else 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve())
