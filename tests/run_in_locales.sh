#!/bin/sh
# Runs test programs in locales whose decimal point is a comma, and one of more than one byte. The locales are made
# here, with localedef of the C library and the sources of Debian's package "locales"; skipped (77) without them, and where
# every program says with 77 that its C library has none (musl).
# Usage: run_in_locales.sh PROGRAM...    In a cross build, meson says in MESON_EXE_WRAPPER what runs them.
set -eu

folder=$(mktemp -d "${TMPDIR:-/tmp}/tinylm-locales-XXXXXX")
trap 'rm -rf "$folder"' EXIT
for name in de_DE ps_AF; do
    if ! command -v localedef >/dev/null 2>&1 || ! test -e "/usr/share/i18n/locales/$name"; then
        echo "skipped: no localedef, or no source of the locale $name"
        exit 77
    fi
    localedef --no-archive -c -i "$name" -f UTF-8 "$folder/$name.UTF-8" >/dev/null 2>&1 || true
    test -d "$folder/$name.UTF-8" || { echo "skipped: localedef made no $name.UTF-8"; exit 77; }
done

ran=0
failed=0
for name in de_DE ps_AF; do
    for program; do
        # What is left to find in the second one is a point of two bytes.
        case $name:$program in
        de_DE:* | *_number | *_json | *_checkpoint | *_trainer) ;;
        *) continue ;;
        esac
        echo "== $name: $(basename "$program")"
        status=0
        LOCPATH="$folder" TINYLM_TEST_LOCALE="$name.UTF-8" ${MESON_EXE_WRAPPER:-} "$program" || status=$?
        [ "$status" -eq 77 ] || ran=$((ran + 1))
        [ "$status" -eq 77 ] || [ "$status" -eq 0 ] || failed=$((failed + 1))
    done
done
[ "$ran" -gt 0 ] || exit 77
echo "$failed failed"
test "$failed" -eq 0
