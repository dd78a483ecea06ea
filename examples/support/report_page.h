/* A page of curves: training loss, validation loss and learning rate of runs, side by side. One HTML
 * file that includes its drawings and needs no network; or only the drawings, as SVG. */
#ifndef EXAMPLES_REPORT_PAGE_H
#define EXAMPLES_REPORT_PAGE_H

#include <stdbool.h>
#include <stddef.h>

/* Draws the runs whose directories (with log.jsonl) are given, over steps or over tokens. A path
 * that ends in .svg gets only the drawing. Errors end the program. */
void report_page_write(const char *path, const char *const *directories, size_t n,
                       bool over_tokens);

#endif
