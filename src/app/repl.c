// repl.c: the prompt: reads a chunk that may take several lines, runs it, shows what it returns. See line.c
// for input, show.c for values, script.c for running.
#include "app/repl.h"

#include "app/line.h"
#include "app/script.h"
#include "app/show.h"

#include <lauxlib.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef enum chunk_status {
    CHUNK_READY,   // a function is at the top of the stack
    CHUNK_WRONG,   // the message of a syntax error is there
    CHUNK_DROPPED, // nothing: Ctrl-C
    CHUNK_END,     // nothing: the end of the input
} chunk_status;

static nnl_line_status read_line(lua_State *L, nnl_line_reader *reader, bool is_first) {
    lua_getglobal(L, is_first ? "_PROMPT" : "_PROMPT2");
    const char *prompt = lua_isnil(L, -1) ? (is_first ? "> " : ">> ") : luaL_tolstring(L, -1, NULL);
    const char *line = "";
    nnl_line_status status = nnl_line_read(reader, prompt, &line);
    lua_settop(L, is_first ? 0 : 1);
    if (status != NNL_LINE_READ) return status;
    nnl_line_remember(reader, line);
    lua_pushstring(L, line);
    return status;
}

// A chunk that only lacks its end is refused at the mark of the end of the text.
static bool is_cut_off(lua_State *L, int status) {
    static const char mark[] = "<eof>";
    size_t length, mark_length = sizeof mark - 1;
    if (status != LUA_ERRSYNTAX) return false;
    const char *message = lua_tolstring(L, -1, &length);
    return length >= mark_length && strcmp(message + length - mark_length, mark) == 0;
}

// Compile the text at index 1 as an expression whose values are shown, else as statements. Leaves the
// function or the message behind it; says in *is_open whether more lines could complete the text.
static int compile(lua_State *L, bool *is_open) {
    const char *text = lua_tostring(L, 1);
    const char *expression = lua_pushfstring(L, "return %s", text[0] == '=' ? text + 1 : text);
    int status = luaL_loadbuffer(L, expression, strlen(expression), "=stdin");
    *is_open = is_cut_off(L, status);
    if (status == LUA_OK) return status;
    lua_settop(L, 1);
    status = luaL_loadbuffer(L, text, strlen(text), "=stdin");
    *is_open = status != LUA_OK && (*is_open || is_cut_off(L, status));
    return status;
}

// Append the next line to the text at index 1.
static nnl_line_status extend_text(lua_State *L, nnl_line_reader *reader) {
    nnl_line_status status = read_line(L, reader, false);
    if (status != NNL_LINE_READ) return status;
    lua_pushliteral(L, "\n");
    lua_insert(L, 2);
    lua_concat(L, 3);
    return status;
}

static chunk_status read_chunk(lua_State *L, nnl_line_reader *reader) {
    nnl_line_status line = read_line(L, reader, true);
    while (line == NNL_LINE_READ) {
        bool is_open;
        int status = compile(L, &is_open);
        if (!is_open) return status == LUA_OK ? CHUNK_READY : CHUNK_WRONG;
        lua_settop(L, 1);
        line = extend_text(L, reader);
    }
    if (line == NNL_LINE_INTERRUPTED) return CHUNK_DROPPED;
    if (lua_gettop(L) == 0) return CHUNK_END;
    bool is_open;
    compile(L, &is_open); // the text ends where it should not: its message says so
    return CHUNK_WRONG;
}

// Print the arguments on one line and keep the first as `_`.
static int show_results(lua_State *L) {
    int count = lua_gettop(L);
    lua_pushglobaltable(L);
    lua_pushliteral(L, "_");
    lua_pushvalue(L, 1);
    lua_rawset(L, -3); // raw: a program may guard its globals
    for (int i = 1; i <= count; i++) {
        nnl_show(L, i);
        size_t length;
        const char *text = lua_tolstring(L, -1, &length);
        if (i > 1) putchar('\t');
        fwrite(text, 1, length, stdout);
        lua_pop(L, 1);
    }
    putchar('\n');
    fflush(stdout);
    return 0;
}

// Whether the error came from the typed text itself, perhaps through a C function: its place is then in the
// message.
static bool is_error_at_prompt(lua_State *L) {
    lua_Debug frame;
    for (int level = 1; lua_getstack(L, level, &frame); level++) {
        lua_getinfo(L, "S", &frame);
        if (strcmp(frame.what, "C") != 0)
            return strcmp(frame.source, "=stdin") == 0 && strcmp(frame.what, "main") == 0;
    }
    return true;
}

// The message handler of the prompt: a traceback without the last line, which is this program's own call.
static int short_traceback(lua_State *L) {
    static const char own_call[] = "\n\t[C]: in ?";
    if (!nnl_error_text(L) || is_error_at_prompt(L)) return 1;
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    size_t length, own_length = sizeof own_call - 1;
    const char *text = lua_tolstring(L, -1, &length);
    if (length > own_length && strcmp(text + length - own_length, own_call) == 0)
        lua_pushlstring(L, text, length - own_length);
    return 1;
}

static void print_error(lua_State *L) {
    const char *message = lua_tostring(L, -1);
    fflush(stdout);
    fprintf(stderr, "%s\n", message ? message : "(error message is not a string)");
    fflush(stderr);
}

static void run_chunk(lua_State *L) {
    lua_replace(L, 1);
    lua_settop(L, 1);
    int status = nnl_call(L, 0, LUA_MULTRET, short_traceback);
    if (status == LUA_OK && lua_gettop(L) > 0) {
        lua_pushcfunction(L, show_results);
        lua_insert(L, 1);
        status = nnl_call(L, lua_gettop(L) - 1, 0, short_traceback);
    }
    fflush(stdout);
    if (status != LUA_OK) print_error(L);
}

// The global `nn`, for this prompt only: a script says `local nn = require "nnlua"`.
static void provide_library(lua_State *L) {
    lua_getglobal(L, "require");
    lua_pushliteral(L, "nnlua");
    if (nnl_call(L, 1, 1, nnl_traceback) == LUA_OK) {
        lua_setglobal(L, "nn");
    } else {
        print_error(L);
    }
}

void nnl_repl_run(lua_State *L) {
    nnl_line_reader *reader = nnl_line_reader_new();
    if (!reader) luaL_error(L, "not enough memory");
    lua_settop(L, 0);
    provide_library(L);
    chunk_status status = CHUNK_READY;
    while (status != CHUNK_END) {
        lua_settop(L, 0);
        status = read_chunk(L, reader);
        if (status == CHUNK_READY) run_chunk(L);
        if (status == CHUNK_WRONG) print_error(L);
    }
    nnl_line_reader_free(reader);
}
