/* SPDX-License-Identifier: Apache-2.0
 *
 * See shape_model.h. */
#include "shape_model.h"

#include <string.h>

/* Limits of all contexts, and their frequencies one behind the other; returns how many these are. */
static uint64_t collect(const struct shape *shape, struct shape_model *model, uint32_t *frequencies) {
    uint64_t at = 0;
    model->middle = 0;
    for (uint32_t i = 0; i < shape_contexts(shape); i++) {
        const uint32_t limit =
            shape_frequencies(shape, i / shape->quantisers, i % shape->quantisers, frequencies + at);
        model->limits[i] = limit;
        model->middle = limit > model->middle ? limit : model->middle;
        at += 2 * limit + 2;
    }
    return at;
}

/* [contexts][2 middle + 2] from what collect left. */
static void spread(const struct shape *shape, const struct shape_model *model, const uint32_t *from, uint32_t *to) {
    const uint32_t alphabet = 2 * model->middle + 2;
    for (uint32_t i = 0; i < shape_contexts(shape); i++, to += alphabet) {
        const uint32_t limit = model->limits[i];
        memset(to, 0, alphabet * sizeof *to);
        memcpy(to + model->middle - limit, from, (2 * limit + 1) * sizeof *to);
        to[alphabet - 1] = from[2 * limit + 1];
        from += 2 * limit + 2;
    }
}

tsr_status shape_model_create(const tsr_host *host, const tsr_entropy *entropy, const struct shape *shape,
                              struct shape_model *model, tsr_error *err) {
    const uint32_t contexts = shape_contexts(shape);
    uint32_t *close = host->alloc(host, (uint64_t)contexts * SHAPE_SYMBOLS_MAX * sizeof *close), *apart = NULL;
    tsr_status status = TSR_OK;
    if (close) {
        (void)collect(shape, model, close);
        apart = host->alloc(host, (uint64_t)contexts * (2 * model->middle + 2) * sizeof *apart);
    }
    if (apart) {
        const tsr_entropy_shape form = {sizeof form, 2 * model->middle + 2, contexts, shape->probability_bits, 0};
        spread(shape, model, close, apart);
        if (model->entropy) entropy->model_destroy(host, model->entropy);
        model->entropy = NULL;
        status = entropy->model_create_contexts(host, apart, &form, &model->entropy, err);
    } else {
        status = tsr_fail(err, TSR_E_NOMEM, "no memory for frequencies");
    }
    host->free(host, close);
    host->free(host, apart);
    return status;
}
