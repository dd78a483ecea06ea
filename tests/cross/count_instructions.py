"""Counts the instructions of one call of each kernel under qemu-user, for each set of CPU features.

Usage: count_instructions.py CHECKKERNELS SET... -- QEMU...
CHECKKERNELS is the program tests/kernels/checkkernels of a cross build, SET a name that it prints ("scalar", "neon",
"all", "-i8mm"), QEMU the command that runs it. Prints a table in Markdown: instructions per call, and how many times
fewer they are than the first set's. Counted is all that runs between begin_call and end_call, the call's own loops and
the C library included. What an instruction costs on a real CPU is not known.
"""

import re
import subprocess
import sys

TRACE = re.compile(rb"\[[0-9a-f]+/([0-9a-f]+)/")


def address(line):
    return int(line, 16)


def counts(program, set_name, qemu):
    """Name of each kernel -> instructions of one call."""
    # qemu puts a program at the same address in every run.
    begin = address(subprocess.run([*qemu, program, "--calls", "-"], capture_output=True, text=True).stdout)
    listing = subprocess.run(["readelf", "-sW", program], check=True, capture_output=True, text=True).stdout
    places = {fields[-1]: address(fields[1]) for fields in map(str.split, listing.splitlines())
              if fields and fields[-1] in ("begin_call", "end_call")}
    end = begin + places["end_call"] - places["begin_call"]
    command = [*qemu, "-singlestep", "-d", "exec,nochain", "-D", "/dev/stderr", program, "--calls", set_name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        calls, count, inside = [], 0, False
        for line in process.stderr:
            match = TRACE.search(line)
            if match is None:
                continue
            pc = int(match.group(1), 16)
            if pc == begin:
                inside, count = True, 0
            elif pc == end and inside:
                inside = False
                calls.append(count)
            count += inside
        names = process.stdout.read().decode().split()[1:]
    if process.returncode != 0:
        sys.exit(f"count_instructions.py: {set_name}: exit status {process.returncode}")
    return dict(zip(names, calls, strict=True))


def main(arguments):
    split = arguments.index("--")
    program, sets, qemu = arguments[0], arguments[1:split], arguments[split + 1:]
    tables = [counts(program, name, qemu) for name in sets]
    print("| kernel | " + " | ".join(sets) + " |")
    print("|---" * (len(sets) + 1) + "|")
    for name, plain in tables[0].items():
        cells = [f"{plain:,}"]
        cells += [f"{table[name]:,} ({plain / table[name]:.1f})" for table in tables[1:]]
        print(f"| `{name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
