/* Large matrix products: blocking, packing and threading around the gemm_tile kernel, which
 * computes one small tile of C (Goto and van de Geijn, "Anatomy of high-performance matrix
 * multiplication", ACM TOMS 34, 2008).
 *
 * All threads share one packed copy of the smaller operand. If memory runs out, the products use
 * buffers on the stack, which is slower.
 *
 * Each element of C comes from the same sequence of operations however C is divided into tiles,
 * because the positions at which k is split depend only on k. So the splits along m and n do not
 * affect the bits of the result. */
#include "kernels/gemm.h"

#include "base/buffer_cache.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"

enum {
    STACK_FLOATS = 16384, /* room for one panel of each operand */
    PANEL_ALIGNMENT = 16, /* floats: a cache line */
    READ_AHEAD = 64 /* floats; a kernel loads the operands of the next step past the last one */
};

const char *tlm_gemm_kernel_name(void)
{
    return tlmi_kernels()->gemm.name;
}

/* ---- Blocks ----------------------------------------------------------------------------- */

static int64_t min_int64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_int64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* An operand, divided into panels of `width` rows of A or columns of B. */
typedef struct operand {
    const float *data;
    int64_t stride, depth_stride; /* from one row (column) to the next, and along k */
    int64_t length;               /* rows of A, columns of B */
    int64_t width, panels;
    int64_t panel_size; /* floats, or pairs of bfloat16, which are as large */
} operand_t;

/* A product, and the part of it in progress. "x" is the operand that is divided into panels of mr
 * rows, "y" the one with panels of nr columns: A and B, or B and A transposed for a kernel with
 * column-major tiles.
 *
 * The smaller operand is packed whole (or in large parts) for all threads. Each task packs its
 * share of the larger operand itself, one block at a time. The block stays in the second-level
 * cache, so the operand is read once and its packed form is never written to memory. */
typedef struct product {
    const tlmi_kernels_t *kernels;
    bool pairs; /* factors are rounded to bfloat16 */
    int64_t k;
    float alpha, beta;
    operand_t x, y;
    float *c;
    int64_t c_row_stride, c_column_stride;
    int64_t slices; /* of k; slice s is [k s / slices, k (s + 1) / slices) */

    bool local_x;         /* tasks pack x and share y; otherwise the reverse */
    float *shared;        /* (slices at once, panels at once) panels */
    float *local;         /* (workers, local_size) */
    int64_t local_panels; /* in the largest task */
    int64_t local_size;
    int32_t workers;
    int64_t first_slice, num_slices; /* of the shared operand, currently packed */
    int64_t first_panel, num_panels;
    int64_t local_tasks, shared_tasks; /* number of pieces of each operand */
    int64_t pack_group;                /* panels per packing task */
} product_t;

static const tlmi_gemm_shape_t *shape_of(const product_t *job)
{
    return job->pairs ? &job->kernels->pairs : &job->kernels->gemm;
}

/* A depth as panels hold it: in whole groups of pairs, for bfloat16. */
static int64_t packed_depth(const product_t *job, int64_t depth)
{
    const int64_t group = job->kernels->pairs.group;
    return job->pairs ? divide_up(depth, 2 * group) * group : depth;
}

static int64_t slice_begin(const product_t *job, int64_t slice)
{
    return job->k * slice / job->slices;
}

static const operand_t *shared_operand(const product_t *job)
{
    return job->local_x ? &job->y : &job->x;
}

static const operand_t *local_operand(const product_t *job)
{
    return job->local_x ? &job->x : &job->y;
}

/* Packs panels begin..end-1 of one slice, one after another. */
static void pack_panels(float *target, const product_t *job, const operand_t *operand,
                        int64_t slice, int64_t begin, int64_t end)
{
    int64_t first = slice_begin(job, slice), depth = slice_begin(job, slice + 1) - first;
    int64_t row = begin * operand->width;
    int64_t rows = min_int64(end * operand->width, operand->length) - row;
    const float *source = operand->data + row * operand->stride + first * operand->depth_stride;

    if (job->pairs)
        tlmi_pack_pairs(job->kernels, (uint32_t *)(void *)target, operand->panel_size,
                        operand->width, rows, depth, source, operand->stride,
                        operand->depth_stride);
    else
        tlmi_pack_panels(target, operand->panel_size, operand->width, rows, depth, source,
                         operand->stride, operand->depth_stride);
}

static void pack_task(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    const product_t *job = context;
    const operand_t *operand = shared_operand(job);
    int64_t groups = divide_up(job->num_panels, job->pack_group);
    int64_t slice = task / groups, begin = task % groups * job->pack_group;
    int64_t end = min_int64(begin + job->pack_group, job->num_panels);
    pack_panels(job->shared + (slice * job->num_panels + begin) * operand->panel_size, job, operand,
                job->first_slice + slice, job->first_panel + begin, job->first_panel + end);
}

/* Packed panels of one slice: panel i of x is at x + (i - x_begin) * its size. */
typedef struct ready {
    float *x, *y;
    int64_t x_begin, x_end, y_begin, y_end;
    int64_t slice;
} ready_t;

static void multiply_tile(const product_t *job, const ready_t *ready, int64_t i, int64_t j,
                          const float *next_x, const float *next_y)
{
    int64_t row = i * job->x.width, column = j * job->y.width;
    int64_t depth = slice_begin(job, ready->slice + 1) - slice_begin(job, ready->slice);
    float beta = ready->slice == 0 ? job->beta : 1.0f;
    int64_t m = min_int64(job->x.width, job->x.length - row);
    int64_t n = min_int64(job->y.width, job->y.length - column);
    const float *x = ready->x + (i - ready->x_begin) * job->x.panel_size;
    const float *y = ready->y + (j - ready->y_begin) * job->y.panel_size;
    float *c = job->c + row * job->c_row_stride + column * job->c_column_stride;

    if (job->pairs)
        job->kernels->pair_tile(
            m, n, packed_depth(job, depth), job->alpha, (const uint32_t *)(const void *)x,
            (const uint32_t *)(const void *)y, beta, c, job->c_row_stride, job->c_column_stride);
    else
        job->kernels->gemm_tile(m, n, depth, job->alpha, x, y, beta, c, job->c_row_stride,
                                job->c_column_stride, next_x, next_y);
}

/* Computes all tiles of the packed panels. A panel of the shared operand stays in the first-level
 * cache while the panels of the local one stream from the second-level cache. The kernels prefetch
 * the panels that they are given as the next ones. */
static void multiply_panels(const product_t *job, const ready_t *ready)
{
    int64_t x_size = job->x.panel_size, y_size = job->y.panel_size;
    if (job->local_x) {
        for (int64_t j = ready->y_begin; j < ready->y_end; j++)
            for (int64_t i = ready->x_begin; i < ready->x_end; i++) {
                bool last = i + 1 == ready->x_end;
                int64_t to = last ? 0 : i + 1 - ready->x_begin;
                bool more = last && j + 1 < ready->y_end;
                multiply_tile(job, ready, i, j, ready->x + to * x_size,
                              ready->y + (j - ready->y_begin + more) * y_size);
            }
        return;
    }
    for (int64_t i = ready->x_begin; i < ready->x_end; i++)
        for (int64_t j = ready->y_begin; j < ready->y_end; j++) {
            bool last = j + 1 == ready->y_end;
            int64_t to = last ? 0 : j + 1 - ready->y_begin;
            bool more = i + 1 < ready->x_end; /* prefetched early: it comes from farther away */
            multiply_tile(job, ready, i, j, ready->x + (i - ready->x_begin + more) * x_size,
                          ready->y + to * y_size);
        }
}

static void multiply_task(void *context, int64_t task, int32_t worker)
{
    const product_t *job = context;
    const operand_t *own = local_operand(job), *shared = shared_operand(job);
    int64_t i = task / job->shared_tasks, j = task % job->shared_tasks;
    int64_t own_begin = own->panels * i / job->local_tasks;
    int64_t own_end = own->panels * (i + 1) / job->local_tasks;
    int64_t begin = job->num_panels * j / job->shared_tasks;
    int64_t end = job->num_panels * (j + 1) / job->shared_tasks;
    float *packed = job->local + worker * job->local_size;
    for (int64_t s = 0; s < job->num_slices; s++) {
        float *there = job->shared + (s * job->num_panels + begin) * shared->panel_size;
        int64_t slice = job->first_slice + s;
        ready_t ready = {
            packed, there, own_begin, own_end, job->first_panel + begin, job->first_panel + end,
            slice};
        if (!job->local_x)
            ready = (ready_t){there, packed, ready.y_begin, ready.y_end, own_begin, own_end, slice};
        pack_panels(packed, job, own, slice, own_begin, own_end);
        multiply_panels(job, &ready);
    }
}

/* Divides the product into tasks by its shape alone: enough tasks for the threads to finish at
 * about the same time, rounded up to a multiple of four, so that two or four threads get equal
 * numbers. The local operand is divided into pieces of at most `most` panels, which fit in the
 * second-level cache. These are packed again for each piece of the shared operand, so the shared
 * operand is divided only if the local one is too short. */
static void plan_tasks(product_t *job, int64_t most)
{
    enum { ENOUGH = 32, AT_LEAST = 12, LEAST_ROWS = 60, LEAST_PANELS = 8 };
    const operand_t *own = local_operand(job), *shared = shared_operand(job);
    int64_t tasks = min_int64(ENOUGH, own->panels * own->width / LEAST_ROWS);
    tasks = max_int64(divide_up(own->panels, most), tasks);
    tasks = tasks > 4 ? divide_up(tasks, 4) * 4 : max_int64(1, tasks);
    job->local_tasks = min_int64(tasks, own->panels);
    job->local_panels = divide_up(own->panels, job->local_tasks);
    job->shared_tasks = 1;
    while (job->local_tasks * job->shared_tasks < AT_LEAST &&
           job->shared_tasks * 2 * LEAST_PANELS <= shared->panels)
        job->shared_tasks *= 2;
}

static void run_tasks(int64_t n_tasks, tlmi_task_fn run, product_t *job, bool serial)
{
    if (!serial) {
        tlmi_parallel_for_workers(n_tasks, job->workers, run, job);
        return;
    }
    for (int64_t task = 0; task < n_tasks; task++)
        run(job, task, 0);
}

/* Goes through the shared operand in parts of `panels` panels and `slices` slices of k. */
static void run_parts(product_t *job, int64_t panels, int64_t slices, bool serial)
{
    const operand_t *shared = shared_operand(job);
    job->pack_group = max_int64(1, 32768 / shared->panel_size);
    for (job->first_panel = 0; job->first_panel < shared->panels; job->first_panel += panels) {
        job->num_panels = min_int64(panels, shared->panels - job->first_panel);
        for (job->first_slice = 0; job->first_slice < job->slices; job->first_slice += slices) {
            job->num_slices = min_int64(slices, job->slices - job->first_slice);
            run_tasks(divide_up(job->num_panels, job->pack_group) * job->num_slices, pack_task, job,
                      serial);
            run_tasks(job->local_tasks * job->shared_tasks, multiply_task, job, serial);
        }
    }
}

/* Whole cache lines, plus one line: panels a multiple of 4096 bytes apart would map to the same
 * sets of the first-level cache. */
static int64_t panel_size(int64_t width, int64_t depth)
{
    return (divide_up(width * depth, PANEL_ALIGNMENT) + 1) * PANEL_ALIGNMENT;
}

/* Size of the parts of the shared operand that are packed at once, and the floats of all
 * buffers. */
typedef struct parts {
    int64_t panels, slices;
    int64_t shared_size, all;
} parts_t;

static parts_t plan_product(product_t *job, bool serial)
{
    /* Floats of the shared operand packed at once: a fraction of the third-level cache. */
    enum { SHARED = 2 << 20, SHARED_SERIAL = 1 << 18, LOCAL = 73728 };
    job->slices = divide_up(job->k, (job->pairs ? 2 : 1) * shape_of(job)->kc);
    int64_t depth = packed_depth(job, divide_up(job->k, job->slices));
    job->x.panel_size = panel_size(job->x.width, depth);
    job->y.panel_size = panel_size(job->y.width, depth);
    job->x.panels = divide_up(job->x.length, job->x.width);
    job->y.panels = divide_up(job->y.length, job->y.width);
    job->local_x = job->y.length < 2 * job->x.length;

    const operand_t *shared = shared_operand(job), *own = local_operand(job);
    plan_tasks(job, max_int64(1, LOCAL / own->panel_size));
    int64_t most = (serial ? SHARED_SERIAL : SHARED) / shared->panel_size;
    parts_t parts = {.panels = max_int64(1, min_int64(shared->panels, most))};
    parts.slices = max_int64(1, min_int64(job->slices, most / parts.panels));
    parts.shared_size = parts.panels * parts.slices * shared->panel_size + READ_AHEAD;
    job->local_size = job->local_panels * own->panel_size + READ_AHEAD;
    job->workers = serial ? 1 : tlmi_max_workers();
    parts.all = parts.shared_size + job->workers * job->local_size;
    return parts;
}

/* Runs the product in buffers from the cache, or on the stack if memory is out. */
static void run_product(product_t *job, bool serial)
{
    parts_t parts = plan_product(job, serial);
    size_t capacity;
    float *buffer = tlmi_buffer_acquire(&capacity, (size_t)parts.all * sizeof(float));
    if (buffer != NULL) {
        job->shared = buffer;
        job->local = buffer + parts.shared_size;
        if (!tlmi_dry_run())
            run_parts(job, parts.panels, parts.slices, serial);
        tlmi_buffer_release(buffer, capacity);
        return;
    }
    if (tlmi_dry_run())
        return;
    const operand_t *shared = shared_operand(job), *own = local_operand(job);
    _Alignas(64) float stack[STACK_FLOATS];
    job->shared = stack;
    job->local = stack + shared->panel_size;
    job->local_tasks = own->panels;
    job->shared_tasks = 1;
    run_parts(job, 1, 1, true);
}

/* ---- Products --------------------------------------------------------------------------- */

static void scale_c(int64_t m, int64_t n, float beta, float *c, int64_t c_stride)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * c_stride + j] = beta == 0.0f ? 0.0f : beta * c[i * c_stride + j];
}

static product_t make_product(int32_t products, int64_t m, int64_t n, int64_t k, tlmi_matrix_t a,
                              tlmi_matrix_t b, float *c, int64_t c_stride)
{
    const bool emulated = products == TLM_PRODUCTS_BFLOAT16_EMULATED;
    product_t job = {.kernels = emulated ? tlmi_kernels_portable() : tlmi_kernels(),
                     .pairs = products != TLM_PRODUCTS_FLOAT32,
                     .k = k,
                     .c = c};
    const tlmi_gemm_shape_t *shape = shape_of(&job);
    operand_t rows = {.data = a.data, .stride = a.row_stride, .depth_stride = a.column_stride};
    operand_t columns = {.data = b.data, .stride = b.column_stride, .depth_stride = b.row_stride};
    rows.length = m;
    columns.length = n;
    job.x = shape->by_columns ? columns : rows;
    job.y = shape->by_columns ? rows : columns;
    job.x.width = shape->mr;
    job.y.width = shape->nr;
    job.c_row_stride = shape->by_columns ? 1 : c_stride;
    job.c_column_stride = shape->by_columns ? c_stride : 1;
    return job;
}

static void multiply(int32_t products, int64_t m, int64_t n, int64_t k, float alpha,
                     tlmi_matrix_t a, tlmi_matrix_t b, float beta, float *c, int64_t c_stride,
                     bool serial)
{
    if (m <= 0 || n <= 0)
        return;
    if (k <= 0 || alpha == 0.0f) {
        scale_c(m, n, beta, c, c_stride);
        return;
    }
    if (products == TLM_PRODUCTS_FLOAT32 && !tlmi_dry_run() &&
        tlmi_gemv(m, n, k, alpha, a, b, beta, c, c_stride, 1, serial))
        return;
    product_t job = make_product(products, m, n, k, a, b, c, c_stride);
    job.alpha = alpha;
    job.beta = beta;
    run_product(&job, serial);
}

/* Below about 0.1 ms of work, waking the threads is not worth it. */
static bool is_serial(int64_t m, int64_t n, int64_t k)
{
    return (double)m * (double)n * (double)k < 2e6;
}

void tlmi_gemm_as(int32_t products, int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                  tlmi_matrix_t b, float beta, float *c, int64_t c_stride)
{
    multiply(products, m, n, k, alpha, a, b, beta, c, c_stride, is_serial(m, n, k));
}

void tlmi_gemm_serial(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                      tlmi_matrix_t b, float beta, float *c, int64_t c_stride)
{
    multiply(TLM_PRODUCTS_FLOAT32, m, n, k, alpha, a, b, beta, c, c_stride, true);
}

void tlmi_gemm_reference(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                         tlmi_matrix_t b, float beta, float *c, int64_t c_stride)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (int64_t p = 0; p < k; p++)
                sum += (double)a.data[i * a.row_stride + p * a.column_stride] *
                       b.data[p * b.row_stride + j * b.column_stride];
            float *element = c + i * c_stride + j;
            *element = (float)(alpha * sum + (beta == 0.0f ? 0.0 : (double)beta * *element));
        }
    }
}
