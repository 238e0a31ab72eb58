/* SPDX-License-Identifier: Apache-2.0
 *
 * Version of the plugin ABI. The major decides whether a plugin and a host can talk at all: it is part of
 * the exported symbol's name (tsr_plugin_v0). The minor counts additions; a table's struct_size says which
 * members exist, so a host never needs to compare minors. Until 1.0 the ABI may change between minors. */
#ifndef TESSERA_VERSION_H
#define TESSERA_VERSION_H

#define TSR_ABI_MAJOR 0
#define TSR_ABI_MINOR 3

/* Version of the program and the library. */
#define TSR_VERSION "0.1.0"

#endif
