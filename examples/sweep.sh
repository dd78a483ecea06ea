#!/bin/sh
# Trains the same small model with several learning rates and several batch sizes, and draws all runs on one page.
#     sweep.sh PROGRAMS TRAIN VALID DIRECTORY [OPTION OF train_lm]...
# PROGRAMS is the directory of train_lm and report; TRAIN and VALID are token files. Environment variables choose the
# runs: RATES (default "1e-3 3e-3 1e-2 3e-2 1e-1") at a batch of 8, then BATCHES (default "1 4 16 64") with the same
# number of tokens per run, at RATE (default 6e-3). STEPS (default 300) is the number of steps at a batch of 8. An empty
# list skips its sweep. Finished runs are not repeated; a run that diverged is drawn up to that point.
set -eu
[ $# -ge 4 ] || {
    sed -n '2,7s/^# //p' "$0" >&2
    exit 2
}
programs=$1
train=$2
valid=$3
directory=$4
shift 4
steps=${STEPS:-300}
mkdir -p "$directory"

# run NAME STEPS OPTION...: trains with ten validations, and a warm-up over a tenth of the steps.
run() {
    name=$1
    run_steps=$2
    shift 2
    [ ! -e "$directory/$name/done" ] || return 0
    rm -rf "${directory:?}/$name"
    echo "== $name"
    "$programs/train_lm" --train "$train" --valid "$valid" --output-dir "$directory/$name" --keep 1 \
        --steps "$run_steps" --warmup $((run_steps / 10)) --min-rate 0 --log-every "$run_steps" \
        --eval-every $(((run_steps + 9) / 10)) "$@" || echo "$name ended with status $?"
    touch "$directory/$name/done"
}

# draw PAGE AXIS RUN...: draws the page of these runs.
draw() {
    page=$1
    axis=$2
    shift 2
    "$programs/report" --output "$directory/$page" --x "$axis" "$@"
}

names=
for rate in ${RATES-1e-3 3e-3 1e-2 3e-2 1e-1}; do
    run "rate-$rate" "$steps" --rate "$rate" "$@"
    names="$names $directory/rate-$rate"
done
# shellcheck disable=SC2086 # a list of words, here and below
[ -z "$names" ] || draw learning-rates.html steps $names
all=$names
names=
for batch in ${BATCHES-1 4 16 64}; do
    batch_steps=$((steps * 8 / batch))
    [ "$batch_steps" -ge 1 ] || batch_steps=1
    run "batch-$batch" "$batch_steps" --rate "${RATE:-6e-3}" --batch "$batch" "$@"
    names="$names $directory/batch-$batch"
done
# shellcheck disable=SC2086
[ -z "$names" ] || draw batch-sizes.html tokens $names
# shellcheck disable=SC2086
[ -z "$all$names" ] || draw report.html tokens $all $names
