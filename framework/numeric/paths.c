/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks each module for its choice. */
#include "paths.h"

#include "dense_kernels.h"
#include "divergence.h"
#include "entropy_rans.h"
#include "hadamard.h"
#include "kmeans_search.h"
#include "products.h"
#include "score.h"

#include <cblas.h>
#include <format/dtype.h>

static const char *const LEVELS[] = {"portable", "avx2", "avx512"};

/* 0, 1 or 2 by which of the three a pointer is. */
static const char *level_of(const void *chosen, const void *portable, const void *avx2) {
    return LEVELS[chosen == portable ? 0 : chosen == avx2 ? 1 : 2];
}

static const char *entropy_level(void) {
    return LEVELS[rans_level_best() == RANS_SCALAR ? 0 : rans_level_best() == RANS_AVX2 ? 1 : 2];
}

#if defined(__x86_64__)
#define IF_X86(pointer) (pointer)
#else
#define IF_X86(pointer) NULL
#endif

const char *numeric_path(unsigned index, const char **chosen) {
    static const char *const names[NUMERIC_PATHS] = {"entropy coder", "products", "products from codes", "Hadamard transform",
                                                     "k-means", "divergence", "row search"};
    switch (index) {
    case 0: *chosen = entropy_level(); break;
    case 1: *chosen = level_of(dense_kernels_best(), &dense_kernels_scalar, IF_X86(&dense_kernels_avx2)); break;
    case 2: *chosen = level_of(products_services(), &products_portable, IF_X86(&products_avx2)); break;
    case 3: *chosen = level_of(hadamard_kernels_best(), &hadamard_portable, IF_X86(&hadamard_avx2)); break;
    case 4: *chosen = level_of(kmeans_kernels_best(), &kmeans_kernels_portable, IF_X86(&kmeans_kernels_avx2)); break;
    case 5: *chosen = LEVELS[divergence_level()]; break;
    default: *chosen = level_of(score_kernels(), &score_portable, IF_X86(&score_avx2));
    }
    return names[index];
}

const char *numeric_blas(const char **kernels) {
    *kernels = openblas_get_corename();
    return openblas_get_config();
}
