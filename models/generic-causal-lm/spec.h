/* SPDX-License-Identifier: Apache-2.0
 *
 * The description of one model: a family description (families/, docs/models/families.md) resolved against config.json.
 * Everything the graph does follows from these numbers; no code asks for a family's name. */
#ifndef CAUSAL_LM_SPEC_H
#define CAUSAL_LM_SPEC_H

#include <stdbool.h>
#include <tessera/model.h>

enum norm_kind { NORM_RMS, NORM_LAYER };
enum qk_norm_kind { QK_NORM_NONE, QK_NORM_SHARED, QK_NORM_HEADS, QK_NORM_ALL };
enum qkv_layout { QKV_SEPARATE, QKV_CONCAT, QKV_GROUPED };
enum mlp_kind { MLP_GATED, MLP_FUSED, MLP_PLAIN };
enum rope_kind { ROPE_NONE, ROPE_HALF, ROPE_INTERLEAVED };
enum rope_scaling { SCALING_NONE, SCALING_LINEAR, SCALING_DYNAMIC, SCALING_LLAMA3, SCALING_YARN, SCALING_LONGROPE };
enum residual_kind { RESIDUAL_SEQUENTIAL, RESIDUAL_PARALLEL, RESIDUAL_POST_NORM };
enum alibi_kind { ALIBI_NONE, ALIBI_ADDED, ALIBI_SCALED };
enum attention_kind { ATTENTION_HEADS, ATTENTION_LATENT };
enum router_kind { ROUTER_SOFTMAX, ROUTER_SIGMOID };
enum activation { ACT_SILU, ACT_GELU, ACT_GELU_TANH, ACT_QUICK_GELU, ACT_RELU, ACT_RELU2, ACT_TANH, ACT_SIGMOID, ACT_NONE };

/* What differs from layer to layer. */
struct layer_spec {
    uint64_t window; /* 0: sees everything before it */
    bool rope;       /* false: no positional rotation in this layer (NoPE) */
    bool local_rope; /* uses rope_local_theta without scaling */
    bool sparse;     /* mixture of experts in place of the dense MLP */
    float attn_scale; /* multiplies the scores */
};

/* Fields are filled by name from a description; the table in spec.c lists them with their defaults. */
struct spec {
    uint64_t hidden, layers, vocabulary, context;
    uint64_t embed_width; /* hidden unless there are projections in and out */
    uint64_t heads, kv_heads, head_dim, v_head_dim;
    uint64_t intermediate;
    uint64_t position_offset; /* row of learned positions = position + offset */
    uint64_t rotary_dim;
    uint64_t window, window_from, window_pattern, no_rope_interval;
    uint64_t experts, experts_per_token, expert_intermediate, shared_intermediate, shared_experts;
    uint64_t expert_groups, expert_groups_chosen, first_dense, sparse_step;
    uint64_t q_rank, kv_rank, nope_dim, rope_dim; /* latent attention */
    double norm_eps, norm_offset, qk_norm_eps, latent_norm_eps;
    double attn_scale, attn_softcap, logit_softcap, logit_scale, logit_divisor;
    double embed_scale, residual_scale, clip_qkv, routed_scale;
    double rope_theta, rope_local_theta, rotary_fraction;
    double scaling_factor, scaling_attention, scaling_mscale, scaling_mscale_all;
    double scaling_beta_fast, scaling_beta_slow, scaling_low_freq, scaling_high_freq, scaling_original;
    double scaling_stretch; /* derived: stretched against trained context */
    bool norm_bias, norm_affine, embed_sqrt, embed_norm, final_norm, learned_positions;
    bool tied, residual_after_norm, scale_by_layer, conv1d, scaling_truncate, window_without_rope;
    bool q_bias, k_bias, v_bias, o_bias, qkv_bias, mlp_bias, lm_head_bias, attn_post_norm, mlp_post_norm, mlp_norm, attn_norm;
    bool expert_normalise, shared_gate, router_correction, router_group_top2, qk_norm_bias;
    int32_t norm, qk_norm, qk_norm_type, qkv, mlp, activation, rope, scaling, residual, alibi, attention, router;
    const double *long_factor, *short_factor; /* [rotary_dim / 2]; longrope */
    struct layer_spec *layer;                 /* [layers] */

    const tsr_node *family; /* with `tensors` and `buffers` */
};

/* Family description for this config's model_type, or NULL. */
const tsr_node *spec_family(const tsr_node *config, const tsr_node *families);
/* Resolves. Memory is the host's; spec_clear in any case. TSR_E_INPUT names the config key. */
tsr_status spec_init(const tsr_model_setup *setup, struct spec *spec, tsr_error *err);
void spec_clear(const tsr_host *host, struct spec *spec);

#endif
