/* SPDX-License-Identifier: Apache-2.0
 *
 * One line a service. */
#include "lent.h"

#include "entropy.h"
#include "hadamard.h"
#include "kmeans.h"
#include "products.h"

#include <string.h>

const void *numeric_lent(const char *id) {
    if (!strcmp(id, TSR_ENTROPY_ID)) return entropy_services();
    if (!strcmp(id, TSR_HADAMARD_ID)) return hadamard_services();
    if (!strcmp(id, TSR_KMEANS_ID)) return kmeans_services();
    if (!strcmp(id, TSR_PRODUCTS_ID)) return products_services();
    return NULL;
}
