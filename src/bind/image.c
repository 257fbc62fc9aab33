// image.c: nn.image's and nn.data.image's engine: pictures from files and strings, and back. The options come
// checked, from lua/nnlua/image.lua.
#include "io/image.h"
#include "bind/bind.h"
#include "io/file.h"

// image_load(path, mode, dtype, orient, truncated, max_pixels) and image_decode(string, ...): what of the
// options is nil has its default.
static nnl_image_options read_options(lua_State *L, const nnl_bind *bind) {
    static const char *const modes[] = {"unchanged", "gray", "rgb", "rgba", NULL};
    nnl_image_options options = nnl_image_defaults();
    options.mode = (nnl_image_mode)luaL_checkoption(L, 2, "unchanged", modes);
    if (!lua_isnoneornil(L, 3)) options.dtype = nnl_check_dtype(L, bind, 3);
    luaL_argcheck(L, options.dtype == NNL_FLOAT32 || options.dtype == NNL_UINT8, 3,
                  "float32 or uint8 expected");
    if (!lua_isnoneornil(L, 4)) options.orient = lua_toboolean(L, 4);
    options.truncated = lua_toboolean(L, 5);
    if (!lua_isnoneornil(L, 6)) options.max_pixels = nnl_check_integer(L, bind, 6);
    return options;
}

static int fill_or_fail(lua_State *L, nnl_bind *bind, nnl_tensor **slot, nnl_tensor *t) {
    *slot = t;
    return t ? 1 : nnl_fail_io(L, bind);
}

static int image_load(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const char *path = nnl_check_path(L, 1);
    nnl_image_options options = read_options(L, bind);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    return fill_or_fail(L, bind, slot, nnl_image_load(bind->ctx, path, &options));
}

static int image_decode(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    size_t size;
    const char *data = luaL_checklstring(L, 1, &size);
    nnl_image_options options = read_options(L, bind);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    return fill_or_fail(L, bind, slot, nnl_image_decode(bind->ctx, data, size, &options));
}

// image_encode(tensor, "png" or "jpeg", quality, level, bits): a string.
static nnl_image_quality read_quality(lua_State *L, const nnl_bind *bind, nnl_image_format *format) {
    static const char *const formats[] = {"png", "jpeg", NULL};
    nnl_image_quality quality = nnl_image_best();
    *format = (nnl_image_format)luaL_checkoption(L, 2, NULL, formats);
    if (!lua_isnoneornil(L, 3)) quality.jpeg = (int)nnl_check_integer(L, bind, 3);
    if (!lua_isnoneornil(L, 4)) quality.level = (int)nnl_check_integer(L, bind, 4);
    if (!lua_isnoneornil(L, 5)) quality.bits = (int)nnl_check_integer(L, bind, 5);
    return quality;
}

static int push_bytes(lua_State *L) {
    const nnl_bytes *bytes = lua_touserdata(L, 1);
    lua_pushlstring(L, bytes->data, bytes->length);
    return 1;
}

static void free_bytes(void *bytes) { nnl_bytes_free(bytes); }

static int image_encode(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_image_format format;
    const nnl_tensor *x = nnl_check_tensor(L, bind, 1);
    nnl_image_quality quality = read_quality(L, bind, &format);
    nnl_bytes bytes = {.ctx = bind->ctx};
    nnl_push_holding(L, push_bytes, &bytes);
    if (nnl_image_encode(bind->ctx, x, format, &quality, &bytes) != NNL_OK) {
        nnl_bytes_free(&bytes);
        return nnl_raise(L, bind);
    }
    return nnl_run_holding(L, 0, 1, free_bytes, &bytes);
}

static nnl_status save(nnl_context *ctx, const char *path, const nnl_bytes *bytes) {
    nnl_file file;
    if (nnl_file_create(&file, ctx, path) != NNL_OK) return ctx->status;
    if (nnl_file_write(&file, bytes->data, bytes->length) == NNL_OK) return nnl_file_commit(&file);
    nnl_file_discard(&file);
    return ctx->status;
}

// write_file(path, string): true, or nil and a message. The file is written whole or not at all.
static int write_file(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const char *path = nnl_check_path(L, 1);
    nnl_bytes bytes = {.ctx = bind->ctx};
    bytes.data = (char *)luaL_checklstring(L, 2, &bytes.length);
    if (save(bind->ctx, path, &bytes) != NNL_OK) return nnl_fail_io(L, bind);
    lua_pushboolean(L, true);
    return 1;
}

void nnl_open_image(lua_State *L) {
    static const luaL_Reg functions[] = {{"image_load", image_load},
                                         {"image_decode", image_decode},
                                         {"image_encode", image_encode},
                                         {"write_file", write_file},
                                         {NULL, NULL}};
    lua_pushvalue(L, NNL_CORE_INDEX);
    nnl_set_functions(L, functions);
}
