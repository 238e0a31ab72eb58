/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph one layer at a time, for who keeps the states between layers elsewhere. */
#ifndef CAUSAL_LM_LAYERS_H
#define CAUSAL_LM_LAYERS_H

#include <tessera/ext/layers.h>

extern const tsr_layers layers_extension;

#endif
