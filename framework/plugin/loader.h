/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens one plugin file: the only place that calls dlopen. A file that was opened is never closed. */
#ifndef PLUGIN_LOADER_H
#define PLUGIN_LOADER_H

#include <tessera/plugin.h>

/* The checked table of the .so at `path`, static for the life of the process. TSR_E_PLUGIN with one line, which does
 * not name the path, for anything that cannot be used; TSR_E_IO or TSR_E_INPUT when the file cannot be read. */
tsr_status loader_open(const char *path, const tsr_plugin **plugin, tsr_error *err);

#endif
