"""Checks that no number goes through the program's locale: printf's and scanf's floating-point formats, strtod and
its kin, and functions on characters that follow the locale, belong to lib/base/number.c and platform.c alone.

Usage: check_numbers.py PROJECT_ROOT. Prints each breach as path:line: reason and exits with 1 if there is one.
"""

import pathlib
import re
import sys

ALLOWED = {"base/number.c", "base/platform.c"}
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
# "{% if" in a string is a block of a chat template.
FORMAT = re.compile(r"(?<!\{)%[-+ #0']*(?:\d+|\*)?(?:\.(?:\d+|\*)?)?L?l?([aAeEfFgG])")
CALL = re.compile(
    r"\b(strtod|strtof|strtold|strtod_l|atof|strfrom[dfl]|localeconv|nl_langinfo|"
    r"is(?:alnum|alpha|blank|cntrl|digit|graph|lower|print|punct|space|upper|xdigit)|to(?:lower|upper)|"
    r"str(?:n?casecmp|coll|xfrm)|strftime|wcs\w+|mbs?r?towcs?|wcrtomb)\s*\("
)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def breaches(text):
    text = COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)
    for number, line in enumerate(text.splitlines(), 1):
        for literal in STRING.findall(line):
            match = FORMAT.search(literal.replace("%%", ""))
            if match:
                yield number, f"{match.group(0)} follows the locale: tlmi_number_text or TLMI_G does not"
        match = CALL.search(STRING.sub('""', line))
        if match:
            yield number, f"{match.group(1)} follows the locale"


def main(root):
    found = 0
    for path in sorted((root / "lib").rglob("*.[ch]")):
        if path.relative_to(root / "lib").as_posix() in ALLOWED:
            continue
        for number, reason in breaches(path.read_text(encoding="utf-8")):
            print(f"{path.relative_to(root)}:{number}: {reason}")
            found += 1
    # The check itself has to see what it is for.
    if len(list(breaches('printf("%d%% %.3g");\nx = strtod(a, b);\n'))) != 2:
        print("check_numbers.py: does not find what it should")
        found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
