"""The build backend of `pip install .`: that of meson-python, which compiles the library, with three additions.

What the build needs and is not there is named before it begins, with the command that installs it. The wheel, whose
library no version of Python links, gets the tag py3-none-PLATFORM: one wheel serves all of them. Its licenses/NOTICES
holds the licenses of the libraries that are in it, and of those that `auditwheel repair` puts there.
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


def notices() -> bytes | None:
    """The licenses of all libraries in a wheel, from Debian's packages; None, and a word of it, elsewhere."""
    script = pathlib.Path(__file__).resolve().parents[2] / "pkgconfig" / "notices.sh"
    done = subprocess.run(["sh", str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode == 0:
        return done.stdout
    sys.stderr.write("the wheel gets no NOTICES with the licenses of other libraries, so it is for this machine only: "
                     + done.stderr.decode(errors="replace"))
    return None


def _row(name: str, data: bytes) -> str:
    """A file's line in RECORD."""
    return f"{name},{_digest(data)},{len(data)}"


def complete(path: pathlib.Path, licenses: bytes | None) -> pathlib.Path:
    """Gives a wheel the tag of any Python 3 and no ABI of it, and its NOTICES; returns its new path."""
    name, version, platform = re.fullmatch(r"(\w+)-([^-]+)-[^-]+-[^-]+-([^-]+)\.whl", path.name).groups()
    target = path.with_name(f"{name}-{version}-py3-none-{platform}.whl")
    made = path.with_name(target.name + ".part")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as wheel:
        info = f"{name}-{version}.dist-info/"
        tags = re.sub(rb"(?m)^Tag: .*$", f"Tag: py3-none-{platform}".encode(), source.read(info + "WHEEL"))
        changed = {info + "WHEEL": tags}
        if licenses is not None:
            changed[info + "licenses/NOTICES"] = licenses
        for entry in source.infolist():
            if entry.filename not in changed and entry.filename != info + "RECORD":
                wheel.writestr(entry, source.read(entry), zipfile.ZIP_DEFLATED)
        for file, data in changed.items():
            wheel.writestr(file, data)
        rows = [row for row in source.read(info + "RECORD").decode().splitlines() if row.partition(",")[0] not in changed]
        wheel.writestr(info + "RECORD", "\n".join([*rows, *(_row(file, data) for file, data in changed.items()), ""]))
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
    return complete(pathlib.Path(wheel_directory) / name, notices()).name


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
