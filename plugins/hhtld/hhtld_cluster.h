/* SPDX-License-Identifier: Apache-2.0
 *
 * Spherical k-means with folded signs (Dhillon and Modha 2001; a vector and its negative are one direction). */
#ifndef HHTLD_CLUSTER_H
#define HHTLD_CLUSTER_H


#include <tessera/codec.h>
#include <tessera/ext/products.h>

struct hhtld_cluster {
    const tsr_host *host;
    const tsr_products *products;
    const float *x;          /* unit vectors (or zeros); vector i begins at rows[i] * columns */
    const uint32_t *rows;    /* [count] */
    uint64_t count, columns;
    uint32_t wanted;         /* centres, at most count */
    uint32_t iterations;
    float *centres;          /* [wanted][columns], gets unit vectors */
    uint32_t *assigned;      /* [count], gets the centre of each */
};

/* *found is the number of centres, 1 at least, without those that served nobody. The same for any number of workers. */
tsr_status hhtld_cluster_run(const struct hhtld_cluster *cluster, uint32_t *found, tsr_error *err);

#endif
