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
    uint32_t wanted;         /* centres */
    uint32_t iterations;
    float *centres;          /* [wanted][columns], gets unit vectors; zeros when there is nothing to serve */
    uint32_t *assigned;      /* [count], gets the centre of each */
};

/* The same for any number of workers. */
tsr_status hhtld_cluster_run(const struct hhtld_cluster *cluster, tsr_error *err);

#endif
