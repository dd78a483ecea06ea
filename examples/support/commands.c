/* Lists the programs. */
#include "support/commands.h"

extern const cli_program_t train_bpe_program, tokenize_program, train_program, finetune_program,
    generate_program, chat_program, score_program, convert_program, model_info_program,
    report_program, sweep_program, make_stories_program, sgd_learning_rates_program,
    unicode_bytes_program;

const cli_program_t *const all_programs[] = {&train_bpe_program,
                                             &tokenize_program,
                                             &train_program,
                                             &finetune_program,
                                             &generate_program,
                                             &chat_program,
                                             &score_program,
                                             &convert_program,
                                             &model_info_program,
                                             &report_program,
                                             &sweep_program,
                                             &make_stories_program,
                                             &sgd_learning_rates_program,
                                             &unicode_bytes_program,
                                             NULL};
