// tensors.h: sets of named tensors between Lua's tables and the engine (io.c), for all kinds of files.
#ifndef NNL_BIND_TENSORS_H
#define NNL_BIND_TENSORS_H

#include "bind/bind.h"
#include "io/safetensors.h"

// For nnl_push_holding: three results, the tensors by name, the metadata, the names in the order of the file.
int nnl_push_tensors(lua_State *L);
void nnl_free_tensors(void *set);

// Borrows the tensors of a table and their names, in the order of a list of all of them; their array stays on
// the stack.
void nnl_collect_tensors(lua_State *L, nnl_bind *bind, int table, int order, nnl_safetensors *set);

#endif
