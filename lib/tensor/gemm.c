/* Matrix products on BLIS, called through its expert interface with a context of our choice.
 *
 * BLIS picks its kernels by the CPU's family. On CPUs newer than it knows it silently takes the
 * generic ones, several times slower than others that would run. So the context is looked up by
 * architecture, after the CPU's instruction sets. bli_gks_lookup_nat_cntx is no part of BLIS's
 * public interface, which is why the static archive is linked. BLIS aborts on arguments it finds
 * wrong: all are checked here. */
#include <pthread.h>

#include <blis.h>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/gemm.h"

cntx_t *bli_gks_lookup_nat_cntx(arch_t id);

/* ---- Which kernels
 * -------------------------------------------------------------------------------------- */

typedef struct kernel_family {
    cntx_t *context;
    const char *name;
} kernel_family_t;

static kernel_family_t families[TLM_CPU_AVX512 + 1]; /* one a CPU level */
static pthread_once_t families_once = PTHREAD_ONCE_INIT;

/* True if BLIS's own choice runs at least AVX2 kernels. */
static bool knows_cpu(arch_t id)
{
    return id == BLIS_ARCH_SKX || id == BLIS_ARCH_HASWELL || id == BLIS_ARCH_ZEN ||
           id == BLIS_ARCH_ZEN2 || id == BLIS_ARCH_ZEN3;
}

static void choose(int32_t level, arch_t id)
{
    cntx_t *context = bli_gks_lookup_nat_cntx(id);
    if (context == NULL)
        return;
    families[level].context = context;
    families[level].name = bli_arch_string(id);
}

static void choose_families(void)
{
    bli_init();
    arch_t own = bli_arch_query_id();
    choose(TLM_CPU_SCALAR, TLMI_X86 ? BLIS_ARCH_GENERIC : own);
#if TLMI_X86
    choose(TLM_CPU_AVX2, knows_cpu(own) && own != BLIS_ARCH_SKX ? own : BLIS_ARCH_HASWELL);
    choose(TLM_CPU_AVX512, BLIS_ARCH_SKX);
#else
    (void)knows_cpu;
#endif
    for (int32_t level = 0; level <= TLM_CPU_AVX512; level++) {
        if (families[level].context == NULL) { /* an archive built without that family */
            families[level].context = bli_gks_query_nat_cntx();
            families[level].name = bli_arch_string(own);
        }
    }
}

static const kernel_family_t *family(void)
{
    pthread_once(&families_once, choose_families);
    return &families[tlm_cpu_level()];
}

const char *tlm_gemm_kernel_name(void)
{
    return family()->name;
}

void tlmi_gemm_prepare(void)
{
    family();
}

/* ---- Products
 * --------------------------------------------------------------------------------------------- */

static void scale_c(int64_t m, int64_t n, float beta, float *c, int64_t c_stride)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * c_stride + j] = beta == 0.0f ? 0.0f : beta * c[i * c_stride + j];
}

void tlmi_gemm_serial(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                      tlmi_matrix_t b, float beta, float *c, int64_t c_stride)
{
    if (m <= 0 || n <= 0)
        return;
    if (k <= 0) {
        scale_c(m, n, beta, c, c_stride);
        return;
    }
    rntm_t runtime;
    bli_rntm_init(&runtime);
    bli_rntm_set_num_threads(1, &runtime);
    bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, m, n, k, &alpha, (float *)a.data,
                 a.row_stride, a.column_stride, (float *)b.data, b.row_stride, b.column_stride,
                 &beta, c, c_stride, 1, family()->context, &runtime);
}

typedef struct gemm_job {
    int64_t m, n, k;
    float alpha, beta;
    tlmi_matrix_t a, b;
    float *c;
    int64_t c_stride;
    int64_t tile_rows, tile_columns, tiles_across;
} gemm_job_t;

static int64_t min_int64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void gemm_tile(void *context, int64_t task, int32_t worker)
{
    (void)worker;
    const gemm_job_t *job = context;
    int64_t i = task / job->tiles_across * job->tile_rows;
    int64_t j = task % job->tiles_across * job->tile_columns;
    tlmi_matrix_t a = job->a;
    tlmi_matrix_t b = job->b;
    a.data += i * a.row_stride;
    b.data += j * b.column_stride;
    tlmi_gemm_serial(min_int64(job->tile_rows, job->m - i),
                     min_int64(job->tile_columns, job->n - j), job->k, job->alpha, a, b, job->beta,
                     job->c + i * job->c_stride + j, job->c_stride);
}

tlm_status_t tlmi_gemm(int64_t m, int64_t n, int64_t k, float alpha, tlmi_matrix_t a,
                       tlmi_matrix_t b, float beta, float *c, int64_t c_stride)
{
    if (m <= 0 || n <= 0)
        return TLM_OK;
    gemm_job_t job = {m, n, k, alpha, beta, a, b, c, c_stride, m, n, 1};
    int64_t pieces = 1;
    for (; pieces < 8 && (double)m * n * k / pieces > 4e6; pieces *= 2) {
    }
    int64_t multiple = 96;
    if (m >= n)
        job.tile_rows = ((m + pieces - 1) / pieces + multiple - 1) / multiple * multiple;
    else
        job.tile_columns = ((n + pieces - 1) / pieces + multiple - 1) / multiple * multiple;
    job.tiles_across = (n + job.tile_columns - 1) / job.tile_columns;
    tlmi_gemm_prepare();
    tlmi_parallel_for((m + job.tile_rows - 1) / job.tile_rows * job.tiles_across, gemm_tile, &job);
    return TLM_OK;
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
