/* SPDX-License-Identifier: Apache-2.0
 *
 * Assignment runs over blocks of vectors on the host's workers; sums are added in order by one. A centre that lost its
 * vectors takes the one that is served worst. */
#include "hhtld_cluster.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 256 };

struct state {
    const struct hhtld_cluster *cluster;
    uint32_t centres;
    double *sums;    /* [centres][columns] */
    uint32_t *sizes; /* [centres] */
    float *fits;     /* [count] <x, its centre>, with its sign */
};

static const float *vector_at(const struct hhtld_cluster *cluster, uint64_t i) {
    return cluster->x + cluster->rows[i] * cluster->columns;
}

static tsr_status assign_block(void *ctx, uint64_t index, uint64_t worker, tsr_error *err) {
    struct state *state = ctx;
    const struct hhtld_cluster *cluster = state->cluster;
    uint64_t end = (index + 1) * BLOCK < cluster->count ? (index + 1) * BLOCK : cluster->count;
    (void)worker;
    if (cluster->host->cancelled(cluster->host)) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    for (uint64_t i = index * BLOCK; i < end; i++) {
        const float *x = vector_at(cluster, i);
        float best = -1;
        for (uint32_t k = 0; k < state->centres; k++) {
            float dot = cluster->products->dot(x, cluster->centres + k * cluster->columns, cluster->columns);
            if (fabsf(dot) <= best) continue;
            best = fabsf(dot);
            state->fits[i] = dot;
            cluster->assigned[i] = k;
        }
    }
    return TSR_OK;
}

static tsr_status assign(struct state *state, tsr_error *err) {
    const tsr_host *host = state->cluster->host;
    return host->parallel_for(host, (state->cluster->count - 1) / BLOCK + 1, assign_block, state, err);
}

static void add_up(struct state *state) {
    const struct hhtld_cluster *cluster = state->cluster;
    memset(state->sums, 0, state->centres * cluster->columns * sizeof *state->sums);
    memset(state->sizes, 0, state->centres * sizeof *state->sizes);
    for (uint64_t i = 0; i < cluster->count; i++) {
        const float *x = vector_at(cluster, i);
        double *sum = state->sums + cluster->assigned[i] * cluster->columns;
        double sign = state->fits[i] < 0 ? -1 : 1;
        for (uint64_t c = 0; c < cluster->columns; c++) sum[c] += sign * (double)x[c];
        state->sizes[cluster->assigned[i]]++;
    }
}

static void set_centre(float *centre, const double *sum, uint64_t columns) {
    double energy = 0;
    for (uint64_t c = 0; c < columns; c++) energy += sum[c] * sum[c];
    double inverse = energy > 0 ? 1 / sqrt(energy) : 0;
    for (uint64_t c = 0; c < columns; c++) centre[c] = (float)(sum[c] * inverse);
}

/* The vector with the worst fit, which then counts as served. */
static uint64_t take_worst(struct state *state) {
    uint64_t worst = 0;
    for (uint64_t i = 1; i < state->cluster->count; i++) {
        if (fabsf(state->fits[i]) < fabsf(state->fits[worst])) worst = i;
    }
    state->fits[worst] = 2;
    return worst;
}

static void update(struct state *state) {
    const struct hhtld_cluster *cluster = state->cluster;
    const uint64_t columns = cluster->columns;
    add_up(state);
    for (uint32_t k = 0; k < state->centres; k++) {
        float *centre = cluster->centres + k * columns;
        if (state->sizes[k])
            set_centre(centre, state->sums + k * columns, columns);
        else
            memcpy(centre, vector_at(cluster, take_worst(state)), columns * sizeof *centre);
    }
}

tsr_status hhtld_cluster_run(const struct hhtld_cluster *cluster, tsr_error *err) {
    const tsr_host *host = cluster->host;
    const uint64_t columns = cluster->columns;
    struct state state = {.cluster = cluster, .centres = cluster->wanted};
    tsr_status st = TSR_OK;
    if (cluster->count == 0) {
        memset(cluster->centres, 0, state.centres * columns * sizeof *cluster->centres);
        return TSR_OK;
    }
    state.sums = host->alloc(host, state.centres * columns * sizeof *state.sums);
    state.sizes = host->alloc(host, state.centres * sizeof *state.sizes);
    state.fits = host->alloc(host, cluster->count * sizeof *state.fits);
    if (!state.sums || !state.sizes || !state.fits) {
        st = tsr_fail(err, TSR_E_NOMEM, "hhtld: no memory to train %u centres", state.centres);
        goto done;
    }
    for (uint64_t k = 0; k < state.centres; k++) {
        memcpy(cluster->centres + k * columns, vector_at(cluster, k * cluster->count / state.centres),
               columns * sizeof *cluster->centres);
    }
    st = assign(&state, err);
    for (uint32_t i = 0; i < cluster->iterations && st == TSR_OK; i++) {
        update(&state);
        st = assign(&state, err);
    }
done:
    host->free(host, state.sums);
    host->free(host, state.sizes);
    host->free(host, state.fits);
    return st;
}
