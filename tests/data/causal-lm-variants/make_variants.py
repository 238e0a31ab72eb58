#!/usr/bin/env python3
"""Makes the fixtures of this folder: tiny random models of families and variants that tests/data/causal-lm lacks, and what
the official implementation (transformers 4.57.3, torch 2.13.0, eager attention, float32) computes with them.
    pip install torch==2.13.0 transformers==4.57.3 && python make_variants.py [NAME ...]
The members of golden.safetensors are those of ../causal-lm/README.md. Two of the official classes cannot initialise themselves
without affine norms; their initialiser is skipped, since all weights are drawn here. The window of qwen2_moe is only right
without the official cache, so its continuation is made without one."""
import json
import math
import os
import sys

import torch
from safetensors.torch import save_file
import transformers
transformers.models.stablelm.modeling_stablelm.StableLmPreTrainedModel._init_weights=lambda self,m:None
transformers.models.opt.modeling_opt.OPTPreTrainedModel._init_weights=lambda self,m:None
from transformers import AutoModelForCausalLM, AutoConfig
torch.set_num_threads(1)
OUT = os.path.dirname(os.path.abspath(__file__))
def make(name, cfg, dtype=torch.bfloat16, T=48, seed=3):
    torch.manual_seed(seed)
    d=f'{OUT}/{name}'; os.makedirs(d,exist_ok=True)
    m=AutoModelForCausalLM.from_config(cfg,attn_implementation='eager').float().eval()
    g=torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for n,p in m.named_parameters():
            if p.dim()>=2 and 'norm' not in n:
                p.copy_(torch.randn(p.shape,generator=g)*(0.9/math.sqrt(p.shape[-1]) if 'embed' not in n and 'wte' not in n else 0.6))
            elif 'bias' in n: p.copy_(torch.randn(p.shape,generator=g)*0.3)
            else: p.copy_(1+torch.randn(p.shape,generator=g)*0.4 if not name.startswith('gemma') else torch.randn(p.shape,generator=g)*0.4)
        for n,b in m.named_buffers():
            if 'correction' in n: b.copy_(torch.randn(b.shape,generator=g)*0.1)
    m=m.to(dtype)
    m.save_pretrained(d)
    m=AutoModelForCausalLM.from_pretrained(d,dtype=torch.float32,attn_implementation='eager').eval()
    ids=torch.randint(0,cfg.vocab_size,(1,T),generator=g)
    fin={}
    head=m.get_output_embeddings()
    h=head.register_forward_pre_hook(lambda mod,a: fin.__setitem__('x',a[0].detach()))
    with torch.no_grad(): o=m(ids,output_hidden_states=True,use_cache=False)
    final=fin['x'][0].contiguous(); h.remove()
    # hidden after last layer before final norm: recompute via hook on last layer
    hs=[x[0] for x in o.hidden_states]
    base=getattr(m,'model',None) or getattr(m,'gpt_neox',None) or m.transformer
    base=getattr(base,'decoder',base)
    layers=getattr(base,'layers',None) or getattr(base,'h',None)
    cap={}
    hk=layers[-1].register_forward_hook(lambda mod,i,out: cap.__setitem__('y',(out[0] if isinstance(out,tuple) else out).detach()))
    with torch.no_grad(): m(ids,use_cache=False)
    hk.remove()
    y=cap['y']; y=y[0] if y.dim()==3 else y
    hs[-1]=y
    with torch.no_grad():
        cur=ids[:,:16]; past=None; out=[];
        inp=cur; cache=name!='qwen2_moe-window'
        for i in range(32):
            r=m(inp,past_key_values=past,use_cache=cache); past=r.past_key_values if cache else None
            lg=r.logits[0,-1]; t=int(lg.argmax()); out.append(t); inp=torch.tensor([[t]]) if cache else torch.cat([inp,torch.tensor([[t]])],1)
    save_file({'input_ids':ids,'logits':o.logits[0].contiguous(),'hidden':torch.stack([x.contiguous() for x in hs]),'final_hidden':final,
       'greedy_ids':torch.tensor(out),'greedy_last_logits':lg.contiguous()},f'{d}/golden.safetensors')
    json.dump({'fixture':name,'class':type(m).__name__,'seed':seed,'tokens':T,'versions':{'torch':torch.__version__,'transformers':transformers.__version__},'logits_std':float(o.logits.std())},open(f'{d}/provenance.json','w'),indent=1)
    print(name,'ok')
C=lambda t,**k: AutoConfig.for_model(t,**k)
S=dict(vocab_size=320,hidden_size=48,intermediate_size=96,num_hidden_layers=3,num_attention_heads=4,max_position_embeddings=128)
L={
'gemma2':C('gemma2',**{**S,'num_hidden_layers':4},num_key_value_heads=2,head_dim=16,query_pre_attn_scalar=20,sliding_window=10,attn_logit_softcapping=3.0,final_logit_softcapping=5.0,rms_norm_eps=1e-3),
'granite':C('granite',**S,num_key_value_heads=2,embedding_multiplier=3.0,logits_scaling=2.5,residual_multiplier=0.4,attention_multiplier=0.2,rms_norm_eps=1e-3,attention_bias=True,mlp_bias=True,tie_word_embeddings=True),
'stablelm':C('stablelm',**S,num_key_value_heads=2,partial_rotary_factor=0.5,use_qkv_bias=True,layer_norm_eps=1e-3),
'stablelm-parallel':C('stablelm',**S,num_key_value_heads=2,partial_rotary_factor=0.25+0.25,qk_layernorm=True,use_parallel_residual=True,layer_norm_eps=1e-3),
'starcoder2':C('starcoder2',**S,num_key_value_heads=2,use_bias=True,norm_epsilon=1e-3,sliding_window=9),
'phi3-long':C('phi3',**S,num_key_value_heads=2,original_max_position_embeddings=32,rms_norm_eps=1e-3,pad_token_id=0,rope_scaling={'type':'longrope','short_factor':[1.0,1.1,1.3,1.7,2.0,2.2],'long_factor':[1.2,2.0,3.0,4.0,5.0,6.5]}),
'phi3-short':C('phi3',**S,num_key_value_heads=2,original_max_position_embeddings=64,rms_norm_eps=1e-3,pad_token_id=0,rope_scaling={'type':'longrope','short_factor':[1.0,1.1,1.3,1.7,2.0,2.2],'long_factor':[1.2,2.0,3.0,4.0,5.0,6.5]}),
'phi-qknorm':C('phi',**S,num_key_value_heads=2,qk_layernorm=True,layer_norm_eps=1e-3),
'llama-yarn':C('llama',**S,num_key_value_heads=2,rope_scaling={'rope_type':'yarn','factor':4.0,'original_max_position_embeddings':32,'truncate':False},rms_norm_eps=1e-3),
'llama-dynamic-long':C('llama',**{**S,'max_position_embeddings':32},num_key_value_heads=2,rope_scaling={'rope_type':'dynamic','factor':2.0},rms_norm_eps=1e-3),
'falcon-new-oneln':C('falcon',vocab_size=320,hidden_size=64,num_hidden_layers=3,num_attention_heads=8,num_kv_heads=4,new_decoder_architecture=True,num_ln_in_parallel_attn=1,bias=True,layer_norm_epsilon=1e-3),
'falcon-seq-rope':C('falcon',vocab_size=320,hidden_size=64,num_hidden_layers=3,num_attention_heads=4,multi_query=False,parallel_attn=False,bias=True,layer_norm_epsilon=1e-3),
'falcon-alibi-parallel':C('falcon',vocab_size=320,hidden_size=48,num_hidden_layers=3,num_attention_heads=6,multi_query=True,parallel_attn=True,alibi=True,layer_norm_epsilon=1e-3),
'deepseek-noq':C('deepseek_v3',vocab_size=320,hidden_size=48,intermediate_size=96,moe_intermediate_size=24,num_hidden_layers=3,num_attention_heads=4,num_key_value_heads=4,n_shared_experts=1,n_routed_experts=8,routed_scaling_factor=1.3,kv_lora_rank=16,q_lora_rank=None,qk_rope_head_dim=8,v_head_dim=12,qk_nope_head_dim=8,n_group=2,topk_group=1,num_experts_per_tok=2,first_k_dense_replace=1,norm_topk_prob=False,max_position_embeddings=128,rope_interleave=False,attention_bias=True),
'qwen2_moe-window':C('qwen2_moe',**S,num_key_value_heads=2,decoder_sparse_step=1,moe_intermediate_size=24,shared_expert_intermediate_size=40,num_experts_per_tok=3,num_experts=5,norm_topk_prob=True,qkv_bias=False,rms_norm_eps=1e-3,use_sliding_window=True,sliding_window=11,max_window_layers=1),
'qwen3_moe-window':C('qwen3_moe',**S,num_key_value_heads=2,head_dim=16,decoder_sparse_step=2,moe_intermediate_size=24,num_experts_per_tok=2,num_experts=6,norm_topk_prob=False,rms_norm_eps=1e-3,use_sliding_window=True,sliding_window=11,attention_bias=True),
'qwen3-window':C('qwen3',**S,num_key_value_heads=2,head_dim=16,rms_norm_eps=1e-3,use_sliding_window=True,sliding_window=9,max_window_layers=1),
'smollm3-default':C('smollm3',**{**S,'num_hidden_layers':5},num_key_value_heads=2,rms_norm_eps=1e-3,pad_token_id=0,use_sliding_window=True,sliding_window=7,no_rope_layer_interval=2),
'gemma3-plain':C('gemma3_text',**{**S,'num_hidden_layers':7},num_key_value_heads=2,head_dim=16,sliding_window=9,rms_norm_eps=1e-3,attn_logit_softcapping=4.0,final_logit_softcapping=6.0),
'mixtral-window':C('mixtral',**S,num_key_value_heads=2,num_experts_per_tok=3,num_local_experts=4,rms_norm_eps=1e-3,sliding_window=8,head_dim=20),
'cohere2-default':C('cohere2',**{**S,'num_hidden_layers':5},num_key_value_heads=2,sliding_window=10,layer_norm_eps=1e-3,attention_bias=True),
'cohere-noqk':C('cohere',**S,num_key_value_heads=4,layer_norm_eps=1e-3,attention_bias=True,use_qk_norm=False,logit_scale=2.0),
'olmo2-bias':C('olmo2',**S,num_key_value_heads=1,attention_bias=True,rms_norm_eps=1e-3,tie_word_embeddings=True,rope_scaling={'type':'linear','factor':2.0}),
'gpt_neox-nobias':C('gpt_neox',**S,attention_bias=False,rotary_pct=0.5,layer_norm_eps=1e-3,hidden_act='relu',rope_scaling={'rope_type':'linear','factor':2.0}),
'gpt2-noscale':C('gpt2',vocab_size=320,n_embd=48,n_layer=3,n_head=4,n_positions=64,scale_attn_weights=False,layer_norm_epsilon=1e-3,activation_function='quick_gelu' if False else 'gelu_pytorch_tanh'),
'bloom-post':C('bloom',vocab_size=320,hidden_size=48,n_layer=3,n_head=4,apply_residual_connection_post_layernorm=True,layer_norm_epsilon=1e-3),
'opt-noaffine':C('opt',vocab_size=320,hidden_size=48,ffn_dim=96,num_hidden_layers=3,num_attention_heads=4,max_position_embeddings=64,word_embed_proj_dim=48,enable_bias=False,layer_norm_elementwise_affine=False),
'phi3-plainwin':C('phi3',**S,num_key_value_heads=4,rms_norm_eps=1e-3,pad_token_id=0,tie_word_embeddings=True),
'gptj-full':C('gptj',vocab_size=320,n_embd=48,n_layer=3,n_head=4,n_positions=64,rotary_dim=12,layer_norm_epsilon=1e-3,activation_function='silu'),
'mistral-nowin':C('mistral',**S,num_key_value_heads=2,sliding_window=None,rms_norm_eps=1e-3,rope_scaling=None),
}
for n in (sys.argv[1:] or L):
    try: make(n,L[n])
    except Exception as e: print(n,'FAILED',type(e).__name__,str(e)[:300])
