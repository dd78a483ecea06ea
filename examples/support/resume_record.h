/* What a checkpoint holds of the run that wrote it, as options of train_lm. */
#ifndef EXAMPLES_RESUME_RECORD_H
#define EXAMPLES_RESUME_RECORD_H

/* Gives the options that were not given the values that they had. Groups of --group are not told by a
 * checkpoint; what it does not hold, or not as an option, stays as it is. */
void resume_record_adopt(const char *path);

#endif
