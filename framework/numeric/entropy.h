/* SPDX-License-Identifier: Apache-2.0
 *
 * The entropy coder as the host lends it to plugins (tessera/ext/entropy.h). Knows no codec and no file. */
#ifndef NUMERIC_ENTROPY_H
#define NUMERIC_ENTROPY_H

#include <tessera/ext/entropy.h>

/* What get_extension returns for TSR_ENTROPY_ID. Static. [any] */
const tsr_entropy *entropy_services(void);

#endif
