#!/bin/sh
# Runs every demo program at its smallest, and checks what it prints, what it writes and how it fails.
#     test_examples.sh DIRECTORY_OF_THE_PROGRAMS
set -eu
bin=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
checks=0

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# passes COMMAND...: ends with 0; its output is left in the file out.
passes() {
    checks=$((checks + 1))
    "$@" >out 2>err || fail "status $?: $*: $(cat err)"
}

# fails STATUS TEXT COMMAND...: ends with that status and an error "program: ... TEXT ...".
fails() {
    expected=$1
    text=$2
    shift 2
    checks=$((checks + 1))
    status=0
    "$@" >out 2>err || status=$?
    [ "$status" -eq "$expected" ] || fail "status $status, not $expected: $*: $(cat err)"
    grep -q "^$(basename "$1"): .*$text" err || fail "no '$text' in the error of $*: $(cat err)"
}

prints() {
    checks=$((checks + 1))
    grep -q -- "$1" out || fail "no '$1' in: $(cat out)"
}

same() {
    checks=$((checks + 1))
    cmp -s "$1" "$2" || fail "$1 and $2 differ"
}

# ---- Every program has help and refuses what it does not know ----
for program in chat convert make_stories train_bpe tokenize train_lm generate model_info report score \
    sgd_learning_rates unicode_bytes; do
    passes "$bin/$program" --help
    prints "^Usage: $program"
    fails 2 'unknown option' "$bin/$program" --no-such-option
done

# ---- The small demos ----
passes "$bin/hello"
prints 'decoded: the cat sat on the mat'
passes "$bin/sgd_learning_rates"
prints 'rate 1 .*decays'
prints 'rate 10 .*decays'
prints 'rate 100 .*decays'
prints 'rate 1000.*diverges'
fails 2 'is negative' "$bin/sgd_learning_rates" --seed=-1
passes "$bin/unicode_bytes"
prints '5  12  24  Hello'
prints 'round trip is exact'
fails 2 'unexpected argument' "$bin/unicode_bytes" operand

if [ -x "$bin/count_cpp" ]; then # needs a C++ compiler
    passes "$bin/count_cpp"
    prints '^one two three -> four five six seven eight nine ten eleven twelve'
fi

# ---- What a model costs ----
passes "$bin/model_info" --vocab-size 50257 --context 16384 --d-model 1600 --layers 48 --heads 25 \
    --d-ff 6400 --batch 1 --full-attention --gflops 9750 --steps 400000 --memory 80 --checkpointing
prints '^  all  *2,127,057,600$'
prints '^  weights  *7.92 GiB$'
prints '^  attention scores  *82.5 TFLOP  *5.03 GFLOP  *55.2%$'
prints '^  recomputation '
prints '^  400000 steps  *[0-9.]* days'
prints '^Largest batch that trains in 80.0 GiB: [1-9]'
passes "$bin/model_info" --context 16 --d-model 16 --layers 1 --heads 2 --optimizer sgd
prints '^  linear layers .* GFLOP/s$'
prints '^  sgd .* million parameters/s$'
prints '^  a step .* tokens/s$'
passes "$bin/model_info" --context 16 --d-model 16 --layers 1 --heads 2 --batch 8 --ema 0.9 --gflops 1 \
    --batch-start 2 --batch-warmup 10 --steps 20
prints 'Batches grow from 2 sequences to that over 10 steps'
fails 2 '--ema 1 is not in' "$bin/model_info" --ema 1
fails 2 'need each other' "$bin/model_info" --batch-start 2
fails 2 'batch-start must be' "$bin/model_info" --batch-start 9 --batch-warmup 3
fails 1 'num_heads' "$bin/model_info" --d-model 100 --heads 7
fails 2 'optimizer must be one of adamw, sgd' "$bin/model_info" --optimizer adam
fails 1 'must not be negative' "$bin/model_info" --gflops -1

# ---- Stories: as large as asked for, the same for a seed, others for another ----
passes "$bin/make_stories" --bytes 200000 --seed 1 --output train.txt
passes "$bin/make_stories" --bytes 200000 --seed 1
same out train.txt
passes "$bin/make_stories" --bytes 20000 --seed 2 --output valid.txt
[ "$(wc -c <train.txt)" -ge 200000 ] || fail 'too few bytes of stories'
[ "$(wc -c <train.txt)" -lt 204096 ] || fail 'too many bytes of stories'
[ "$(tail -n 1 train.txt)" = '<|endoftext|>' ] || fail 'no mark after the last story'
grep -v endoftext train.txt >plain.txt
if grep -q '[][{}|]' plain.txt; then
    fail 'a template shows in a story'
fi
if [ "$(head -n 1 valid.txt)" = "$(head -n 1 train.txt)" ]; then
    fail 'two seeds give one story'
fi
fails 1 'No such file' "$bin/make_stories" --bytes 1 --output no/such/directory
fails 2 'is not a number' "$bin/make_stories" --bytes many

# ---- Tokenizer ----
tokenizer='--vocab vocab.json --merges merges.txt'
# shellcheck disable=SC2086 # $tokenizer is a list of words, here and below
{
    passes "$bin/train_bpe" --vocab-size 400 $tokenizer --output tokenizer.json train.txt
    prints 'learned 143 merges, 400 tokens'
    prints 'longest token: .* bytes)'
    fails 2 'vocab is missing' "$bin/train_bpe" --merges merges.txt train.txt
    fails 2 'no text file' "$bin/train_bpe" $tokenizer
    fails 1 'no-such-file' "$bin/train_bpe" $tokenizer no-such-file
    fails 2 'vocab-size must be' "$bin/train_bpe" --vocab-size 1 $tokenizer train.txt

    for type in u16 u32 npy; do
        passes "$bin/tokenize" $tokenizer --output "train.$type" --check train.txt valid.txt
        prints 'bytes/token'
        prints 'round trip: .* bytes equal'
        passes "$bin/tokenize" $tokenizer --output back.txt --decode "train.$type"
        cat train.txt valid.txt >both.txt
        same both.txt back.txt
    done
    passes "$bin/tokenize" $tokenizer --output mapped.u16 --check train.txt
    passes sh -c "cat train.txt | $bin/tokenize $tokenizer --output streamed.u16 /dev/stdin"
    same mapped.u16 streamed.u16
    passes "$bin/tokenize" $tokenizer --decode train.u16
    same both.txt out
    mkdir -p gpt2 && cp vocab.json merges.txt gpt2
    for form in tokenizer.json . 'gpt2 --special <|endoftext|>'; do
        passes "$bin/tokenize" --tokenizer $form --output form.u16 train.txt valid.txt
        same train.u16 form.u16
    done
    fails 2 'either --tokenizer' "$bin/tokenize" --output o.u16 train.txt
    fails 2 'either --tokenizer' "$bin/tokenize" $tokenizer --tokenizer . --output o.u16 train.txt
    printf 'caf\303\251 \377\000 \342\202' >odd.bin
    passes "$bin/tokenize" $tokenizer --output odd.npy --check odd.bin
    passes "$bin/tokenize" $tokenizer --stats train.txt valid.txt
    [ "$(grep -c '^longest token: ' out)" -eq 5 ] || fail 'not five longest tokens'
    prints '^train.txt: [0-9]* bytes, [0-9]* tokens, [1-9][.][0-9]* bytes/token, [0-9.]* MB/s'
    prints '^valid.txt: '
    prints "^all: $(wc -c <both.txt) bytes"
    prints 'the Pile (825 GiB) at this speed, one thread: [0-9.]* hours'
    fails 2 'writes nothing' "$bin/tokenize" $tokenizer --stats --output o.u16 train.txt
    fails 2 'output is missing' "$bin/tokenize" $tokenizer train.txt
    fails 1 'no-such-file' "$bin/tokenize" --vocab no-such-file --merges merges.txt --output o.u16 \
        train.txt
    printf '\377\377' >bad.u16
    fails 1 '65535' "$bin/tokenize" $tokenizer --decode bad.u16

    # ---- Training: saves, goes on where it stopped, and gives the same bits as without the stop ----
    passes "$bin/tokenize" $tokenizer --output train.u16 train.txt
    passes "$bin/tokenize" $tokenizer --output valid.u16 valid.txt
    train="$bin/train_lm --train train.u16 --valid valid.u16 --vocab-size 400 --context 16
        --d-model 16 --layers 1 --heads 2 --batch 4 --steps 30 --warmup 5 --log-every 10
        --eval-every 10 --eval-tokens 256"
    passes $train --save-every 20 --output whole.safetensors
    prints 'step *30/30 *loss .* tokens/s *ETA'
    prints 'validation loss .* token frequencies alone give'
    passes $train --output part.safetensors --stop-step 15
    prints 'step *15/30'
    passes $train --resume part.safetensors --output part.safetensors
    prints 'resumed after step 15'
    same whole.safetensors part.safetensors
    passes $train --output part.safetensors --stop-step 15
    passes "$bin/train_lm" --resume part.safetensors --train train.u16 --valid valid.u16 --eval-every 10 \
        --eval-tokens 256 --save-every 20 --output part.safetensors # which holds the other options
    same whole.safetensors part.safetensors
    passes $train --optimizer muon --muon-scale jordan --muon-iterations 4 --muon-nesterov=false \
        --adamw-decay 0 --beta2 0.9 --output muon.safetensors --stop-step 15
    for setting in '"scale":"jordan"' '"iterations":4' '"momentum_rule":"heavy_ball"' '"beta2":0.9' \
        '"weight_decay":0.0'; do
        tr -d '\\' <muon.safetensors | grep -a -q -F "$setting" || fail "no $setting in the checkpoint"
    done
    passes $train --optimizer muon --muon-nesterov=true --muon-scale moonlight --muon-iterations 5 \
        --adamw-decay 0.1 --beta2 0.95 --resume muon.safetensors
    passes $train --threads 1 --output one.safetensors
    same whole.safetensors one.safetensors
    passes $train --steps 2 --warmup 100 # a warm-up is over when the training is
    prints 'step *2/2'
    passes $train --resume whole.safetensors --steps 0 # evaluates only
    prints 'resumed after step 30'
    prints 'validation loss'
    fails 1 'no-such-file' $train --resume no-such-file
    passes $train $tokenizer --output told.safetensors --stop-step 15
    passes $train --resume told.safetensors --output told.safetensors # keeps the tokenizer
    passes $train $tokenizer --output-dir told --save-every 10
    fails 2 'either --tokenizer' $train --tokenizer vocab.json --merges merges.txt
    fails 1 'vocabulary' $train --vocab-size 300
    fails 2 'batch must be' $train --batch 0
    fails 2 'batch-start must be' $train --batch 4 --batch-start 5 --batch-warmup 3
    fails 2 'needs either --batch-warmup or' $train --batch 4 --batch-start 2
    fails 2 'need --batch-start' $train --batch 4 --batch-warmup 2
    fails 2 'no multiple of --batch-increment 2' $train --batch 4 --batch-start 1 \
        --batch-warmup 3 --batch-increment 2
    switched="$train --norm post --position none --ffn silu --tied --kv-heads 1 --head-dim 12 --qk-norm heads"
    passes $switched --output switched.safetensors --stop-step 10
    passes $switched --resume switched.safetensors --output switched.safetensors
    prints 'step *30/30'
    passes "$bin/generate" --model switched.safetensors $tokenizer --max-tokens 5 --prompt 'One day'
    fails 2 'norm must be one of pre, post, none' $train --norm past

    # ---- Generation: the prompt, then at most as many tokens as asked for; a seed fixes them ----
    generate="$bin/generate --model whole.safetensors $tokenizer --max-tokens 20"
    passes $generate --prompt 'One day' --temperature 0.8 --top-k 10 --top-p 0.9 --seed 3
    prints '^One day'
    mv out first
    passes $generate --prompt 'One day' --temperature 0.8 --top-k 10 --top-p 0.9 --seed 3
    same out first
    passes "$bin/generate" --model whole.safetensors --tokenizer tokenizer.json --max-tokens 20 \
        --prompt 'One day' --temperature 0.8 --top-k 10 --top-p 0.9 --seed 3
    same out first
    passes $generate --prompt 'One day' --temperature 0.8 --min-p 0.05 --repetition-penalty 1.2
    passes $generate --prompt 'One day' --seed 3 --temperature 0.8
    mv out first
    passes $generate --prompt 'One day' --seed 3 --temperature 0.8 --samples 3
    prints '^--- 3'
    sed -n '/^--- 1$/,/^--- 2$/p' out | sed '1d;$d' >sample
    same first sample
    stop=$(cut -c 12-14 first | head -n 1) # some text of the first line ends it
    passes $generate --prompt 'One day' --seed 3 --temperature 0.8 --stop "$stop"
    if tail -c +8 out | grep -qF -- "$stop"; then
        fail 'the stop text was printed'
    fi
    head -c "$(($(wc -c <out) - 1))" out >begin
    head -c "$(wc -c <begin)" first >expected
    same expected begin
    passes $generate --prompt 'One day' --seed 3 --temperature 0.8 --stop 'no such text' --stop "$stop"
    head -c "$(($(wc -c <out) - 1))" out >again
    same again begin
    passes "$bin/generate" --model whole.safetensors $tokenizer --prompt 'One day' --max-tokens 5000 \
        --past-context stop --cache float16 --end-token ''
    grep -q 'ended by context' err || fail "no end at the context: $(cat err)"
    fails 2 'past-context must be one of default, slide, stop, recompute' $generate --past-context ring
    passes $generate --score 'One day, a cat sat on a mat.'
    prints 'perplexity [0-9]'
    fails 1 'prompt is empty' $generate --prompt ''
    fails 1 'top_p' $generate --top-p 2
    fails 1 'no-such-file' "$bin/generate" --model no-such-file $tokenizer
    fails 2 'model is missing' "$bin/generate" $tokenizer

    # ---- Other formats: there and back the same weights, and the same text with no more said ----
    passes $generate --prompt 'One day'
    mv out first
    for model in told.safetensors told told/checkpoints; do # with the tokenizer that they hold
        passes "$bin/generate" --model $model --max-tokens 20 --prompt 'One day'
        same first out
    done
    fails 2 'either --tokenizer is needed' "$bin/generate" --model whole.safetensors
    fails 2 'either --tokenizer is needed' "$bin/generate" --model whole.safetensors --vocab vocab.json
    passes "$bin/convert" --to hf $tokenizer whole.safetensors folder
    prints '^folder: [0-9]* parameters, with a tokenizer'
    passes "$bin/convert" --to gguf folder model.gguf
    passes "$bin/convert" --to checkpoint model.gguf back.safetensors
    prints 'with a tokenizer'
    passes "$bin/convert" --to checkpoint --no-tokenizer model.gguf bare.safetensors
    prints 'no tokenizer'
    passes "$bin/generate" --model back.safetensors --max-tokens 20 --prompt 'One day'
    same first out
    passes "$bin/convert" --to gguf --weights float16 folder half.gguf
    for model in folder model.gguf; do
        passes "$bin/generate" --model $model --max-tokens 20 --prompt 'One day'
        same first out
    done
    passes "$bin/generate" --model half.gguf --max-tokens 20 --prompt 'One day'
    passes $generate --model bare.safetensors --prompt 'One day'
    same first out
    [ "$(wc -c <half.gguf)" -lt "$(wc -c <model.gguf)" ] || fail 'float16 is not smaller'
    # Quantized, with what it costs; again from the quantized file, which hands on its tokenizer.
    passes "$bin/convert" --to gguf --weights q4_1 --text valid.txt model.gguf q4_1.gguf
    prints 'the same tokenizer'
    prints '^perplexity of valid.txt, [0-9]* tokens: [0-9.]* before, [0-9.]* after$'
    passes "$bin/convert" --to gguf --weights q4_k_m q4_1.gguf q4_k_m.gguf
    prints 'perplexity: not measured'
    [ "$(wc -c <q4_1.gguf)" -lt "$(wc -c <half.gguf)" ] || fail 'q4_1 is not smaller'
    passes "$bin/generate" --model q4_k_m.gguf --max-tokens 20 --prompt 'One day'
    fails 1 'safetensors has no weights of type q8_0' "$bin/convert" --to hf --weights q8_0 model.gguf x
    fails 2 'checkpoints are float32, not q8_0' "$bin/convert" --to checkpoint --weights q8_0 model.gguf x
    fails 2 'adapters are float32, not q8_0' "$bin/convert" --to adapter --weights q8_0 model.gguf x
    fails 2 'text is for models' "$bin/convert" --to adapter --text valid.txt model.gguf x
    fails 1 'no tokenizer for the text' "$bin/convert" --to gguf --text valid.txt bare.safetensors x
    fails 1 'no-such-text' "$bin/convert" --to gguf --text no-such-text model.gguf x
    fails 2 'to must be one of' "$bin/convert" --to onnx folder x
    fails 2 'are needed, not 1' "$bin/convert" --to hf folder
    fails 1 'no-such-file' "$bin/convert" --to hf no-such-file x

    # ---- Chat: each line is answered; what was said before is in the cache ----
    printf 'One day\n\nthe cat\nand then\n' >lines
    printf '{%% for m in messages %%}{{ m.content }}.{%% endfor %%}' >own.jinja
    talk="$bin/generate --chat --max-tokens 3"
    passes $talk --model folder --chat-template own.jinja --system One <lines
    [ "$(wc -l <out)" -ge 3 ] || fail "not three answers: $(cat out)"
    [ "$(grep -c 'tokens, [0-9]* of them in the cache; ' err)" -eq 3 ] || fail "no counts: $(cat err)"
    grep -q 'tokens, 0 of them in the cache; 3 new' err || fail "the first turn: $(cat err)"
    grep -q 'tokens, [1-9][0-9]* of them in the cache' err || fail "nothing was in the cache: $(cat err)"
    grep -q 'are forgotten' err || fail "nothing was forgotten in a context of 16: $(cat err)"
    fails 1 'folder: there is no chat template; name one with --chat-template' $talk --model folder
    fails 1 'no-such: No such file' $talk --model folder --chat-template no-such
    fails 1 'sees only 16' $talk --model folder --chat-template chatml <lines
    cp own.jinja folder/chat_template.jinja
    passes $talk --model folder <lines
    cp out said
    passes "$bin/convert" --to gguf folder chat.gguf # the template goes along
    passes "$bin/convert" --to hf chat.gguf chat
    same own.jinja chat/chat_template.jinja
    for model in chat.gguf chat; do
        passes $talk --model $model <lines
        same said out
    done
    passes "$bin/convert" --to gguf --chat-template zephyr chat.gguf other.gguf
    fails 1 'sees only 16' $talk --model other.gguf <lines
    passes "$bin/convert" --to gguf --chat-template zephyr folder chat.gguf
    fails 1 'sees only 16' $talk --model chat.gguf <lines
    printf '{%% extends "x" %%}' >folder/chat_template.jinja
    passes "$bin/convert" --to gguf folder chat.gguf
    grep -q 'without the chat template: folder.chat_template.jinja: .* {% extends %} is not supported' err || fail "$(cat err)"
    fails 1 'line 1: {% extends %} is not supported (the template begins: {% extends' $talk --model folder
    printf '{{ raise_exception("never") }}' >folder/chat_template.jinja
    fails 1 'message 0 (user): never\|chat template: never' $talk --model folder <lines
    fails 1 'variables is not a JSON object' $talk --model folder --chat-template chatml \
        --chat-variables '[1]' <lines

    # ---- Scores ----
    passes "$bin/score" --model folder valid.txt
    prints '^valid.txt: [0-9]* tokens predicted, [0-9]* bytes, [0-9]* characters, [0-9]* words'
    prints 'perplexity [0-9.]* per token, [0-9.]* per byte'
    passes "$bin/score" --model q4_1.gguf --context 8 --stride 8 --json valid.txt train.txt
    [ "$(wc -l <out)" -eq 3 ] || fail 'not two files and a total'
    prints '^{"file": "total", "tokens": [0-9]*, .*"bits_per_byte": [0-9.]*}$'
    passes "$bin/score" --model folder --context 8 --json valid.txt
    printf '%s\n' '{"question": "One day a", "choices": ["cat", "$%#^"], "answer": 0}' '' \
        '{"context": "One day a", "choices": ["$%#^", "dog"], "answer": "B", "more": [1]}' \
        '{"context": "One day a", "choices": ["$%#^", "boy"], "answer": "$%#^"}' >questions
    passes "$bin/score" --model folder --choices questions
    prints '^questions: 3 questions, accuracy 0.6667 (+- 0.3333), by length '
    passes "$bin/score" --model folder --choices --json questions questions
    prints '^{"file": "total", "questions": 6, "accuracy": 0.6666666667'
    for wrong in '{"question": "a", "choices": ["b"], "answer": 0}' \
        '{"question": "a", "choices": ["b", "c"], "answer": 2}' \
        '{"question": "a", "choices": ["b", "c", 3], "answer": 0}' \
        '{"question": "a", "choices": ["b", "c"]}' '{"choices": ["b", "c"], "answer": 0}' '[1]' '{'; do
        printf '\n%s\n' "$wrong" >wrong
        fails 1 'wrong: line [12]' "$bin/score" --model folder --choices wrong
    done
    : >empty
    fails 1 'empty: there is nothing to predict in 0 tokens' "$bin/score" --model folder empty
    fails 1 'empty: this is an empty file' "$bin/score" --model folder --choices empty
    echo >blank
    fails 1 'nothing to predict' "$bin/score" --model folder blank
    fails 1 'there are no questions' "$bin/score" --model folder --choices blank
    fails 2 'a file to score is missing' "$bin/score" --model folder
    fails 2 'context must be' "$bin/score" --model folder --context 17 valid.txt
    fails 2 'stride must be' "$bin/score" --model folder --stride 17 valid.txt
}
echo "$checks checks passed"
