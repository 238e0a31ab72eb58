/* SPDX-License-Identifier: Apache-2.0
 *
 * Which numeric services a host lends to plugins, by extension id. */
#ifndef NUMERIC_LENT_H
#define NUMERIC_LENT_H

/* The table of tessera/ext/ for id, or NULL. Static. [any] */
const void *numeric_lent(const char *id);

#endif
