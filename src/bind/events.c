// events.c: records of TensorBoard's event files as strings, and what their names are made of.
#include "io/events.h"
#include "bind/bind.h"
#include "io/folder.h"

#include <string.h>
#include <unistd.h>

static int push_bytes(lua_State *L) {
    const nnl_bytes *bytes = lua_touserdata(L, 1);
    lua_pushlstring(L, bytes->data ? bytes->data : "", bytes->length);
    return 1;
}

static void free_bytes(void *bytes) { nnl_bytes_free(bytes); }

// The record as a string, after push_holding; an error where there is none.
static int give_record(lua_State *L, nnl_bind *bind, nnl_bytes *bytes, nnl_status status) {
    if (status == NNL_OK) return nnl_run_holding(L, 0, 1, free_bytes, bytes);
    nnl_bytes_free(bytes);
    return nnl_raise(L, bind);
}

// (time, step, tag, ...)
static nnl_event check_event(lua_State *L, const nnl_bind *bind) {
    nnl_event event = {.time = luaL_checknumber(L, 1), .step = nnl_check_integer(L, bind, 2)};
    event.tag = luaL_checklstring(L, 3, &event.tag_length);
    return event;
}

// version(time)
static int event_version(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bytes bytes = {.ctx = bind->ctx};
    double time = luaL_checknumber(L, 1);
    nnl_push_holding(L, push_bytes, &bytes);
    return give_record(L, bind, &bytes, nnl_event_version(&bytes, time));
}

// scalar(time, step, tag, number)
static int event_scalar(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bytes bytes = {.ctx = bind->ctx};
    nnl_event event = check_event(L, bind);
    double value = luaL_checknumber(L, 4);
    nnl_push_holding(L, push_bytes, &bytes);
    return give_record(L, bind, &bytes, nnl_event_scalar(&bytes, &event, value));
}

// histogram(time, step, tag, contiguous float64 tensor)
static int event_histogram(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bytes bytes = {.ctx = bind->ctx};
    nnl_event event = check_event(L, bind);
    const nnl_tensor *values = nnl_check_tensor(L, bind, 4);
    if (values->dtype != NNL_FLOAT64 || !nnl_tensor_is_contiguous(values))
        return luaL_argerror(L, 4, "expected a contiguous float64 tensor");
    nnl_push_holding(L, push_bytes, &bytes);
    return give_record(
        L, bind, &bytes,
        nnl_event_histogram(&bytes, &event, nnl_tensor_data(values), (size_t)nnl_tensor_numel(values)));
}

// image(time, step, tag, height, width, channels, bytes of a PNG file)
static int event_image(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bytes bytes = {.ctx = bind->ctx};
    nnl_event event = check_event(L, bind);
    nnl_event_picture picture = {.height = nnl_check_integer(L, bind, 4),
                                 .width = nnl_check_integer(L, bind, 5),
                                 .channels = nnl_check_integer(L, bind, 6)};
    picture.png = luaL_checklstring(L, 7, &picture.size);
    nnl_push_holding(L, push_bytes, &bytes);
    return give_record(L, bind, &bytes, nnl_event_image(&bytes, &event, &picture));
}

// text(time, step, tag, text)
static int event_text(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bytes bytes = {.ctx = bind->ctx};
    nnl_event event = check_event(L, bind);
    size_t length;
    const char *text = luaL_checklstring(L, 4, &length);
    nnl_push_holding(L, push_bytes, &bytes);
    return give_record(L, bind, &bytes, nnl_event_text(&bytes, &event, text, length));
}

// crc32c(bytes): a whole number
static int crc32c(lua_State *L) {
    nnl_bind_of(L);
    size_t length;
    const char *data = luaL_checklstring(L, 1, &length);
    lua_pushinteger(L, (lua_Integer)nnl_crc32c(data, length));
    return 1;
}

// make_folder(path): true, or nil and a message
static int make_folder(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    if (nnl_folder_make(bind->ctx, nnl_check_path(L, 1)) != NNL_OK) return nnl_fail_io(L, bind);
    lua_pushboolean(L, true);
    return 1;
}

// process_name(): "host.123", what no other process on the net is called
static int process_name(lua_State *L) {
    nnl_bind_of(L);
    char host[256] = "localhost";
    if (gethostname(host, sizeof host) != 0) strcpy(host, "localhost");
    host[sizeof host - 1] = '\0';
    lua_pushfstring(L, "%s.%d", host, (int)getpid());
    return 1;
}

// The table core.events.
void nnl_open_events(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"version", event_version},   {"scalar", event_scalar},       {"histogram", event_histogram},
        {"image", event_image},       {"text", event_text},           {"crc32c", crc32c},
        {"make_folder", make_folder}, {"process_name", process_name}, {NULL, NULL}};
    lua_newtable(L);
    nnl_set_functions(L, functions);
    lua_setfield(L, NNL_CORE_INDEX, "events");
}
