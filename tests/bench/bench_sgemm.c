/* sgemm rate beside the CPU's fused-multiply-add peak and the rate of BLIS's own driver, for square
 * products and for those of one training step of the CS336 model (batch 8, context 256, d_model 512,
 * d_ff 1344, vocabulary 10000); and the rate of products in bfloat16, where the CPU has them.
 *
 *     bench_sgemm [seconds per row]
 */
#include <stdio.h>
#include <stdlib.h>

#include "blis_driver.h"
#include "machine_peak.h"
#include "kernels/gemm.h"

/* ---- Products --------------------------------------------------------------------------- */

typedef struct product {
    const char *what;
    int64_t m, n, k;
    bool transpose_a, transpose_b; /* stored as (k, m), (n, k) */
    float beta;
} product_t;

static const product_t products[] = {
    {"square", 256, 256, 256, false, false, 0},
    {"square", 512, 512, 512, false, false, 0},
    {"square", 1024, 1024, 1024, false, false, 0},
    {"square", 2048, 2048, 2048, false, false, 0},
    {"attention projection", 2048, 512, 512, false, true, 0},
    {"  its input gradient", 2048, 512, 512, false, false, 0},
    {"  its weight gradient", 512, 512, 2048, true, false, 0},
    {"feed-forward up", 2048, 1344, 512, false, true, 0},
    {"  its input gradient", 2048, 512, 1344, false, false, 1},
    {"  its weight gradient", 1344, 512, 2048, true, false, 0},
    {"feed-forward down", 2048, 512, 1344, false, true, 0},
    {"  its input gradient", 2048, 1344, 512, false, false, 0},
    {"  its weight gradient", 512, 1344, 2048, true, false, 0},
    {"logits", 2048, 10000, 512, false, true, 0},
    {"  its input gradient", 2048, 512, 10000, false, false, 0},
    {"  its weight gradient", 10000, 512, 2048, true, false, 0},
    {"attention scores, one head", 256, 256, 32, false, true, 0},
    {"attention values, one head", 256, 32, 256, false, false, 0},
    {"one token, projection", 1, 512, 512, false, true, 0},
    {"one token, logits", 1, 10000, 512, false, true, 0},
};

/* Who computes a product. */
enum { FLOAT32, BFLOAT16, BLIS };

/* GFLOP/s, the best of several rounds; 0 if the CPU lacks the instructions. */
static double measure_product(const product_t *p, int by, double seconds)
{
    float *a = tlmi_alloc_aligned((size_t)(p->m * p->k), sizeof(float), "A");
    float *b = tlmi_alloc_aligned((size_t)(p->k * p->n), sizeof(float), "B");
    float *c = tlmi_alloc_aligned((size_t)(p->m * p->n), sizeof(float), "C");
    double best = 0;
    if (by == BFLOAT16 && tlmi_products_check("bench_sgemm", TLM_PRODUCTS_BFLOAT16) != TLM_OK)
        seconds = 0;
    else if (a != NULL && b != NULL && c != NULL) {
        for (int64_t i = 0; i < p->m * p->k; i++)
            a[i] = (float)(i % 17 - 8) / 8;
        for (int64_t i = 0; i < p->k * p->n; i++)
            b[i] = (float)(i % 13 - 6) / 6;
        for (int64_t i = 0; i < p->m * p->n; i++)
            c[i] = 0;
        tlmi_matrix_t left = {a, p->transpose_a ? 1 : p->k, p->transpose_a ? p->m : 1};
        tlmi_matrix_t right = {b, p->transpose_b ? 1 : p->n, p->transpose_b ? p->k : 1};
        double end = now() + seconds;
        int rounds = 0;
        do {
            double begin = now();
            if (by == BLIS)
                blis_gemm(p->m, p->n, p->k, left, right, c);
            else
                tlmi_gemm_as(by == BFLOAT16 ? TLM_PRODUCTS_BFLOAT16 : TLM_PRODUCTS_FLOAT32, p->m,
                             p->n, p->k, 1.0f, left, right, p->beta, c, p->n);
            double rate = 2e-9 * (double)p->m * (double)p->n * (double)p->k / (now() - begin);
            best = rate > best ? rate : best;
        } while (++rounds < 3 || now() < end);
    }
    tlmi_free(a);
    tlmi_free(b);
    tlmi_free(c);
    return best;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 0.25;
    int32_t threads = tlm_num_threads();
    printf("CPU level %s, BLIS kernels %s, %d threads\n", tlm_cpu_level_name(tlm_cpu_level()),
           tlm_gemm_kernel_name(), threads);
    double peaks[2];
    for (int i = 0; i < 2; i++) {
        tlm_set_num_threads(i == 0 ? 1 : threads);
        measure_peak(seconds);
        peaks[i] = measure_peak(seconds);
    }
    printf("FMA peak: %.1f GFLOP/s on 1 thread, %.1f on %d\n\n", peaks[0], peaks[1], threads);
    printf("%-27s %6s %6s %6s   %9s %6s %6s %6s   %9s %6s %6s %6s %8s\n", "product", "m", "n", "k",
           "1 thread", "peak", "BLIS", "bf16", "all", "peak", "BLIS", "bf16", "speed-up");
    for (size_t i = 0; i < sizeof(products) / sizeof(*products); i++) {
        const product_t *p = &products[i];
        double rates[2], blis[2], bf16[2];
        for (int j = 0; j < 2; j++) {
            tlm_set_num_threads(j == 0 ? 1 : threads);
            rates[j] = measure_product(p, FLOAT32, seconds);
            bf16[j] = measure_product(p, BFLOAT16, seconds);
            blis[j] = measure_product(p, BLIS, seconds);
        }
        printf("%-27s %6lld %6lld %6lld   %9.1f %5.0f%% %6.1f %6.1f   %9.1f %5.0f%% %6.1f %6.1f "
               "%7.2fx\n",
               p->what, (long long)p->m, (long long)p->n, (long long)p->k, rates[0],
               100 * rates[0] / peaks[0], blis[0], bf16[0], rates[1], 100 * rates[1] / peaks[1],
               blis[1], bf16[1], rates[1] / rates[0]);
    }
    return 0;
}
