"""What the tests of the Python package share."""

import signal

TEXT = "the cat sat on the mat, the rat sat on the cat: caf\u00e9 \u4f60\u597d\n" * 20
END = "<|endoftext|>"
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def setUpModule():
    """Ctrl-C raises KeyboardInterrupt also where the tests run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
