/* Event files, as TensorBoard reads them: numbers by name and step. */
#ifndef EXAMPLES_EVENT_FILE_H
#define EXAMPLES_EVENT_FILE_H

#include <stdint.h>
#include <stdio.h>

typedef struct event_scalar {
    const char *tag; /* "train/loss" */
    double value;    /* written as float32 */
} event_scalar_t;

/* Opens a file to append to. Events of later steps than `last`, and an incomplete record at the end,
 * are removed. Ends the program on failure. */
FILE *event_file_open(const char *path, uint64_t last);

/* Appends one event of n scalars. */
void event_file_add(FILE *file, uint64_t step, const event_scalar_t *scalars, size_t n);

#endif
