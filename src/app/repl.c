// repl.c: the prompt: reads a chunk that may take several lines, runs it, shows what it returns. See line.c
// for input, script.c for running, trace.c for errors, and lua/nnlua/prompt/ for what is written in Lua.
#define _DEFAULT_SOURCE 1
#include "app/repl.h"

#include "app/interrupt.h"
#include "app/line.h"
#include "app/paths.h"
#include "app/script.h"
#include "app/terminal.h"
#include "app/trace.h"

#include <lauxlib.h>

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef enum chunk_status {
    CHUNK_READY,   // a function is at the top of the stack
    CHUNK_WRONG,   // the message of a syntax error is there
    CHUNK_COMMAND, // "!command" is there
    CHUNK_DROPPED, // nothing: Ctrl-C
    CHUNK_END,     // nothing: the end of the input
} chunk_status;

// One run of the prompt. SESSION and TEXT are places on Lua's stack.
typedef struct repl {
    lua_State *L;
    nnl_line_reader *reader;
    bool out_colours, err_colours, is_terminal;
} repl;

enum { SESSION = 1, TEXT = 2 }; // what nnlua.prompt made, or nil; the lines typed so far

// ---- methods of the session, which is written in Lua

// Push the method and the session, to be called with nnl_call; false where there is none.
static bool push_method(lua_State *L, const char *name) {
    if (!lua_istable(L, SESSION)) return false;
    lua_getfield(L, SESSION, name);
    lua_pushvalue(L, SESSION);
    return true;
}

// Call a method with a text, which gives a text that is pushed; "" where anything fails.
static const char *ask(lua_State *L, const char *name, const char *text) {
    if (push_method(L, name)) {
        lua_pushstring(L, text);
        if (lua_pcall(L, 2, 1, 0) == LUA_OK && lua_isstring(L, -1)) return lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    return lua_pushliteral(L, "");
}

// ---- completion

// The words of a list at the top of the stack, one behind the other.
static nnl_words words_of(lua_State *L) {
    nnl_words words = {NULL, 0, 0};
    size_t used = 0;
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i <= count; i++) {
        size_t length;
        lua_rawgeti(L, -1, i);
        const char *word = lua_tolstring(L, -1, &length);
        char *bytes = word ? realloc(words.bytes, used + length + 1) : NULL;
        if (bytes) {
            memcpy(bytes + used, word, length + 1);
            words.bytes = bytes;
            words.count++;
            used += length + 1;
        }
        lua_pop(L, 1);
    }
    return words;
}

// What is typed now, behind the lines before.
static nnl_words find_words(void *host, const char *text, size_t length) {
    lua_State *L = host;
    nnl_words words = {NULL, 0, 0};
    int top = lua_gettop(L);
    if (!lua_checkstack(L, 16) || !push_method(L, "complete")) return words;
    bool continues = top >= TEXT && lua_isstring(L, TEXT);
    if (continues) {
        lua_pushvalue(L, TEXT);
        lua_pushliteral(L, "\n");
    }
    lua_pushlstring(L, text, length);
    if (continues) lua_concat(L, 3);
    if (lua_pcall(L, 2, 2, 0) == LUA_OK && lua_istable(L, -2)) {
        lua_Integer replaced = lua_tointeger(L, -1);
        lua_pop(L, 1);
        words = words_of(L);
        words.replaced = replaced >= 0 && (size_t)replaced <= length ? (size_t)replaced : 0;
    }
    lua_settop(L, top);
    return words;
}

// list_folder(path): the names in a folder, those of folders with a slash behind; none where it cannot be
// read
static int list_folder(lua_State *L) {
    DIR *folder = opendir(luaL_checkstring(L, 1));
    lua_newtable(L);
    if (!folder) return 1;
    const struct dirent *entry;
    // cppcheck-suppress readdirCalled ; nobody else reads this folder
    for (lua_Integer i = 1; (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        lua_pushfstring(L, entry->d_type == DT_DIR ? "%s/" : "%s", entry->d_name);
        lua_rawseti(L, 2, i++);
    }
    closedir(folder);
    return 1;
}

// ---- reading

static nnl_line_status read_line(const repl *r, bool is_first) {
    lua_State *L = r->L;
    int top = lua_gettop(L);
    lua_getglobal(L, is_first ? "_PROMPT" : "_PROMPT2");
    bool usual = lua_isnil(L, -1);
    const char *prompt = usual ? "> " : luaL_tolstring(L, -1, NULL), *line = "";
    if (usual && !is_first)
        prompt = lua_pushfstring(L, ">> %s", ask(L, "indentation", lua_tostring(L, TEXT)));
    const char *colour = usual && r->out_colours ? "\33[1;34m" : NULL;
    nnl_line_status status = nnl_line_read(r->reader, prompt, colour, &line);
    lua_settop(L, top);
    if (status == NNL_LINE_READ) lua_pushstring(L, line);
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

// Compile TEXT as an expression whose values are shown, else as statements. Leaves the function or the
// message behind it; says in *is_open whether more lines could complete the text.
static int compile(lua_State *L, bool *is_open) {
    const char *text = lua_tostring(L, TEXT);
    const char *expression = lua_pushfstring(L, "return %s", text[0] == '=' ? text + 1 : text);
    int status = luaL_loadbuffer(L, expression, strlen(expression), "=stdin");
    *is_open = is_cut_off(L, status);
    if (status == LUA_OK) return status;
    lua_settop(L, TEXT);
    status = luaL_loadbuffer(L, text, strlen(text), "=stdin");
    *is_open = status != LUA_OK && (*is_open || is_cut_off(L, status));
    return status;
}

// Append the line on top to TEXT, indented as the prompt showed it: so an entry of the history reads well.
static void add_line(lua_State *L) {
    lua_pushliteral(L, "\n");
    if (push_method(L, "indented")) {
        lua_pushvalue(L, TEXT);
        lua_pushvalue(L, TEXT + 1);
        if (lua_pcall(L, 3, 1, 0) != LUA_OK || !lua_isstring(L, -1)) lua_pop(L, 1);
    }
    if (lua_gettop(L) == TEXT + 2) lua_pushvalue(L, TEXT + 1);
    lua_remove(L, TEXT + 1);
    lua_concat(L, 3);
}

// Append the next line to TEXT.
static nnl_line_status extend_text(const repl *r) {
    lua_State *L = r->L;
    nnl_line_status status = read_line(r, false);
    if (status != NNL_LINE_READ) return status;
    add_line(L);
    return status;
}

static chunk_status read_lines(const repl *r) {
    lua_State *L = r->L;
    nnl_line_status line = read_line(r, true);
    if (line == NNL_LINE_READ && lua_tostring(L, TEXT)[0] == '!') return CHUNK_COMMAND;
    while (line == NNL_LINE_READ) {
        bool is_open;
        int status = compile(L, &is_open);
        if (!is_open) return status == LUA_OK ? CHUNK_READY : CHUNK_WRONG;
        lua_settop(L, TEXT);
        line = extend_text(r);
    }
    if (line == NNL_LINE_INTERRUPTED) return CHUNK_DROPPED;
    if (lua_gettop(L) < TEXT) return CHUNK_END;
    bool is_open;
    compile(L, &is_open); // the text ends where it should not: its message says so
    return CHUNK_WRONG;
}

static chunk_status read_chunk(const repl *r) {
    chunk_status status = read_lines(r);
    bool whole = status == CHUNK_READY || status == CHUNK_WRONG || status == CHUNK_COMMAND;
    if (whole) nnl_line_remember(r->reader, lua_tostring(r->L, TEXT));
    return status;
}

// ---- running

// Print what the session makes of the arguments: SESSION is the first of them.
static int show_results(lua_State *L) {
    size_t length;
    int count = lua_gettop(L);
    lua_getfield(L, 1, "show");
    lua_insert(L, 1);
    lua_call(L, count, 1);
    const char *text = luaL_checklstring(L, -1, &length);
    fwrite(text, 1, length, stdout);
    putchar('\n');
    fflush(stdout);
    return 0;
}

// The first line of a message in red, with what the session has to add.
static void print_error(const repl *r) {
    lua_State *L = r->L;
    const char *message = lua_tostring(L, -1);
    if (!message) message = "(error message is not a string)";
    int first = (int)strcspn(message, "\n");
    const char *advice = ask(L, "advice", message);
    const char *red = r->err_colours ? "\33[31m" : "", *plain = r->err_colours ? "\33[0m" : "",
               *faint = r->err_colours ? "\33[2m" : "";
    fflush(stdout);
    fprintf(stderr, "%s%.*s%s%s%s%s%s\n", red, first, message, advice, plain, faint, message + first, plain);
    fflush(stderr);
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void print_time(const repl *r, double seconds) {
    if (seconds < 1 || !r->is_terminal) return;
    printf(r->out_colours ? "\33[2m(%.1f s)\33[0m\n" : "(%.1f s)\n", seconds);
}

static void run_chunk(const repl *r) {
    lua_State *L = r->L;
    double begun = seconds_now();
    lua_replace(L, TEXT);
    lua_settop(L, TEXT);
    int status = nnl_call(L, 0, LUA_MULTRET, nnl_short_traceback);
    if (status == LUA_OK && lua_gettop(L) > SESSION && lua_istable(L, SESSION)) {
        int results = lua_gettop(L) - SESSION;
        lua_pushcfunction(L, show_results);
        lua_insert(L, TEXT);
        lua_pushvalue(L, SESSION);
        lua_insert(L, TEXT + 1);
        status = nnl_call(L, 1 + results, 0, nnl_short_traceback);
    }
    if (status != LUA_OK) print_error(r);
    print_time(r, seconds_now() - begun);
    fflush(stdout);
}

// The shell gets what stands behind the mark.
static void run_command(const repl *r) {
    fflush(stdout);
    int status = system(lua_tostring(r->L, TEXT) + 1);
    bool failed = status == -1 || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (failed && status != -1 && WIFEXITED(status)) printf("(exit code %d)\n", WEXITSTATUS(status));
    if (failed && status != -1 && WIFSIGNALED(status)) printf("(ended by signal %d)\n", WTERMSIG(status));
    if (status == -1) puts("(no shell)");
    fflush(stdout);
}

// ---- beginning

// nnlua.prompt's session at SESSION; nil, and the reason printed, where the library does not open.
static void open_session(const repl *r) {
    lua_State *L = r->L;
    lua_settop(L, 0);
    lua_pushnil(L);
    luaL_loadstring(L, "require 'nnlua' return require 'nnlua.prompt'.new(...)");
    lua_createtable(L, 0, 2);
    lua_pushboolean(L, r->out_colours);
    lua_setfield(L, -2, "colour");
    lua_pushcfunction(L, list_folder);
    lua_setfield(L, -2, "list_folder");
    if (nnl_call(L, 1, 1, nnl_traceback) == LUA_OK) {
        lua_replace(L, SESSION);
    } else {
        print_error(r);
    }
    lua_settop(L, SESSION);
}

static void run_init_file(const repl *r) {
    char *path = nnl_user_path("XDG_CONFIG_HOME", "/.config", "init.lua");
    if (path && access(path, F_OK) == 0) nnl_run_file(r->L, path);
    free(path);
    lua_settop(r->L, SESSION);
}

void nnl_repl_run(lua_State *L, bool runs_init_file) {
    repl r = {.L = L,
              .reader = nnl_line_reader_new(&(nnl_completer){find_words, L}),
              .out_colours = nnl_terminal_has_colours(STDOUT_FILENO),
              .err_colours = nnl_terminal_has_colours(STDERR_FILENO),
              .is_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)};
    if (!r.reader) luaL_error(L, "not enough memory");
    nnl_interrupts_keep_session(r.is_terminal);
    open_session(&r);
    if (runs_init_file) run_init_file(&r);
    chunk_status status = CHUNK_READY;
    while (status != CHUNK_END) {
        lua_settop(L, SESSION);
        status = read_chunk(&r);
        if (status == CHUNK_READY) run_chunk(&r);
        if (status == CHUNK_COMMAND) run_command(&r);
        if (status == CHUNK_WRONG) print_error(&r);
    }
    nnl_line_reader_free(r.reader);
}
