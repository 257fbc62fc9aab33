// audio.h: options of features of sound from Lua, for the files that make plans of them.
#ifndef NNL_BIND_AUDIO_H
#define NNL_BIND_AUDIO_H

#include "bind/bind.h"
#include "io/features.h"

// From a table that lua/nnlua/audio.lua has checked.
nnl_feature_options nnl_read_features(lua_State *L, const nnl_bind *bind, int table);

#endif
