/* SPDX-License-Identifier: Apache-2.0
 *
 * Which kernels this processor was given, and the BLAS that is loaded: for people who wonder why something is slow. */
#ifndef NUMERIC_PATHS_H
#define NUMERIC_PATHS_H

#define NUMERIC_PATHS 7

/* What the index-th set of kernels is for, and which one was chosen: "portable", "avx2", "avx512". [any] */
const char *numeric_path(unsigned index, const char **chosen);
/* "OpenBLAS 0.3.21 ..." with its own choice of kernels. [any] */
const char *numeric_blas(const char **kernels);

#endif
