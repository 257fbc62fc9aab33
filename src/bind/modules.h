// modules.h: the Lua modules of lua/nnlua/, compiled in. scripts/dev/embed.cmake writes the table at build
// time.
#ifndef NNL_BIND_MODULES_H
#define NNL_BIND_MODULES_H

#include <stddef.h>

typedef struct nnl_lua_module {
    const char *name;   // as for require: "nnlua", "nnlua.optim"; NULL ends the table
    const char *source; // its text, with a zero after it
    size_t length;      // bytes, without the zero
} nnl_lua_module;

extern const nnl_lua_module nnl_lua_modules[];

#endif
