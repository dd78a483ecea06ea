"""Runs test programs of a build on an emulated CPU with AVX-512 (a Skylake-X), for machines whose own CPU has none.

Bochs boots Debian's kernel with the programs in its first file system; they report over the serial line. The machine
has one core of 10 to 40 million instructions per second: short programs take minutes. Instruction sets that Bochs 2.7
does not know (VNNI and BF16 of AVX-512) stay unused there.

Usage: avx512.py BUILD [PROGRAM...]    PROGRAM is a path below BUILD/tests; without one, the tests of the kernels run.
  --work DIRECTORY   keeps the kernel, the disc and the logs there
  --limit SECONDS    of the whole run (default 3600)

It ends on "N passed, N failed"; exits with 77 where a package is missing, 2 if the machine did not reach the end or has
no AVX-512. Debian's packages: bochs bochs-term bochsbios vgabios xorriso isolinux syslinux-common busybox-static cpio.
The kernel is that of linux-image-cloud-amd64, downloaded with apt-get and not installed.
"""

import argparse
import glob
import gzip
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

PROGRAMS = ["base/test_cpu", "kernels/checkkernels", "kernels/test_vector_math", "kernels/test_gemm",
            "kernels/test_weight", "nn/test_losses"]
TOOLS = {"bochs": "bochs", "xorriso": "xorriso", "busybox": "busybox-static", "cpio": "cpio", "script": "bsdutils"}
FILES = {"/usr/lib/ISOLINUX/isolinux.bin": "isolinux", "/usr/lib/syslinux/modules/bios/ldlinux.c32": "syslinux-common",
         "/usr/share/bochs/BIOS-bochs-latest": "bochsbios", "/usr/share/bochs/VGABIOS-lgpl-latest": "vgabios"}
APPLETS = ["cat", "cut", "dd", "grep", "mount", "poweroff", "printf", "sed", "sh", "sleep", "tail"]

# The first program. Check does not fork, except where a test changes the environment of its process. At the end it
# writes to Bochs's own port, which ends the emulator.
INIT = """#!/bin/sh
export PATH=/bin HOME=/tmp TMPDIR=/tmp
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
cd /tmp
echo "FLAGS" $(grep -m 1 ^flags /proc/cpuinfo | cut -d: -f2)
while read -r name; do
    echo "START $name"
    fork=no
    [ "$name" != test_cpu ] || fork=yes
    CK_FORK=$fork "/programs/$name" >log 2>&1 </dev/null
    status=$?
    tail -n 20 log
    [ $status = 0 ] && echo "PASS $name" || echo "FAIL $name: status $status"
done </programs/list
echo END
sleep 1
for letter in S h u t d o w n; do printf $letter | dd of=/dev/port bs=1 seek=35072 count=1 2>/dev/null; done
poweroff -f
"""

# Linux switches AVX off when the compacted size of XSAVE (features 321 and 323) is not the sum of its parts, as in
# Bochs 2.7; without these two features it uses the plain one.
ISOLINUX = """default linux
prompt 0
label linux
 kernel vmlinuz
 append initrd=initrd.gz rdinit=/init console=ttyS0,115200 quiet loglevel=1 nokaslr mitigations=off nosmp \
clearcpuid=321,323 tsc=reliable no_timer_check nowatchdog random.trust_cpu=on panic=1
"""

# The dummy drivers: this version of Bochs aborts where there is no sound card.
BOCHS = """megs: 1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path={work}/disc.iso, status=inserted
boot: cdrom
cpu: model=corei7_skylake_x, count=1, ips=200000000, reset_on_triple_fault=0
clock: sync=none
com1: enabled=1, mode=file, dev={work}/serial.txt
speaker: enabled=0
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
display_library: term
log: {work}/bochs.log
panic: action=fatal
"""


def missing_packages():
    return sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)} |
                  {package for file, package in FILES.items() if not os.path.exists(file)})


def kernel(work):
    """The path of a kernel below `work`, downloaded if it is not there yet."""
    pattern = str(work / "kernel" / "boot" / "vmlinuz-*")
    if not glob.glob(pattern):
        depends = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], check=True, text=True,
                                 stdout=subprocess.PIPE).stdout
        package = re.search(r"Depends: (linux-image-\S+)", depends).group(1)
        subprocess.run(["apt-get", "download", "-qq", package], cwd=work, check=True)
        subprocess.run(["dpkg", "-x", *glob.glob(str(work / f"{package}_*.deb")), "kernel"], cwd=work, check=True)
    return glob.glob(pattern)[0]


def add_program(root, program):
    """Copies a program, without its debug information, and the libraries that it loads."""
    subprocess.run(["strip", "-g", "-o", root / "programs" / program.name, program], check=True)
    loaded = subprocess.run(["ldd", program], check=True, text=True, stdout=subprocess.PIPE).stdout
    for library in re.findall(r"(/\S+)", loaded):
        copy = root / library.lstrip("/")
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(os.path.realpath(library), copy)
            copy.chmod(0o755)
    with open(root / "programs" / "list", "a", encoding="ascii") as names:
        names.write(f"{program.name}\n")


def make_disc(work, programs):
    root, disc = work / "root", work / "disc"
    for folder in (root, disc):
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "dev", "proc", "sys", "tmp", "programs"):
        (root / name).mkdir(parents=True)
    disc.mkdir()
    shutil.copy(shutil.which("busybox"), root / "bin" / "busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    for program in programs:
        add_program(root, program)
    (root / "init").write_text(INIT, encoding="ascii")
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(), check=True,
                             stdout=subprocess.PIPE).stdout
    (disc / "initrd.gz").write_bytes(gzip.compress(archive, 1))
    shutil.copyfile(kernel(work), disc / "vmlinuz")
    for file in ("/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32"):
        shutil.copy(file, disc)
    (disc / "isolinux.cfg").write_text(ISOLINUX, encoding="ascii")
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", work / "disc.iso", "-b", "isolinux.bin", "-c",
                    "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", disc], check=True,
                   stderr=subprocess.DEVNULL)


def read_screen(path):
    """Reads what Bochs draws on a terminal of its own, until it ends: nobody else does, and it would wait in the end."""
    screen = os.open(path, os.O_RDONLY | os.O_NOCTTY)
    try:
        while os.read(screen, 1 << 16):
            pass
    except OSError:  # the terminal went with Bochs
        pass
    finally:
        os.close(screen)


def emulate(work, limit):
    """Runs the machine, shows what it says as it comes, and returns all of it."""
    serial = work / "serial.txt"
    for file in (serial, work / "bochs.out"):
        file.write_bytes(b"")
    (work / "bochsrc").write_text(BOCHS.format(work=work), encoding="utf-8")
    (work / "debugger.rc").write_text("c\n", encoding="ascii")  # Debian's Bochs starts in its debugger: continue
    command = f"bochs -q -f {work}/bochsrc -rc {work}/debugger.rc"
    machine = subprocess.Popen(["script", "-qfec", command, work / "bochs.out"], start_new_session=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=os.environ | {"TERM": "xterm"})  # its display is a terminal
    shown, end = 0, time.monotonic() + limit
    screen = None
    try:
        while time.monotonic() < end:
            ended = machine.poll() is not None
            named = re.search(r'connected to screen "(/dev/\S+)"', (work / "bochs.out").read_text(errors="replace"))
            if named and screen is None:
                screen = threading.Thread(target=read_screen, args=[named.group(1)], daemon=True)
                screen.start()
            text = serial.read_bytes().decode(errors="replace").replace("\r", "")
            whole = text.rfind("\n") + 1
            print(text[shown:whole], end="", flush=True)
            shown = max(shown, whole)
            if ended or re.search(r"^END$", text, re.MULTILINE):
                break
            time.sleep(1)
    finally:
        if machine.poll() is None:
            os.killpg(machine.pid, signal.SIGKILL)
        machine.wait()
    return serial.read_bytes().decode(errors="replace").replace("\r", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("programs", nargs="*", default=PROGRAMS)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--limit", type=float, default=3600.0)
    options = parser.parse_args()
    missing = missing_packages()
    if missing:
        print("skipped: missing packages:", *missing)
        return 77
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or pathlib.Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        make_disc(work, [(options.build / "tests" / name).resolve() for name in options.programs])
        text = emulate(work, options.limit)
    passed = len(re.findall(r"^PASS ", text, re.MULTILINE))
    print(f"{passed} passed, {len(options.programs) - passed} failed")
    if not re.search(r"^END$", text, re.MULTILINE) or not re.search(r"^FLAGS .*\bavx512vl\b", text, re.MULTILINE):
        print("the emulated machine did not reach the end, or has no AVX-512", file=sys.stderr)
        return 2
    return 0 if passed == len(options.programs) else 1


if __name__ == "__main__":
    sys.exit(main())
