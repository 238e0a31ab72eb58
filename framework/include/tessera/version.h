/* SPDX-License-Identifier: Apache-2.0
 *
 * Version of the plugin ABI. The major decides whether a plugin and a host can talk at all: it is part of
 * the exported symbol's name (tsr_plugin_v1). The minor counts additions; a table's struct_size says which
 * members exist, so a host never needs to compare minors. */
#ifndef TESSERA_VERSION_H
#define TESSERA_VERSION_H

#define TSR_ABI_MAJOR 1
#define TSR_ABI_MINOR 0

/* Version of the program and the library. */
#define TSR_VERSION "0.1.0"

#endif
