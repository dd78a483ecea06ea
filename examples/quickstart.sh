#!/bin/sh
# From a bare checkout to a generated story: installs missing packages and builds the library in build/.
# Then it writes a corpus in demo/, trains a tokenizer and a small language model, and generates a story.
# It downloads nothing except packages, and takes a few minutes on two cores.
#     STEPS=3000 sh examples/quickstart.sh     trains for longer
set -eu
cd "$(dirname "$0")/.."
STEPS=${STEPS:-1200}

# Prints a command, then runs it.
run() {
    printf '\n$'
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./=:,-]*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

# Prints the first of the named commands that runs: a version manager may put one on PATH that does not.
working() {
    for command in "$@"; do
        if "$command" --version >/dev/null 2>&1; then
            echo "$command"
            return
        fi
    done
    echo "quickstart.sh: none of these runs: $*" >&2
    return 1
}

run sh tests/install_dependencies.sh
meson=$(working meson /usr/bin/meson)
NINJA=$(working ninja /usr/bin/ninja)
export NINJA

# An existing build directory is kept if it belongs to this checkout and can be reconfigured.
if [ -e build ] && ! { grep -qsF "\"source\": \"$(pwd -P)\"" build/meson-info/meson-info.json &&
    run "$meson" setup --reconfigure build -Dexamples=true; }; then
    rm -rf build
fi
[ -e build ] || run "$meson" setup build --buildtype=release
run "$meson" compile -C build

bin=build/examples
tokenizer='--vocab demo/vocab.json --merges demo/merges.txt'
mkdir -p demo
run $bin/make_stories --bytes 8000000 --seed 1 --output demo/train.txt
run $bin/make_stories --bytes 300000 --seed 2 --output demo/valid.txt
# shellcheck disable=SC2086 # $tokenizer is a list of words
{
    run $bin/train_bpe --vocab-size 1024 $tokenizer demo/train.txt
    run $bin/tokenize $tokenizer --output demo/train.u16 --check demo/train.txt
    run $bin/tokenize $tokenizer --output demo/valid.u16 --check demo/valid.txt
    run $bin/train_lm --train demo/train.u16 --valid demo/valid.u16 --vocab-size 1024 \
        --context 128 --d-model 128 --layers 4 --heads 4 --batch 8 --rate 6e-3 --steps "$STEPS" \
        $tokenizer --output demo/model.safetensors
    run $bin/generate --model demo/model.safetensors \
        --prompt 'Once upon a time, there was' --temperature 0.8 --top-p 0.95 --seed 1
}
