/* Every kernel of every set of CPU features that this CPU has, against the portable one, and timed beside it.
 *
 *   checkkernels                 checks; the exit status is 1 if a kernel differs
 *   checkkernels --bench [NAME]  nanoseconds per call, and how many times faster than the portable kernel
 *   checkkernels --calls SET     calls each kernel of a set of features once, between calls of begin_call and
 *                                end_call, for tests/cross/count_instructions.py
 *   checkkernels --gemm-kernel   prints tlm_gemm_kernel_name of the features in use
 *
 * The entries come from the list of kernels in kernels.h: a kernel without a function call_<name> and a
 * tolerance_<name> here does not compile. call_<name> runs the kernel of a table once on the data, of a
 * size n, and leaves its results in the data. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/dtype.h"
#include "kernels/kernels.h"

enum { MOST = 1024, SPARE = 64, FLOATS = 9 * MOST + SPARE };

/* What a call reads and writes: x and bytes stay, y and r are the results. */
typedef struct data {
    _Alignas(64) float x[4][FLOATS];
    _Alignas(64) float y[3][FLOATS];
    double r;
    uint16_t bf16[FLOATS], f16[FLOATS]; /* of x[1] */
    uint8_t bytes[FLOATS];
    tlmi_byte_masks_t masks;
    int64_t shift; /* of all arrays: 0 to 3 floats */
    float *panels; /* of gemm_tile or pair_tile: packed for this shape and depth */
    const tlmi_gemm_shape_t *packed_for;
    int64_t packed_depth;
} data_t;

/* Results may differ by `tolerance` times the larger of 1 and their size; 0: the same bits. */
#define EXACT  0.0
#define CLOSE  2e-6 /* a few roundings */
#define SUMMED 1e-5 /* of up to MOST values of about 1, in another order or fused */

#define X(d, i) ((d)->x[i] + (d)->shift)
#define Y(d, i) ((d)->y[i] + (d)->shift)

/* Instructions are counted between calls of these two, which a trace shows: they are not inlined, and they differ, so
 * that the compiler does not make them one. */
static __attribute__((noinline)) void begin_call(void)
{
    __asm__ volatile("nop" : : : "memory");
}

static __attribute__((noinline)) void end_call(void)
{
    __asm__ volatile("nop\n\tnop" : : : "memory");
}

/* ---- One call of each kernel ------------------------------------------------------------ */

static const double tolerance_exp = CLOSE;
static void call_exp(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->exp(Y(d, 0), X(d, 0), n);
}

static const double tolerance_exp_sum = SUMMED;
static void call_exp_sum(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    d->r = (double)k->exp_sum(Y(d, 0), X(d, 0), 2.0f, n);
}

static const double tolerance_max = EXACT;
static void call_max(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    d->r = (double)k->max(X(d, 0), n);
}

static const double tolerance_sum = EXACT;
static void call_sum(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    d->r = (double)k->sum(X(d, 0), n);
}

static const double tolerance_dot = SUMMED;
static void call_dot(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    d->r = (double)k->dot(X(d, 0), X(d, 1), n);
}

static const double tolerance_dot_rows = SUMMED;
static void call_dot_rows(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->dot_rows(Y(d, 0), X(d, 0), X(d, 1), n + 1, 7, n);
}

static const double tolerance_dot_tile = SUMMED;
static void call_dot_tile(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->dot_tile(Y(d, 0), 9, X(d, 0), n + 2, 6, X(d, 1), n + 1, 7, n);
}

static const double tolerance_dot_tile_bf16 = SUMMED;
static void call_dot_tile_bf16(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->dot_tile_bf16(Y(d, 0), 9, X(d, 0), n + 2, 6, d->bf16 + d->shift, n + 1, 7, n);
}

static const double tolerance_dot_tile_f16 = SUMMED;
static void call_dot_tile_f16(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->dot_tile_f16(Y(d, 0), 9, X(d, 0), n + 2, 6, d->f16 + d->shift, n + 1, 7, n);
}

static const double tolerance_weighted_rows = CLOSE;
static void call_weighted_rows(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->weighted_rows(Y(d, 0), X(d, 0), X(d, 1), n + 1, 7, n);
}

static const double tolerance_weighted_rows_f16 = CLOSE;
static void call_weighted_rows_f16(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->weighted_rows_f16(Y(d, 0), X(d, 0), d->f16 + d->shift, n + 1, 7, n);
}

static const double tolerance_sum_squares = EXACT; /* the products are exact in float64 */
static void call_sum_squares(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    d->r = k->sum_squares(X(d, 0), n);
}

static const double tolerance_add = EXACT;
static void call_add(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->add(Y(d, 0), X(d, 0), X(d, 1), n);
}

static const double tolerance_mul = EXACT;
static void call_mul(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->mul(Y(d, 0), X(d, 0), X(d, 1), n);
}

static const double tolerance_mul_add = EXACT;
static void call_mul_add(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->mul_add(Y(d, 0), X(d, 0), X(d, 1), n);
}

static const double tolerance_scale = EXACT;
static void call_scale(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->scale(Y(d, 0), X(d, 0), -1.5f, n);
}

static const double tolerance_axpy = EXACT;
static void call_axpy(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->axpy(Y(d, 0), -0.5f, X(d, 0), n);
}

static const double tolerance_silu = CLOSE;
static void call_silu(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->silu(Y(d, 0), X(d, 0), n);
}

static const double tolerance_silu_backward = CLOSE;
static void call_silu_backward(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->silu_backward(Y(d, 0), X(d, 0), X(d, 1), false, n);
    k->silu_backward(Y(d, 1), X(d, 0), X(d, 1), true, n);
}

static const double tolerance_silu_mul = CLOSE;
static void call_silu_mul(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->silu_mul(Y(d, 0), X(d, 0), X(d, 1), n);
}

static const double tolerance_silu_mul_backward = CLOSE;
static void call_silu_mul_backward(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    k->silu_mul_backward(Y(d, 0), false, Y(d, 1), true, X(d, 0), X(d, 1), X(d, 2), n);
}

static const double tolerance_adamw = EXACT;
static void call_adamw(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    static const tlmi_adamw_step_t step = {0.9f, 0.999f, 0.1f, 0.001f, 1e-8f, 0.01f, 0.9f, 0.95f};
    for (int64_t i = 0; i < n; i++)
        Y(d, 2)[i] = fabsf(Y(d, 2)[i]); /* a mean of squares */
    k->adamw(Y(d, 0), Y(d, 1), Y(d, 2), X(d, 0), &step, n);
}

#include "check_blocks.h"

/* C (m, 21) of A (m, k) and B (k, 21), with k and m of about the root of n. */
static const double tolerance_panel_gemm = SUMMED;
static void call_panel_gemm(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    int64_t depth = n % 61 + 1, m = n / 16 + 1;
    const float *panels = d->x[1]; /* rows of 16, aligned */
    k->panel_gemm(m, 21, depth, X(d, 0), depth, 1, panels, depth + 3, Y(d, 0), 23, n % 2 == 0);
    k->panel_gemm(m, 16, depth, X(d, 0), 1, m, panels, depth + 3, Y(d, 1), 16, n % 2 == 1);
}

static const double tolerance_pack_along = EXACT;
static void call_pack_along(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    static const int64_t widths[] = {4, 6, 8, 12, 16, 32, 3};
    int64_t width = widths[n % 7], depth = n / 7;
    k->pack_along(Y(d, 0), width, depth, X(d, 0), depth + 5);
}

static const double tolerance_byte_masks = EXACT;
static void call_byte_masks(const tlmi_kernels_t *k, data_t *d, int64_t n)
{
    tlmi_byte_masks_t masks, all = {0};
    for (int64_t i = 0; i < n; i += 16) {
        k->byte_masks(&masks, d->bytes + i + d->shift);
        const uint64_t *from = &masks.upper;
        for (size_t w = 0; w < sizeof(all) / sizeof(uint64_t); w++)
            (&all.upper)[w] = (&all.upper)[w] * 3 + from[w];
    }
    d->masks = all;
}

#include "gemm_calls.h"

#include "pretoken_calls.h"

/* ---- All kernels ------------------------------------------------------------------------ */

typedef void (*any_fn)(void);

typedef struct kernel {
    const char *name;
    void (*call)(const tlmi_kernels_t *k, data_t *d, int64_t n);
    double tolerance;
    any_fn (*function)(const tlmi_kernels_t *k);
} kernel_t;

#define GETTER(name, result, parameters)                                                           \
    static any_fn function_##name(const tlmi_kernels_t *k)                                         \
    {                                                                                              \
        return (any_fn)k->name;                                                                    \
    }
TLMI_ALL_KERNELS(GETTER)

#define COUNT_ONE(name, result, parameters) +1
enum { NUM_KERNELS = 0 TLMI_ALL_KERNELS(COUNT_ONE) };

static void list_kernels(kernel_t *kernels)
{
#define ENTRY(name, result, parameters)                                                            \
    *kernels++ = (kernel_t){#name, call_##name, tolerance_##name, function_##name};
    TLMI_ALL_KERNELS(ENTRY)
}

/* ---- Checking --------------------------------------------------------------------------- */

static uint64_t state;

static double uniform(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* What is not finite, zeros, the smallest normal number, and beyond where exp overflows and underflows. Not: subnormal
 * numbers, which instructions for bfloat16 take as zero. */
static const float specials[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, FLT_MIN, 90.0f, -110.0f};
enum { NUM_SPECIALS = sizeof(specials) / sizeof(*specials) };

/* Numbers between -range and range; with `special` every sixteenth is a special one. */
static void fill_data(data_t *d, uint64_t seed, float range, bool special)
{
    state = seed;
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < FLOATS; i++)
            d->x[j][i] = special && uniform() < 1.0 / 16 ? specials[(int)(uniform() * NUM_SPECIALS)]
                                                         : range * (float)(2 * uniform() - 1);
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < FLOATS; i++)
            d->y[j][i] = (float)(2 * uniform() - 1);
    for (int i = 0; i < FLOATS; i++) {
        d->bf16[i] = tlmi_float_to_bfloat16(d->x[1][i]);
        d->f16[i] = tlmi_float_to_half(d->x[1][i]);
    }
    for (int i = 0; i < FLOATS; i++)
        d->bytes[i] = (uint8_t)(uniform() * (i % 512 < 256 ? 128 : 256));
    d->r = 0;
    d->masks = (tlmi_byte_masks_t){0};
    d->packed_for = NULL;
    d->shift = (int64_t)(seed % 4);
}

/* The data of `from` in `to`, which keeps its panels. */
static void copy_data(data_t *to, const data_t *from)
{
    float *panels = to->panels;
    *to = *from;
    to->panels = panels;
}

static bool is_close(double got, double want, double tolerance)
{
    if (!isfinite(got) || !isfinite(want))
        return got == want || (isnan(got) && isnan(want));
    return fabs(got - want) <= tolerance * fmax(1, fabs(want));
}

/* The place of the first difference of two results, as a text; NULL if there is none. */
static const char *difference(const data_t *got, const data_t *want, double tolerance)
{
    static char text[128];
    bool same = memcmp(got->y, want->y, sizeof(got->y)) == 0; /* mostly; faster than one by one */
    for (int j = 0; j < 3 && !same; j++)
        for (int i = 0; i < FLOATS; i++)
            if (!is_close((double)got->y[j][i], (double)want->y[j][i], tolerance)) {
                snprintf(text, sizeof(text), "y%d[%d] is %.9g, not %.9g", j, (int)(i - got->shift),
                         (double)got->y[j][i], (double)want->y[j][i]);
                return text;
            }
    if (!is_close(got->r, want->r, tolerance)) {
        snprintf(text, sizeof(text), "the result is %.9g, not %.9g", got->r, want->r);
        return text;
    }
    return memcmp(&got->masks, &want->masks, sizeof(got->masks)) == 0 ? NULL : "the masks differ";
}

static data_t original, got, want;

/* Sizes around those of the vectors, and some large ones. */
static int64_t next_size(int64_t n)
{
    return n < 70 ? n + 1 : n + n / 3;
}

/* ---- Sets of features ------------------------------------------------------------------- */

typedef struct feature_set {
    char name[32];
    uint64_t features;
    tlmi_kernels_t table;
} feature_set_t;

enum { MAX_SETS = 80 };
static feature_set_t sets[MAX_SETS];
static int num_sets;

static void add_set(const char *name, uint64_t features)
{
    feature_set_t *set = &sets[num_sets++];
    snprintf(set->name, sizeof(set->name), "%s", name);
    set->features = features;
    tlmi_kernels_fill(&set->table, features);
}

/* The levels that the CPU has, all its features, and all but one. */
static void list_sets(void)
{
    uint64_t all = tlmi_cpu_detect();
    uint64_t before = tlm_cpu_features();
    for (int32_t level = TLM_CPU_SCALAR; level <= TLM_CPU_NEON; level++)
        if (tlm_set_cpu_level(level) == TLM_OK)
            add_set(tlm_cpu_level_name(level), tlm_cpu_features());
    tlmi_set_cpu_features(before);
    add_set("all", all);
    for (int bit = 0; bit < 63; bit++) {
        char name[32];
        if ((all >> bit & 1) == 0)
            continue;
        snprintf(name, sizeof(name), "-%s", tlm_cpu_feature_name(UINT64_C(1) << bit));
        add_set(name, all & ~(UINT64_C(1) << bit));
    }
}

static bool same_functions(const kernel_t *kernels, const tlmi_kernels_t *a,
                           const tlmi_kernels_t *b)
{
    for (int i = 0; i < NUM_KERNELS; i++)
        if (kernels[i].function(a) != kernels[i].function(b))
            return false;
    return a->gemm.name == b->gemm.name && a->pairs.name == b->pairs.name;
}

/* The table in use is the one of the features in use; without a feature that a level needs, no kernel of
 * that level is taken. */
static int check_choice(const kernel_t *kernels)
{
    int faults = 0;
    uint64_t before = tlm_cpu_features();
    for (int i = 0; i < num_sets; i++) {
        tlmi_set_cpu_features(sets[i].features);
        if (!same_functions(kernels, tlmi_kernels(), &sets[i].table)) {
            printf("%s: tlmi_kernels is not the table of these features\n", sets[i].name);
            faults++;
        }
        tlmi_kernels_t level;
        int32_t best = tlm_cpu_level();
        if (sets[i].name[0] != '-' || best == tlmi_cpu_detected_level())
            continue;
        tlm_set_cpu_level(best);
        tlmi_kernels_fill(&level, tlm_cpu_features());
        if (!same_functions(kernels, &level, &sets[i].table)) {
            printf("%s: takes kernels beyond level %s\n", sets[i].name, tlm_cpu_level_name(best));
            faults++;
        }
    }
    tlmi_set_cpu_features(before);
    return faults;
}

static bool tried_before(const kernel_t *kernel, int set)
{
    for (int i = 0; i < set; i++)
        if (kernel->function(&sets[i].table) == kernel->function(&sets[set].table))
            return true;
    return false;
}

static bool wrong[MAX_SETS][NUM_KERNELS];

/* Data, and how many times the tolerance of a kernel its results may differ: sums of larger numbers differ by more,
 * and with special ones it counts which results are finite. */
typedef struct data_kind {
    const char *name;
    float range;
    bool special;
    double tolerance;
} data_kind_t;
static const data_kind_t data_kinds[] = {
    {"to 1", 1, false, 1}, {"to 4", 4, false, 16}, {"with special ones", 1, true, 110 * 110}};
enum { NUM_DATA_KINDS = sizeof(data_kinds) / sizeof(*data_kinds) };

/* Runs kernel `k` of every set on the original data, and marks those whose results differ from the portable one's. */
static void check_kernel(const kernel_t *kernels, int k, int64_t n, const data_kind_t *kind)
{
    const kernel_t *kernel = &kernels[k];
    copy_data(&want, &original);
    kernel->call(&sets[0].table, &want, n);
    for (int i = 1; i < num_sets; i++) {
        if (tried_before(kernel, i) || wrong[i][k])
            continue;
        copy_data(&got, &original);
        kernel->call(&sets[i].table, &got, n);
        const char *text = difference(&got, &want, kernel->tolerance * kind->tolerance);
        if (text != NULL) {
            printf("%s, %s: n %d, numbers %s: %s\n", kernel->name, sets[i].name, (int)n, kind->name,
                   text);
            wrong[i][k] = true;
        }
    }
}

static int check_all(const kernel_t *kernels)
{
    int faults = check_choice(kernels);
    for (int64_t n = 0; n < MOST; n = next_size(n))
        for (int kind = 0; kind < NUM_DATA_KINDS; kind++) {
            fill_data(&original, (uint64_t)(n * NUM_DATA_KINDS + kind), data_kinds[kind].range,
                      data_kinds[kind].special);
            for (int k = 0; k < NUM_KERNELS; k++)
                check_kernel(kernels, k, n, &data_kinds[kind]);
        }
    for (int i = 1; i < num_sets; i++) {
        int own = 0, differ = 0;
        for (int k = 0; k < NUM_KERNELS; k++) {
            own += !tried_before(&kernels[k], i);
            differ += wrong[i][k];
        }
        if (own > 0)
            printf("%s: %d of %d kernels of its own, %d wrong\n", sets[i].name, own, NUM_KERNELS,
                   differ);
        faults += differ;
    }
    printf("%d sets of features, %d faults\n", num_sets, faults);
    return faults;
}

/* ---- Timing ----------------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Nanoseconds per call: the best of some runs of about a millisecond. */
static double time_call(const kernel_t *kernel, const tlmi_kernels_t *table)
{
    enum { N = 1023 };
    fill_data(&got, 1, 1.0f, false);
    got.shift = 0;
    kernel->call(table, &got, N);
    double best = INFINITY;
    int64_t calls = 1;
    for (int run = 0; run < 20;) {
        double begin = seconds();
        for (int64_t i = 0; i < calls; i++)
            kernel->call(table, &got, N);
        double taken = seconds() - begin;
        if (taken < 1e-3) {
            calls *= 2;
            continue;
        }
        best = fmin(best, taken / (double)calls);
        run++;
    }
    return best * 1e9;
}

static void bench(const kernel_t *kernels, const char *wanted)
{
    for (int k = 0; k < NUM_KERNELS; k++) {
        if (wanted != NULL && strcmp(wanted, kernels[k].name) != 0)
            continue;
        double portable = time_call(&kernels[k], &sets[0].table);
        printf("%-18s portable %9.1f ns", kernels[k].name, portable);
        for (int i = 1; i < num_sets; i++) {
            if (tried_before(&kernels[k], i))
                continue;
            double taken = time_call(&kernels[k], &sets[i].table);
            printf("   %s %9.1f ns (%.1fx)", sets[i].name, taken, portable / taken);
        }
        printf("\n");
    }
}

/* ---- Counting instructions ---------------------------------------------------------------- */

/* Prints the address of begin_call and the names of the kernels, in the order of their calls. */
static int call_each(const kernel_t *kernels, const char *set_name)
{
    printf("%p\n", (void *)(uintptr_t)begin_call);
    for (int i = 0; i < num_sets; i++) {
        if (strcmp(sets[i].name, set_name) != 0)
            continue;
        fill_data(&got, 1, 1.0f, false);
        got.shift = 0;
        for (int k = 0; k < NUM_KERNELS; k++) {
            if (strstr(kernels[k].name, "_tile") != NULL)
                kernels[k].call(&sets[i].table, &got, 1023); /* packs the panels */
            begin_call();
            kernels[k].call(&sets[i].table, &got, 1023);
            end_call();
            printf("%s\n", kernels[k].name);
        }
        return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    static kernel_t kernels[NUM_KERNELS];
    list_kernels(kernels);
    if (tlm_check_environment() != TLM_OK) {
        fprintf(stderr, "%s\n", tlm_error_message());
        return 2;
    }
    if (argc > 1 && strcmp(argv[1], "--gemm-kernel") == 0) {
        printf("%s\n", tlm_gemm_kernel_name());
        return 0;
    }
    got.panels = aligned_alloc(64, 2 * TILE_PANELS * sizeof(float));
    want.panels = aligned_alloc(64, 2 * TILE_PANELS * sizeof(float));
    if (got.panels == NULL || want.panels == NULL)
        return 1;
    list_sets();
    int faults = 0;
    if (argc > 2 && strcmp(argv[1], "--calls") == 0)
        faults = call_each(kernels, argv[2]);
    else if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        bench(kernels, argc > 2 ? argv[2] : NULL);
    else
        faults = check_all(kernels);
    free(got.panels);
    free(want.panels);
    return faults > 0;
}
