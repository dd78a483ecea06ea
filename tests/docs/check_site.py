"""Builds the documentation as a site and looks for what must be in it: a page for each guide and each public header,
every exported function with an entry of its own, and both in the search index. Skipped without MkDocs.

Usage: check_site.py PROJECT_ROOT
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile


def main(root):
    if not shutil.which("mkdocs"):
        print("skipped: MkDocs is not installed (Debian's package mkdocs)")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        site = pathlib.Path(folder)
        subprocess.run([sys.executable, "-B", root / "docs" / "site" / "make_site.py", root, site], check=True)
        index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
        places = {entry["location"] for entry in index}
        wanted = {f"docs/{page.stem}.html" for page in (root / "docs").glob("*.md")}
        for header in (root / "include" / "tinylm").glob("*.h"):
            if header.name == "tinylm.h":
                continue
            page = f"reference/{header.stem}.html"
            wanted.add(page)
            text = header.read_text(encoding="utf-8")
            for name in re.findall(r"^TLM_API [^;]*?\b(tlm_\w+)\(", text, re.MULTILINE):
                wanted.add(f"{page}#{name}")
        missing = sorted(wanted - places)
    print("\n".join(f"not in the search index: {place}" for place in missing))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
