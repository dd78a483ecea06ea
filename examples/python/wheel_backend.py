"""The build backend of `pip install .`: that of meson-python, which compiles the library, with two additions.

What the build needs and is not there is named before it begins, with the command that installs it. The wheel, whose
library no version of Python links, gets the tag py3-none-PLATFORM: one wheel serves all of them.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from typing import Any

# What pkg-config calls a library, and Debian's package of it.
LIBRARIES = {"oniguruma": "libonig-dev", "libutf8proc": "libutf8proc-dev", "liblzma": "liblzma-dev"}


def _compiler_is_missing() -> bool:
    if os.environ.get("CC"):
        return shutil.which(shlex.split(os.environ["CC"])[0]) is None
    return not any(map(shutil.which, ("cc", "gcc", "clang")))


def missing_packages(settings: dict[str, Any] | None) -> list[str]:
    """Debian's packages of what a build needs and does not find."""
    missing = ["build-essential"] if _compiler_is_missing() else []
    tool = os.environ.get("PKG_CONFIG") or "pkg-config"
    if shutil.which(tool) is None:
        missing.append("pkg-config")
        missing += LIBRARIES.values()
    else:
        missing += [package for name, package in LIBRARIES.items()
                    if subprocess.run([tool, "--exists", name], check=False).returncode != 0]
    has_own_blis = "-Dblis=" in str(settings or {})
    if not has_own_blis and not any(pathlib.Path("/usr/include").glob("**/blis-*/blis.h")):
        missing.append("libblis-serial-dev")
    return missing


def _check(settings: dict[str, Any] | None) -> None:
    missing = missing_packages(settings)
    if missing:
        sys.stderr.write("\nlibtinylm is compiled here, and what that needs is missing: " + ", ".join(missing) + "\n"
                         "On Debian and Ubuntu:\n\n    sudo apt install " + " ".join(missing) + "\n\n"
                         "(-dev packages hold headers and .pc files; other systems have them by similar names.)\n")
        raise SystemExit(1)


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def retag(path: pathlib.Path) -> pathlib.Path:
    """Gives a wheel the tag of any Python 3 and no ABI of it; returns its new path."""
    name, version, platform = re.fullmatch(r"(\w+)-([^-]+)-[^-]+-[^-]+-([^-]+)\.whl", path.name).groups()
    target = path.with_name(f"{name}-{version}-py3-none-{platform}.whl")
    made = path.with_name(target.name + ".part")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as wheel:
        record = f"{name}-{version}.dist-info/RECORD"
        described = f"{name}-{version}.dist-info/WHEEL"
        tags = re.sub(rb"(?m)^Tag: .*$", f"Tag: py3-none-{platform}".encode(), source.read(described))
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == described:
                data = tags
            elif entry.filename == record:
                rows = [row for row in data.decode().splitlines() if not row.startswith(described + ",")]
                data = "\n".join([*rows, f"{described},{_digest(tags)},{len(tags)}", ""]).encode()
            wheel.writestr(entry, data, zipfile.ZIP_DEFLATED)
    path.unlink()
    made.rename(target)
    return target


# ---- The hooks of PEP 517 -------------------------------------------------------------------------


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    _check(config_settings)
    import mesonpy
    return list(mesonpy.get_requires_for_build_wheel(config_settings))


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    _check(config_settings)
    import mesonpy
    name = mesonpy.build_wheel(wheel_directory, config_settings, metadata_directory)
    return retag(pathlib.Path(wheel_directory) / name).name


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    _check(config_settings)
    import mesonpy
    return list(mesonpy.get_requires_for_build_editable(config_settings))


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    _check(config_settings)
    import mesonpy
    return str(mesonpy.build_editable(wheel_directory, config_settings, metadata_directory))


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    import mesonpy
    return list(mesonpy.get_requires_for_build_sdist(config_settings))


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    import mesonpy
    return str(mesonpy.build_sdist(sdist_directory, config_settings))
