/* What help says of the options that several programs have: HELP_NAME for --name. An option of one name is of
 * one kind and means one thing everywhere; what a program adds stands behind it, after a comma, a
 * semicolon or a colon. */
#ifndef EXAMPLES_OPTION_HELP_H
#define EXAMPLES_OPTION_HELP_H

/* clang-format off */
#define HELP_ADAPTER        "folder of PEFT with adapters of the model"
#define HELP_BATCH          "sequences per batch"
#define HELP_BATCH_START    "sequences per batch in the first step, which grow to --batch; 0: --batch from the start"
#define HELP_BATCH_WARMUP   "steps over which the batch grows"
#define HELP_CHAT_TEMPLATE  "name such as chatml or llama3, or path, of a chat template"
#define HELP_CHAT_VARIABLES "variables of the chat template as JSON, such as {\"enable_thinking\": false}"
#define HELP_CHECKPOINTING  "recompute activations in backward: less memory, more time"
#define HELP_CONTEXT        "tokens per sequence"
#define HELP_EMA            "decay of the moving average of the weights; 0: none"
#define HELP_FREEZE         "parameters that stay as they are: patterns of names, separated by commas"
#define HELP_LORA_RANK      "rank of adapters; 0: none"
#define HELP_LORA_TARGETS   "layers with adapters: names such as q_proj, patterns, or all-linear"
#define HELP_MERGES         "and merges.txt"
#define HELP_MODEL          "checkpoint, folder of transformers or GGUF file"
#define HELP_MPI            "share the work with the other ranks of mpirun; the results are the same"
#define HELP_OPTIMIZER      "muon is for hidden matrices, with adamw for the rest"
#define HELP_OUTPUT         "what to write"
#define HELP_OUTPUT_DIR     "directory to fill"
#define HELP_PROMPT         "text to continue"
#define HELP_SEED           "seed of the random numbers"
#define HELP_SPECIAL        "special token, '' for none"
#define HELP_STEPS          "steps in all"
#define HELP_SYSTEM         "a system message"
#define HELP_THREADS        "threads; 0: one per CPU"
#define HELP_TOKENIZER      "tokenizer.json, rank file, or directory"
#define HELP_VOCAB          "or: vocab.json"
#define HELP_VOCAB_SIZE     "ids in the vocabulary"
#define HELP_WEIGHTS        "type of the weights"
/* clang-format on */

/* Of a tokenizer that is loaded. */
#define HELP_LOADED_SPECIAL                                                                        \
    HELP_SPECIAL "; by default <|endoftext|> with --vocab, and with --tokenizer the file's own"

#endif
