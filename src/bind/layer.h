// layer.h: what the files of layers in the binding share: layer.c has layers themselves, adapter.c their
// adapters.
#ifndef NNL_BIND_LAYER_H
#define NNL_BIND_LAYER_H

#include "bind/options.h"
#include "nn/adapter.h"

nnl_layer *nnl_check_layer(lua_State *L, const nnl_bind *bind, int arg);

// The methods of layers that lua/nnlua/lora.lua builds on.
extern const luaL_Reg nnl_adapter_methods[];

// Adds {name, tensor, false} for each matrix of adapters that are not merged to the list on top, which has
// `count`.
void nnl_add_adapter_tensors(lua_State *L, nnl_bind *bind, const nnl_layer *layer, int count);

// Copies the tensor at 3 into the matrix of this name, which there is.
int nnl_load_adapter(lua_State *L, nnl_bind *bind, nnl_layer *layer, const char *name);

// What tostring says of them behind the layer's options.
void nnl_add_adapters_text(luaL_Buffer *text, const nnl_layer *layer);

#endif
