// options.h: declared options (nn/options.h) to and from Lua: reading what a script gives, by position or by
// name, with messages that say what is allowed; showing values.
#ifndef NNL_BIND_OPTIONS_H
#define NNL_BIND_OPTIONS_H

#include "bind/bind.h"
#include "nn/layer.h"

#define NNL_WHO_ROOM 64

typedef struct nnl_reading {
    lua_State *L;
    nnl_bind *bind;
    const char *who; // as scripts write it: "nn.Dense"
    const nnl_option *options;
    nnl_option_value *values;
    nnl_layer *layer; // takes the tensors among the options; NULL where they are borrowed
} nnl_reading;

// The arguments from `first` on: those that may stand alone, then a table of options.
void nnl_read_arguments(const nnl_reading *r, int first);

// A table of options; keys named `skipped` are left alone (may be NULL).
void nnl_read_options(const nnl_reading *r, int table, const char *skipped);

// One value, at `index`, for the option at a position of the declaration.
void nnl_read_option(const nnl_reading *r, int position, int index);

// The value as a script would give it, pushed; nil where there is none.
void nnl_push_option_value(lua_State *L, const nnl_option *option, const nnl_option_value *value);

// What a script would write for it, added to the buffer: 0.5, "relu", {3, 3}.
void nnl_add_option_text(luaL_Buffer *text, const nnl_option *option, const nnl_option_value *value);

// The positional ones that were given, then those that differ from their defaults: 30, 128, activation =
// "relu"
void nnl_add_options_text(luaL_Buffer *text, const nnl_option *options, const nnl_option_value *values);

// Whether a value is what the declaration has where a script says nothing.
bool nnl_option_is_default(const nnl_option *option, const nnl_option_value *value);

// Whether it is a size that is not known yet, which scripts see as nil.
bool nnl_option_is_open(const nnl_option *option, const nnl_option_value *value);

// The declaration as plain tables, pushed: {{name, type, default, doc, choices, low, high}, ...}
void nnl_push_declaration(lua_State *L, const nnl_option *options);

#endif
