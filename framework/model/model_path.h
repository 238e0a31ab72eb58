/* SPDX-License-Identifier: Apache-2.0
 *
 * How the matrices of a compressed model are multiplied. */
#ifndef MODEL_MODEL_PATH_H
#define MODEL_MODEL_PATH_H

enum model_path {
    MODEL_PATH_AUTO = 0, /* one token from the payload where the codec can, many tokens decoded */
    MODEL_PATH_DENSE,    /* always decoded */
    MODEL_PATH_CODEC     /* token by token from the payload where the codec can */
};

#endif
