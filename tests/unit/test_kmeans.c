/* SPDX-License-Identifier: Apache-2.0
 *
 * k-means and codebook search: equal kernels, exact answers on small problems, cells that would stay empty, errors as
 * the literature has them, the same words from any number of workers. */
#include "unit.h"

#include "../codec_harness.h"

#include <base/pool.h>
#include <base/rng.h>
#include <math.h>
#include <numeric/kmeans.h>
#include <numeric/kmeans_search.h>

static float *normal(uint64_t count, uint64_t seed) {
    struct rng rng = {seed};
    float *x = mem_alloc_array(count, sizeof *x);
    for (uint64_t i = 0; i < count; i++) {
        x[i] = (float)(sqrt(-2 * log(1 - rng_real(&rng))) * cos(8 * atan(1) * rng_real(&rng)));
    }
    return x;
}

static tsr_codebook *codebook_of(struct harness_host *host, const float *words, uint64_t k, uint64_t dim) {
    tsr_codebook *codebook = NULL;
    CU_ASSERT_EQUAL_FATAL(kmeans_services()->codebook_create(&host->host, words, k, dim, &codebook, NULL), TSR_OK);
    return codebook;
}

/* ---- search ---- */

static uint64_t kernels_here(const struct kmeans_kernels *list[3]) {
    uint64_t count = 0;
    list[count++] = &kmeans_kernels_portable;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) list[count++] = &kmeans_kernels_avx2;
    if (kmeans_kernels_best() == &kmeans_kernels_avx512) list[count++] = &kmeans_kernels_avx512;
#endif
    return count;
}

static void all_kernels_give_the_same_bits(void) {
    static const uint64_t SHAPES[][2] = {{1, 1}, {2, 3}, {15, 4}, {16, 8}, {17, 2}, {256, 8}, {300, 16}, {1000, 5}};
    enum { VECTORS = 37 };
    const struct kmeans_kernels *kernels[3];
    const uint64_t found = kernels_here(kernels);
    for (unsigned i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
        const uint64_t k = SHAPES[i][0], dim = SHAPES[i][1];
        struct harness_host host;
        harness_init(&host);
        float *words = normal(k * dim, i), *x = normal(VECTORS * dim, i + 100), *w = normal(VECTORS * dim, i + 200);
        float base[VECTORS];
        uint32_t index[3][VECTORS];
        tsr_candidate best[3][TSR_KMEANS_BEST_MAX];
        for (uint64_t j = 0; j < VECTORS * dim; j++) w[j] *= w[j];
        for (int v = 0; v < VECTORS; v++) base[v] = (float)(v % 5);
        tsr_codebook *codebook = codebook_of(&host, words, k, dim);
        for (int weighted = 0; weighted < 2; weighted++) {
            for (uint64_t most = 1; most <= 64; most *= 4) {
                memset(best, 0, sizeof best);
                for (uint64_t n = 0; n < found; n++) {
                    kmeans_nearest_by(kernels[n], codebook, x, weighted ? w : NULL, VECTORS, index[n]);
                    uint64_t got =
                        kmeans_best_by(kernels[n], codebook, x, weighted ? w : NULL, base, VECTORS, most, best[n]);
                    CU_ASSERT_EQUAL(got, k * VECTORS < most ? k * VECTORS : most);
                    CU_ASSERT_EQUAL(memcmp(index[n], index[0], sizeof index[0]), 0);
                    CU_ASSERT_EQUAL(memcmp(best[n], best[0], sizeof best[0]), 0);
                }
            }
        }
        kmeans_services()->codebook_destroy(&host.host, codebook);
        CU_ASSERT_EQUAL(host.blocks, 0);
        mem_free(words);
        mem_free(x);
        mem_free(w);
    }
}

/* Against a search that computes distances as they are defined, in double. */
static void the_nearest_word_is_found(void) {
    enum { K = 77, DIM = 6, VECTORS = 200 };
    struct harness_host host;
    harness_init(&host);
    float *words = normal(K * DIM, 1), *x = normal(VECTORS * DIM, 2), *w = normal(VECTORS * DIM, 3);
    uint32_t index[VECTORS];
    for (int j = 0; j < VECTORS * DIM; j++) w[j] *= w[j];
    tsr_codebook *codebook = codebook_of(&host, words, K, DIM);
    for (int weighted = 0; weighted < 2; weighted++) {
        kmeans_services()->nearest(codebook, x, weighted ? w : NULL, VECTORS, index);
        for (int v = 0; v < VECTORS; v++) {
            double least = 1e300, own = 0;
            for (int k = 0; k < K; k++) {
                double distance = 0;
                for (int i = 0; i < DIM; i++) {
                    double difference = (double)x[v * DIM + i] - (double)words[k * DIM + i];
                    distance += difference * difference * (weighted ? (double)w[v * DIM + i] : 1);
                }
                least = distance < least ? distance : least;
                if ((uint32_t)k == index[v]) own = distance;
            }
            CU_ASSERT(own <= least * (1 + 1e-5));
        }
    }
    kmeans_services()->codebook_destroy(&host.host, codebook);
    mem_free(words);
    mem_free(x);
    mem_free(w);
}

static void the_best_pairs_stand_in_order(void) {
    enum { K = 40, DIM = 2, VECTORS = 9, MOST = 16 };
    struct harness_host host;
    harness_init(&host);
    float *words = normal(K * DIM, 4), *x = normal(VECTORS * DIM, 5), base[VECTORS];
    tsr_candidate best[MOST];
    for (int v = 0; v < VECTORS; v++) base[v] = 0.5f * (x[2 * v] * x[2 * v] + x[2 * v + 1] * x[2 * v + 1]);
    tsr_codebook *codebook = codebook_of(&host, words, K, DIM);
    CU_ASSERT_EQUAL(kmeans_services()->best(codebook, x, NULL, base, VECTORS, MOST, best), MOST);
    int better = 0;
    for (int i = 0; i < MOST; i++) {
        const float *a = x + best[i].vector * DIM, *b = words + best[i].word * DIM;
        double distance = pow((double)a[0] - (double)b[0], 2) + pow((double)a[1] - (double)b[1], 2);
        CU_ASSERT_DOUBLE_EQUAL((double)best[i].score, distance / 2, 1e-5);
        CU_ASSERT(i == 0 || best[i - 1].score <= best[i].score);
    }
    for (int v = 0; v < VECTORS; v++) {
        for (int k = 0; k < K; k++) {
            double distance = pow((double)x[2 * v] - (double)words[2 * k], 2) +
                              pow((double)x[2 * v + 1] - (double)words[2 * k + 1], 2);
            better += distance / 2 < (double)best[MOST - 1].score - 1e-5;
        }
    }
    CU_ASSERT(better <= MOST - 1);
    kmeans_services()->codebook_destroy(&host.host, codebook);
    mem_free(words);
    mem_free(x);
}

static void equal_words_give_the_lowest_index(void) {
    struct harness_host host;
    float words[64], x[3] = {0.25f, 1.75f, 5};
    uint32_t index[3];
    harness_init(&host);
    for (int k = 0; k < 64; k++) words[k] = (float)(k / 20);
    tsr_codebook *codebook = codebook_of(&host, words, 64, 1);
    kmeans_services()->nearest(codebook, x, NULL, 3, index);
    CU_ASSERT(index[0] == 0 && index[1] == 40 && index[2] == 60);
    kmeans_services()->codebook_destroy(&host.host, codebook);
}

/* ---- training ---- */

static double training_error(struct harness_host *host, const tsr_kmeans_job *job, const float *words) {
    tsr_codebook *codebook = codebook_of(host, words, job->k, job->dim);
    uint32_t *index = mem_alloc_array(job->count, sizeof *index);
    double error = 0, energy = 0;
    kmeans_services()->nearest(codebook, job->vectors, NULL, job->count, index);
    for (uint64_t v = 0; v < job->count; v++) {
        for (uint64_t i = 0; i < job->dim; i++) {
            double x = (double)job->vectors[v * job->dim + i], c = (double)words[index[v] * job->dim + i];
            error += (x - c) * (x - c);
            energy += x * x;
        }
    }
    kmeans_services()->codebook_destroy(&host->host, codebook);
    mem_free(index);
    return error / energy;
}

/* Lloyd-Max quantisers of a Gaussian (Max 1960): 4 levels 0.1175, 8 levels 0.03454. */
static void errors_are_those_of_the_optimal_quantiser(void) {
    static const double EXPECTED[][2] = {{2, 0.3634}, {4, 0.1175}, {8, 0.03454}};
    struct harness_host host;
    float words[16], *x = normal(40000, 6);
    harness_init(&host);
    for (int i = 0; i < 3; i++) {
        tsr_kmeans_job job = {sizeof job, x, NULL, 40000, 1, (uint64_t)EXPECTED[i][0], 200, 0, 1};
        CU_ASSERT_EQUAL(kmeans_services()->train(&host.host, &job, words, NULL), TSR_OK);
        double error = training_error(&host, &job, words);
        CU_ASSERT(error > 0.98 * EXPECTED[i][1] && error < 1.03 * EXPECTED[i][1]);
    }
    CU_ASSERT_EQUAL(host.blocks, 0);
    mem_free(x);
}

/* As many clusters as words, far apart: each gets one, whatever the start missed. */
static void no_cell_stays_empty(void) {
    enum { CLUSTERS = 50, EACH = 30, DIM = 3 };
    struct harness_host host;
    float *x = normal(CLUSTERS * EACH * DIM, 7), words[CLUSTERS * DIM];
    harness_init(&host);
    for (int v = 0; v < CLUSTERS * EACH; v++) {
        for (int i = 0; i < DIM; i++) x[v * DIM + i] = x[v * DIM + i] * 0.001f + (float)((v / EACH * 7 + i * 31) % 97);
    }
    tsr_kmeans_job job = {sizeof job, x, NULL, CLUSTERS * EACH, DIM, CLUSTERS, 60, 2, 3};
    CU_ASSERT_EQUAL(kmeans_services()->train(&host.host, &job, words, NULL), TSR_OK);
    CU_ASSERT(training_error(&host, &job, words) < 1e-6);
    mem_free(x);
}

static void few_or_equal_vectors_are_their_own_words(void) {
    struct harness_host host;
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, words[20], same[400];
    harness_init(&host);
    tsr_kmeans_job job = {sizeof job, x, NULL, 4, 2, 10, 5, 0, 1};
    CU_ASSERT_EQUAL(kmeans_services()->train(&host.host, &job, words, NULL), TSR_OK);
    CU_ASSERT_EQUAL(memcmp(words, x, sizeof x), 0);
    for (int i = 8; i < 20; i++) CU_ASSERT_EQUAL(words[i], 0);
    for (int i = 0; i < 400; i++) same[i] = 2.5f;
    job = (tsr_kmeans_job){sizeof job, same, NULL, 200, 2, 10, 5, 0, 1};
    CU_ASSERT_EQUAL(kmeans_services()->train(&host.host, &job, words, NULL), TSR_OK);
    for (int i = 0; i < 20; i++) CU_ASSERT_EQUAL(words[i], 2.5f);
    job.k = 0;
    CU_ASSERT_EQUAL(kmeans_services()->train(&host.host, &job, words, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_EQUAL(host.blocks, 0);
}

/* One word, two vectors: it lies where the weights pull it, in each dimension. */
static void weights_pull_the_mean(void) {
    struct harness_host host;
    float x[4] = {0, 0, 1, 1}, w[4] = {1, 3, 3, 1}, word[2];
    harness_init(&host);
    tsr_kmeans_job job = {sizeof job, x, w, 2, 2, 1, 5, 0, 1};
    CU_ASSERT_EQUAL(kmeans_services()->train(&host.host, &job, word, NULL), TSR_OK);
    CU_ASSERT(word[0] == 0.75f && word[1] == 0.25f);
}

static struct pool *shared_pool;

static tsr_status pool_parallel_for(const tsr_host *host, uint64_t count, tsr_task task, void *ctx, tsr_error *err) {
    (void)host;
    return pool_for(shared_pool, count, task, ctx, err);
}

static void words_are_the_same_from_three_workers(void) {
    enum { K = 200, DIM = 4, COUNT = 9000 };
    struct harness_host host;
    float *x = normal(COUNT * DIM, 8), one[K * DIM], three[K * DIM];
    tsr_kmeans_job job = {sizeof job, x, NULL, COUNT, DIM, K, 8, 4, 1};
    harness_init(&host);
    CU_ASSERT_EQUAL(kmeans_services()->train(&host.host, &job, one, NULL), TSR_OK);
    shared_pool = pool_create(3);
    CU_ASSERT_PTR_NOT_NULL_FATAL(shared_pool);
    host.host.parallel_for = pool_parallel_for;
    CU_ASSERT_EQUAL(kmeans_services()->train(&host.host, &job, three, NULL), TSR_OK);
    pool_destroy(shared_pool);
    CU_ASSERT_EQUAL(memcmp(one, three, sizeof one), 0);
    mem_free(x);
}

static void every_refused_allocation_is_survived(void) {
    struct harness_host host;
    float *x = normal(600, 9), words[40];
    tsr_kmeans_job job = {sizeof job, x, NULL, 300, 2, 20, 5, 40, 1};
    for (int64_t n = 1;; n++) {
        harness_init(&host);
        host.fail_at = n;
        tsr_status status = kmeans_services()->train(&host.host, &job, words, NULL);
        CU_ASSERT_EQUAL(host.blocks, 0);
        if (status == TSR_OK) break;
        CU_ASSERT_EQUAL_FATAL(status, TSR_E_NOMEM);
    }
    CU_ASSERT(host.allocations > 10);
    mem_free(x);
}

static const struct unit_test TESTS[] = {
    {"all_kernels_give_the_same_bits", all_kernels_give_the_same_bits},
    {"the_nearest_word_is_found", the_nearest_word_is_found},
    {"the_best_pairs_stand_in_order", the_best_pairs_stand_in_order},
    {"equal_words_give_the_lowest_index", equal_words_give_the_lowest_index},
    {"errors_are_those_of_the_optimal_quantiser", errors_are_those_of_the_optimal_quantiser},
    {"no_cell_stays_empty", no_cell_stays_empty},
    {"few_or_equal_vectors_are_their_own_words", few_or_equal_vectors_are_their_own_words},
    {"weights_pull_the_mean", weights_pull_the_mean},
    {"words_are_the_same_from_three_workers", words_are_the_same_from_three_workers},
    {"every_refused_allocation_is_survived", every_refused_allocation_is_survived},
};

UNIT_MAIN(TESTS)
