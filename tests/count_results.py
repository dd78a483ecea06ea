"""Prints "N passed, N failed, N skipped" over the logs of some test runs.

A log is a testlog*.json in a build directory's meson-logs: one JSON object a line, one line a test.
Exits with 1 if a test failed, a log is missing, or nothing ran.
"""

import json
import sys

PASSED = {"OK", "EXPECTEDFAIL"}


def results(path):
    with open(path, encoding="utf-8") as log:
        return [json.loads(line)["result"] for line in log if line.strip()]


def main(paths):
    passed = failed = skipped = 0
    for path in paths:
        try:
            for result in results(path):
                if result in PASSED:
                    passed += 1
                elif result == "SKIP":
                    skipped += 1
                else:
                    failed += 1
        except OSError as error:
            print(f"count_results.py: {error}", file=sys.stderr)
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
