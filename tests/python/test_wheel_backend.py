"""The build backend: what it says where something is missing, and what it makes of a wheel of meson-python."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "python"))
import wheel_backend  # noqa: E402


def hook(name, **environment):
    """Calls a hook in a process of its own, as pip does."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'examples' / 'python')!r}); import wheel_backend; wheel_backend.{name}"
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)


class MissingTest(unittest.TestCase):
    def test_libraries(self):
        for call in ("get_requires_for_build_wheel()", "build_wheel('.')"):
            done = hook(call, PKG_CONFIG_LIBDIR="/nowhere", PKG_CONFIG_PATH="")
            self.assertEqual(done.returncode, 1)
            self.assertIn("sudo apt install", done.stderr)
            for package in ("libonig-dev", "libutf8proc-dev", "liblzma-dev"):
                self.assertIn(package, done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_tools(self):
        with tempfile.TemporaryDirectory() as folder:
            done = hook("get_requires_for_build_wheel()", PATH=folder, CC="")
            self.assertIn("build-essential", done.stderr)
            self.assertIn("pkg-config", done.stderr)
            self.assertNotIn("Traceback", done.stderr)
        self.assertIn("build-essential", hook("get_requires_for_build_wheel()", CC="no-such-compiler").stderr)

    def test_meson_says_it_too(self):
        with tempfile.TemporaryDirectory() as folder:
            try:
                done = subprocess.run(["meson", "setup", os.path.join(folder, "build"), str(ROOT), "-Dtests=false",
                                       "-Dexamples=false"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                      check=False, env={**os.environ, "PKG_CONFIG_LIBDIR": "/nowhere", "PKG_CONFIG_PATH": ""})
            except FileNotFoundError:
                self.skipTest("no meson")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("apt install libonig-dev libutf8proc-dev liblzma-dev", done.stdout)


class CompleteTest(unittest.TestCase):
    INFO = "tinylm-0.2.0.dist-info/"

    def complete(self, folder, licenses):
        path = pathlib.Path(folder, "tinylm-0.2.0-cp311-cp311-linux_x86_64.whl")
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("tinylm/__init__.py", "x = 1\n")
            wheel.writestr(self.INFO + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-linux_x86_64\n")
            wheel.writestr(self.INFO + "RECORD", "tinylm/__init__.py,sha256=a,6\n"
                           f"{self.INFO}WHEEL,sha256=b,1\n{self.INFO}RECORD,,\n")
        made = wheel_backend.complete(path, licenses)
        self.assertEqual(made.name, "tinylm-0.2.0-py3-none-linux_x86_64.whl")
        self.assertEqual(os.listdir(folder), [made.name])
        with zipfile.ZipFile(made) as wheel:
            self.assertEqual(wheel.testzip(), None)
            files = {name: wheel.read(name) for name in wheel.namelist()}
            self.assertEqual(len(files), len(wheel.namelist()))  # none twice
        rows = dict(row.split(",", 1) for row in files[self.INFO + "RECORD"].decode().splitlines())
        self.assertEqual(sorted(rows), sorted(files))
        self.assertEqual(rows["tinylm/__init__.py"], "sha256=a,6")
        for name in (self.INFO + "WHEEL", *([self.INFO + "licenses/NOTICES"] if licenses else [])):
            self.assertEqual(rows[name], f"{wheel_backend._digest(files[name])},{len(files[name])}")
        return files

    def test_tag_and_licenses(self):
        for licenses in (None, "of others: caf\u00e9".encode()):
            with tempfile.TemporaryDirectory() as folder:
                files = self.complete(folder, licenses)
                self.assertIn(b"Root-Is-Purelib: false\nTag: py3-none-linux_x86_64\n", files[self.INFO + "WHEEL"])
                self.assertEqual(files.get(self.INFO + "licenses/NOTICES"), licenses)


if __name__ == "__main__":
    unittest.main(verbosity=2)
