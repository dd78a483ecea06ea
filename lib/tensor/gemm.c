/* Matrix products on BLIS's micro-kernels.
 *
 * BLIS picks its kernels by the CPU's family. On CPUs newer than it knows it silently takes the
 * generic ones, several times slower than others that would run. So its context is looked up by
 * architecture, after the CPU's instruction sets. bli_gks_lookup_nat_cntx is no part of BLIS's
 * public interface, which is why the static archive is linked.
 *
 * Only the micro-kernel, which makes one small tile of C, is called; the loops around it are here
 * (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34, 2008).
 * That lets all threads share one packed copy of the operands, and BLIS's memory pool, which aborts
 * when memory is out, is never used: without memory the products run, more slowly, in buffers on
 * the stack.
 *
 * Each element of C is the same sequence of operations however C is cut into tiles: k is cut at
 * places that depend on k alone. So the cuts along m and n do not change a bit. */
#include <pthread.h>
#include <string.h>

#include <blis.h>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/buffer_cache.h"
#include "tensor/gemm.h"
#include "tensor/gemm_pack.h"
#include "tensor/gemv.h"

cntx_t *bli_gks_lookup_nat_cntx(arch_t id);

/* Stands in for BLIS's reader of the environment, as the linker takes the first definition that it
 * meets. With its own, BLIS ends the program when BLIS_ARCH_TYPE names no family, and prints when
 * BLIS_ARCH_DEBUG is set. */
gint_t bli_env_get_var(const char *env, gint_t fallback)
{
    return fallback;
}

/* ---- Which kernels ---------------------------------------------------------------------- */

/* The micro-kernel of a family makes a tile of (mr, nr) from panels kc deep at most. */
typedef struct kernel_family {
    cntx_t *context;
    const char *name;
    sgemm_ukr_ft kernel;
    int64_t mr, nr, mc, kc;
    bool by_columns; /* the kernel wants its tile column-major */
} kernel_family_t;

enum {
    STACK_FLOATS = 16384, /* room for one panel of each operand */
    PANEL_ALIGNMENT = 16, /* floats: a cache line */
    READ_AHEAD = 64       /* floats; a kernel loads the next step's operands behind the last one */
};

static kernel_family_t families[TLM_CPU_AVX512 + 1]; /* one a CPU level */
static pthread_once_t families_once = PTHREAD_ONCE_INIT;

static void choose(int32_t level, arch_t id)
{
    cntx_t *context = bli_gks_lookup_nat_cntx(id);
    if (context == NULL) { /* an archive built without that family */
        id = bli_arch_query_id();
        context = bli_gks_query_nat_cntx();
    }
    kernel_family_t *family = &families[level];
    family->context = context;
    family->name = bli_arch_string(id);
    void_fp kernel = bli_cntx_get_l3_nat_ukr_dt(BLIS_FLOAT, BLIS_GEMM_UKR, context);
    memcpy(&family->kernel, &kernel, sizeof(kernel)); /* BLIS keeps it as an object pointer */
    family->by_columns = !bli_cntx_l3_nat_ukr_prefers_rows_dt(BLIS_FLOAT, BLIS_GEMM_UKR, context);
    family->mr = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_MR, context);
    family->nr = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_NR, context);
    family->mc = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_MC, context);
    family->kc = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_KC, context);
    int64_t most = (STACK_FLOATS - 3 * PANEL_ALIGNMENT) / (family->mr + family->nr);
    family->kc = family->kc < most ? family->kc : most;
}

static void choose_families(void)
{
    bli_init();
    arch_t own = bli_arch_query_id();
    bool own_is_avx2 = own == BLIS_ARCH_HASWELL || own == BLIS_ARCH_ZEN || own == BLIS_ARCH_ZEN2 ||
                       own == BLIS_ARCH_ZEN3;
    choose(TLM_CPU_SCALAR, TLMI_X86 ? BLIS_ARCH_GENERIC : own);
    choose(TLM_CPU_AVX2, own_is_avx2 ? own : BLIS_ARCH_HASWELL);
    choose(TLM_CPU_AVX512, BLIS_ARCH_SKX);
}

static const kernel_family_t *current_family(void)
{
    pthread_once(&families_once, choose_families);
    return &families[tlm_cpu_level()];
}

const char *tlm_gemm_kernel_name(void)
{
    return current_family()->name;
}

void tlmi_gemm_prepare(void)
{
    current_family();
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

/* Rows and columns of C handled at once; both operands are packed for them. */
enum { BLOCK = 4096, SERIAL_BLOCK = 1024 };

/* A product, and the block of it that is being made: rows row.. and columns column.. of C from
 * k = depth_begin... "x" is the operand that is cut into panels of mr rows, "y" that of nr columns:
 * A and B, or B and A transposed for a kernel that works by columns. */
typedef struct product {
    const kernel_family_t *family;
    int64_t m, n, k;
    float alpha, beta;
    tlmi_matrix_t x, y;
    float *c;
    int64_t c_row_stride, c_column_stride;

    int64_t row, rows, column, columns, depth_begin, depth;
    float *x_packed, *y_packed;
    int64_t x_panels, y_panels;
    int64_t x_panel_size, y_panel_size;
    int64_t row_tasks, column_tasks;
    int64_t pack_group; /* panels that one packing task makes */
} product_t;

static void pack_panels(const product_t *job, int64_t begin, int64_t end)
{
    const kernel_family_t *family = job->family;
    for (int64_t i = begin; i < min_int64(end, job->x_panels); i++) {
        int64_t row = i * family->mr;
        tlmi_pack_panel(job->x_packed + i * job->x_panel_size, family->mr,
                        min_int64(family->mr, job->rows - row), job->depth,
                        job->x.data + (job->row + row) * job->x.row_stride +
                            job->depth_begin * job->x.column_stride,
                        job->x.row_stride, job->x.column_stride);
    }
    for (int64_t i = max_int64(begin, job->x_panels); i < end; i++) {
        int64_t panel = i - job->x_panels;
        int64_t column = panel * family->nr;
        tlmi_pack_panel(job->y_packed + panel * job->y_panel_size, family->nr,
                        min_int64(family->nr, job->columns - column), job->depth,
                        job->y.data + (job->column + column) * job->y.column_stride +
                            job->depth_begin * job->y.row_stride,
                        job->y.column_stride, job->y.row_stride);
    }
}

static void pack_task(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    const product_t *job = context;
    int64_t begin = task * job->pack_group;
    pack_panels(job, begin, min_int64(begin + job->pack_group, job->x_panels + job->y_panels));
}

/* Tiles of the panels x_begin..x_end-1 times y_begin..y_end-1. A panel of y stays in the
 * first-level cache while the panels of x pass by from the second. */
static void multiply_panels(const product_t *job, int64_t x_begin, int64_t x_end, int64_t y_begin,
                            int64_t y_end)
{
    const kernel_family_t *family = job->family;
    float alpha = job->alpha;
    float beta = job->depth_begin == 0 ? job->beta : 1.0f;
    auxinfo_t next = {0};
    for (int64_t j = y_begin; j < y_end; j++) {
        float *y = job->y_packed + j * job->y_panel_size;
        int64_t column = j * family->nr;
        float *c =
            job->c + job->row * job->c_row_stride + (job->column + column) * job->c_column_stride;
        for (int64_t i = x_begin; i < x_end; i++) {
            float *x = job->x_packed + i * job->x_panel_size;
            int64_t row = i * family->mr;
            bool last = i + 1 == x_end;
            bli_auxinfo_set_next_a(
                last ? job->x_packed + x_begin * job->x_panel_size : x + job->x_panel_size, &next);
            bli_auxinfo_set_next_b(last && j + 1 < y_end ? y + job->y_panel_size : y, &next);
            family->kernel(min_int64(family->mr, job->rows - row),
                           min_int64(family->nr, job->columns - column), job->depth, &alpha, x, y,
                           &beta, c + row * job->c_row_stride, job->c_row_stride,
                           job->c_column_stride, &next, family->context);
        }
    }
}

static void multiply_task(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    const product_t *job = context;
    int64_t i = task % job->row_tasks;
    int64_t j = task / job->row_tasks;
    multiply_panels(job, job->x_panels * i / job->row_tasks,
                    job->x_panels * (i + 1) / job->row_tasks, job->y_panels * j / job->column_tasks,
                    job->y_panels * (j + 1) / job->column_tasks);
}

/* Cuts the block into tasks: x in pieces for the second-level cache, then finer while there are
 * few. */
static void plan_tasks(product_t *job)
{
    enum { ENOUGH = 32, LEAST_X_PANELS = 8, LEAST_Y_PANELS = 8 };
    const kernel_family_t *family = job->family;
    job->row_tasks = divide_up(job->rows, family->mc);
    job->column_tasks = divide_up(job->columns, 512);
    if (job->row_tasks * job->column_tasks < ENOUGH)
        job->row_tasks = max_int64(job->row_tasks, min_int64(divide_up(ENOUGH, job->column_tasks),
                                                             job->x_panels / LEAST_X_PANELS));
    while (job->row_tasks * job->column_tasks < ENOUGH &&
           job->column_tasks * 2 * LEAST_Y_PANELS <= job->y_panels)
        job->column_tasks *= 2;
    job->pack_group = max_int64(1, 32768 / (family->mr * job->depth));
}

/* One block of C, from one slice of k. */
static void run_block(product_t *job, bool serial)
{
    const kernel_family_t *family = job->family;
    job->x_panels = divide_up(job->rows, family->mr);
    job->y_panels = divide_up(job->columns, family->nr);
    if (serial) {
        pack_panels(job, 0, job->x_panels + job->y_panels);
        int64_t group = max_int64(1, family->mc / family->mr);
        for (int64_t i = 0; i < job->x_panels; i += group)
            multiply_panels(job, i, min_int64(i + group, job->x_panels), 0, job->y_panels);
        return;
    }
    plan_tasks(job);
    tlmi_parallel_for(divide_up(job->x_panels + job->y_panels, job->pack_group), pack_task, job);
    tlmi_parallel_for(job->row_tasks * job->column_tasks, multiply_task, job);
}

/* All blocks, `block_rows` and `block_columns` at most. */
static void run_blocks(product_t *job, int64_t block_rows, int64_t block_columns, bool serial)
{
    int64_t slices = divide_up(job->k, job->family->kc);
    for (job->column = 0; job->column < job->n; job->column += block_columns) {
        job->columns = min_int64(block_columns, job->n - job->column);
        for (job->row = 0; job->row < job->m; job->row += block_rows) {
            job->rows = min_int64(block_rows, job->m - job->row);
            for (int64_t s = 0; s < slices; s++) {
                job->depth_begin = job->k * s / slices;
                job->depth = job->k * (s + 1) / slices - job->depth_begin;
                run_block(job, serial);
            }
        }
    }
}

static int64_t panel_size(int64_t width, int64_t depth)
{
    return divide_up(width * depth, PANEL_ALIGNMENT) * PANEL_ALIGNMENT;
}

/* Runs the product in buffers of the cache, or of the stack if memory is out. */
static void run_product(product_t *job, bool serial)
{
    const kernel_family_t *family = job->family;
    int64_t block = serial ? SERIAL_BLOCK : BLOCK;
    int64_t block_rows = divide_up(min_int64(job->m, block), family->mr) * family->mr;
    int64_t block_columns = divide_up(min_int64(job->n, block), family->nr) * family->nr;
    int64_t depth = divide_up(job->k, divide_up(job->k, family->kc));
    job->x_panel_size = panel_size(family->mr, depth);
    job->y_panel_size = panel_size(family->nr, depth);
    int64_t x_size = block_rows / family->mr * job->x_panel_size;
    int64_t y_size = block_columns / family->nr * job->y_panel_size;
    size_t capacity;
    float *buffer =
        tlmi_buffer_acquire(&capacity, (size_t)(x_size + y_size + READ_AHEAD) * sizeof(float));
    if (buffer != NULL) {
        job->x_packed = buffer;
        job->y_packed = buffer + x_size;
        run_blocks(job, block_rows, block_columns, serial);
        tlmi_buffer_release(buffer, capacity);
        return;
    }
    _Alignas(64) float panels[STACK_FLOATS];
    job->x_packed = panels;
    job->y_packed = panels + job->x_panel_size;
    run_blocks(job, family->mr, family->nr, true);
}

/* ---- Products --------------------------------------------------------------------------- */

static void scale_c(int64_t m, int64_t n, float beta, float *c, int64_t c_stride)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * c_stride + j] = beta == 0.0f ? 0.0f : beta * c[i * c_stride + j];
}

static void multiply(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a, tlmi_matrix_t b,
                     float beta, float *c, int64_t c_stride, bool serial)
{
    if (m <= 0 || n <= 0)
        return;
    if (k <= 0 || alpha == 0.0f) {
        scale_c(m, n, beta, c, c_stride);
        return;
    }
    if (tlmi_gemv(m, n, k, alpha, a, b, beta, c, c_stride, 1, serial))
        return;
    product_t job = {.family = current_family(), .k = k, .alpha = alpha, .beta = beta, .c = c};
    if (job.family->by_columns) {
        job.m = n;
        job.n = m;
        job.x = (tlmi_matrix_t){b.data, b.column_stride, b.row_stride};
        job.y = (tlmi_matrix_t){a.data, a.column_stride, a.row_stride};
        job.c_row_stride = 1;
        job.c_column_stride = c_stride;
    } else {
        job.m = m;
        job.n = n;
        job.x = a;
        job.y = b;
        job.c_row_stride = c_stride;
        job.c_column_stride = 1;
    }
    run_product(&job, serial);
}

tlm_status_t tlmi_gemm(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                       tlmi_matrix_t b, float beta, float *c, int64_t c_stride)
{
    /* below about 0.1 ms of work the threads are not worth waking */
    bool serial = (double)m * (double)n * (double)k < 2e6;
    multiply(m, n, k, alpha, a, b, beta, c, c_stride, serial);
    return TLM_OK;
}

void tlmi_gemm_serial(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                      tlmi_matrix_t b, float beta, float *c, int64_t c_stride)
{
    multiply(m, n, k, alpha, a, b, beta, c, c_stride, true);
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
