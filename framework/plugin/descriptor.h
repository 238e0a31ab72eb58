/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks the tables that a plugin exports before anybody uses them. Every refusal is one line without the path, which
 * the loader knows. */
#ifndef PLUGIN_DESCRIPTOR_H
#define PLUGIN_DESCRIPTOR_H

#include <tessera/plugin.h>

/* TSR_OK when all codecs and models of the plugin can be used, else TSR_E_PLUGIN. Tables of an older minor may end
 * early, those of a newer one may be longer. [any] */
tsr_status descriptor_check(const tsr_plugin *plugin, tsr_error *err);

#endif
