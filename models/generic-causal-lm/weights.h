/* SPDX-License-Identifier: Apache-2.0
 *
 * The tensors of one model, found by the names of its family description and checked against the shapes that the spec
 * asks for. Matrices stay with the host as linear operators; only vectors (norms, biases) are copied. */
#ifndef CAUSAL_LM_WEIGHTS_H
#define CAUSAL_LM_WEIGHTS_H

#include "spec.h"

/* y = x W^T + bias. op is NULL when the model has no such matrix. */
struct linear {
    tsr_linear *op;
    tsr_linear *back;  /* x = y W, made when it is first asked for */
    const float *bias; /* [rows] or NULL */
    uint64_t rows, columns;
    uint64_t tensor; /* for hooks */
    bool turned;     /* stored [columns][rows] */
};

struct norm {
    const float *weight; /* NULL: no scale */
    const float *bias;   /* NULL: none */
    bool present;
};

struct mlp_weights {
    struct linear gate, up, down; /* fused: `gate` is [2 * intermediate] rows, gate first */
};

struct layer_weights {
    struct norm attn_norm, attn_post_norm, mlp_norm, mlp_post_norm, q_norm, k_norm;
    struct linear q, k, v, qkv, o;
    struct linear q_a, q_b, kv_a, kv_b; /* latent attention */
    struct norm q_a_norm, kv_a_norm;
    struct mlp_weights mlp, shared;
    struct mlp_weights *experts; /* [spec.experts] in sparse layers */
    struct linear router, shared_gate;
    const float *router_correction; /* [experts] or NULL */
};

struct weights {
    const tsr_weights *table;
    const tsr_host *host;
    uint64_t embed, positions; /* tensor indices */
    struct norm embed_norm, final_norm;
    struct linear project_in, project_out, lm_head;
    struct layer_weights *layer; /* [layers] */
    void **owned;                /* copied vectors */
    uint64_t owned_count, owned_capacity;
};

/* TSR_E_INPUT names the tensor: missing, of the wrong shape, or stored and used by nothing. Zero-initialised `weights`;
 * weights_clear in any case. */
tsr_status weights_init(const tsr_model_setup *setup, const struct spec *spec, struct weights *weights, tsr_error *err);
void weights_clear(struct weights *weights);

#endif
