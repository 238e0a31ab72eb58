/* SPDX-License-Identifier: Apache-2.0
 *
 * k-means and codebook search as the host lends them to plugins (tessera/ext/kmeans.h). Knows no codec and no file. */
#ifndef NUMERIC_KMEANS_H
#define NUMERIC_KMEANS_H

#include <tessera/ext/kmeans.h>

/* What get_extension returns for TSR_KMEANS_ID. Static. [any] */
const tsr_kmeans *kmeans_services(void);

#endif
