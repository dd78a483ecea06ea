/* The directory of a run: who may write to it, and where a run goes on. */
#ifndef EXAMPLES_RUN_DIRECTORY_H
#define EXAMPLES_RUN_DIRECTORY_H

#include "support/cli.h"

/* Path of a file in the directory of --output-dir; one of a few static buffers. */
const char *run_directory_path(const char *name);

/* The checkpoint of --resume: that file, or the latest whole one of a run's directory. NULL without
 * --resume, and for a run that ended before its first checkpoint, which then starts from the beginning.
 * Ends the program for anything else. */
const char *run_directory_checkpoint(void);

/* Creates the directory of --output-dir and keeps other processes from it. Ends the program if one
 * writes to it now, or, unless a run is resumed, if there is a checkpoint in it. */
void run_directory_open(void);

/* Describes the run and where it runs, for its report. */
void run_info_write(const char *path, const tlm_model_t *model, const tlm_dataset_t *train,
                    const tlm_dataset_t *valid, int32_t num_ranks);

#endif
