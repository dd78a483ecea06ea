/* Runs a fuzz target without libFuzzer: on each file of a directory, on all that it begins with, and on
 * copies of it with a few bytes changed, always the same ones.
 *
 *     fuzz_encode DIRECTORY */
#include <dirent.h>

#include "fuzz_support.h"

/* In place of the C library's: what targets save need not outlive the machine. */
int fsync(int file)
{
    (void)file;
    return 0;
}

#define CHANGES     300 /* changed copies of a file */
#define TRUNCATIONS 300 /* beginnings of a file, evenly spread */

/* A linear congruential generator, Knuth's MMIX constants. */
static size_t draw(uint64_t *state, size_t bound)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(*state >> 33) % bound;
}

/* From a block of just that size, so that reading past its end is seen. */
static void run(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size + (size == 0));

    FUZZ_CHECK(copy != NULL);
    if (size > 0)
        memcpy(copy, bytes, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_changed(uint8_t *bytes, size_t size)
{
    static const uint8_t values[] = {0,   1,   ' ',  '"',  ',',  '0', '9',
                                     '{', '}', 0x7F, 0x80, 0xC3, 0xFF};
    uint64_t state = size;

    for (int i = 0; i < CHANGES && size > 0; i++) {
        uint8_t *copy = malloc(size);

        FUZZ_CHECK(copy != NULL);
        memcpy(copy, bytes, size);
        for (size_t n = 1 + draw(&state, 3); n > 0; n--)
            copy[draw(&state, size)] =
                draw(&state, 2) ? values[draw(&state, sizeof(values))] : (uint8_t)draw(&state, 256);
        run(copy, size);
        free(copy);
    }
}

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    static uint8_t bytes[1 << 20];
    size_t size, step;

    FUZZ_CHECK(file != NULL);
    size = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    run(bytes, size);
    step = 1 + size / TRUNCATIONS;
    for (size_t cut = 0; cut < size; cut += step)
        run(bytes, cut);
    run_changed(bytes, size);
}

int main(int argc, char **argv)
{
    DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
    struct dirent *entry;
    int files = 0;

    if (directory == NULL) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    while ((entry = readdir(directory)) != NULL) {
        char path[4096];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        run_file(path);
        files++;
    }
    closedir(directory);
    printf("%d files\n", files);
    return files > 0 ? 0 : 1;
}
