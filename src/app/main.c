// main.c: the program nnlua: the options of lua5.4, and what to run in which order. See script.c for how code
// runs, repl.c for the prompt.
#define _POSIX_C_SOURCE 200809L
#include "app/interrupt.h"
#include "app/repl.h"
#include "app/script.h"
#include "app/state.h"
#include "nnlua.h"

#include <lauxlib.h>
#include <lualib.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct options {
    char **argv;
    int argc;
    int script;          // index of the script in argv; argc when there is none
    const char *bad;     // the first option that cannot be understood
    bool statement;      // -e
    bool interactive;    // -i
    bool version;        // -v, and with -i
    bool no_environment; // -E
} options;

static void print_version(void) {
    puts("nnlua " NNLUA_VERSION "  " LUA_COPYRIGHT);
    fflush(stdout);
}

static void print_usage(const char *bad) {
    const char *problem =
        bad[1] == 'e' || bad[1] == 'l' ? "'%s' needs argument\n" : "unrecognized option '%s'\n";
    fputs("nnlua: ", stderr);
    fprintf(stderr, problem, bad);
    fputs("usage: nnlua [options] [script [args]]\n"
          "Available options are:\n"
          "  -e stat   execute string 'stat'\n"
          "  -i        enter interactive mode after executing 'script'\n"
          "  -l mod    require library 'mod' into global 'mod'\n"
          "  -l g=mod  require library 'mod' into global 'g'\n"
          "  -v        show version information\n"
          "  -E        ignore environment variables\n"
          "  -W        turn warnings on\n"
          "  --        stop handling options\n"
          "  -         stop handling options and execute stdin\n",
          stderr);
}

static bool is_flag(const char *option) { return strchr("viEW", option[1]) && option[2] == '\0'; }

// The value of -e or -l: behind the letter, or the next argument. NULL when there is none.
static const char *option_value(const options *given, int *index) {
    const char *option = given->argv[*index];
    if (option[2] != '\0') return option + 2;
    const char *next = *index + 1 < given->argc ? given->argv[*index + 1] : NULL;
    if (!next || next[0] == '-') return NULL;
    *index += 1;
    return next;
}

static void note_flag(options *given, char letter) {
    given->interactive |= letter == 'i';
    given->version |= letter == 'v' || letter == 'i';
    given->no_environment |= letter == 'E';
}

// Note one option; false where options end: at a script, at "-", at the end, and at an option that is bad.
static bool note_option(options *given, int *index) {
    const char *option = *index < given->argc ? given->argv[*index] : NULL;
    if (!option || option[0] != '-' || option[1] == '\0') return false;
    if (is_flag(option)) {
        note_flag(given, option[1]);
        return true;
    }
    bool has_value = option[1] == 'e' || option[1] == 'l';
    if (!has_value || !option_value(given, index)) {
        given->bad = option;
        return false;
    }
    given->statement |= option[1] == 'e';
    return true;
}

static options read_options(int argc, char **argv) {
    options given = {.argv = argv, .argc = argc};
    int index = 1;
    while (index < argc && strcmp(argv[index], "--") != 0 && note_option(&given, &index)) index++;
    if (index < argc && strcmp(argv[index], "--") == 0) index++;
    given.script = index < argc ? index : argc;
    return given;
}

// The global `arg`: the script at 0, its arguments from 1, what stands before it at negative indices.
static void set_arguments(lua_State *L, const options *given) {
    int zero = given->script < given->argc ? given->script : 0;
    lua_createtable(L, given->argc - zero, zero + 1);
    for (int i = 0; i < given->argc; i++) {
        lua_pushstring(L, given->argv[i]);
        lua_rawseti(L, -2, i - zero);
    }
    lua_setglobal(L, "arg");
}

static void open_libraries(lua_State *L, const options *given) {
    if (given->no_environment) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV"); // read by the package library
    }
    luaL_openlibs(L);
    nnl_open_coroutines(L);
    nnlua_preload(L);
    set_arguments(L, given);
}

// The first of these variables that is set: code, or the name of a file behind @.
static int run_environment(lua_State *L) {
    static const char *const names[] = {"=NNLUA_INIT", "=LUA_INIT_5_4", "=LUA_INIT"};
    const char *init = NULL, *name = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !init; i++) init = getenv((name = names[i]) + 1);
    if (!init) return LUA_OK;
    return init[0] == '@' ? nnl_run_file(L, init + 1) : nnl_run_string(L, init, name);
}

// -e, -l and -W, in the order given.
static int run_options(lua_State *L, const options *given) {
    int status = LUA_OK;
    for (int i = 1; i < given->script && status == LUA_OK; i++) {
        char letter = given->argv[i][1];
        if (letter == 'W') lua_warning(L, "@on", 0);
        if (letter != 'e' && letter != 'l') continue;
        const char *value = option_value(given, &i);
        status = letter == 'e' ? nnl_run_string(L, value, "=(command line)") : nnl_run_require(L, value);
    }
    return status;
}

static int run_script(lua_State *L, const options *given) {
    const char *name = given->argv[given->script];
    bool is_stdin = strcmp(name, "-") == 0 && strcmp(given->argv[given->script - 1], "--") != 0;
    return nnl_run_script(L, is_stdin ? NULL : name);
}

// With nothing else to do: a prompt for a person, a script from anything else.
static int run_input(lua_State *L, const options *given) {
    if (!isatty(STDIN_FILENO)) return nnl_run_file(L, NULL);
    print_version();
    puts("help() tells what there is, Tab completes, Ctrl-D leaves.");
    nnl_repl_run(L, !given->no_environment);
    return LUA_OK;
}

static int run_all(lua_State *L, const options *given) {
    bool has_script = given->script < given->argc;
    int status = given->no_environment ? LUA_OK : run_environment(L);
    if (status == LUA_OK) status = run_options(L, given);
    if (status == LUA_OK && has_script) status = run_script(L, given);
    if (status != LUA_OK) return status;
    if (given->interactive) nnl_repl_run(L, !given->no_environment);
    bool idle = !has_script && !given->interactive && !given->statement && !given->version;
    return idle ? run_input(L, given) : LUA_OK;
}

// Everything happens under one protected call, so that even a lack of memory ends with a message.
static int protected_main(lua_State *L) {
    const options *given = lua_touserdata(L, 1);
    luaL_checkversion(L);
    open_libraries(L, given);
    lua_pushboolean(L, run_all(L, given) == LUA_OK);
    return 1;
}

static bool run_state(lua_State *L, options *given) {
    lua_pushcfunction(L, protected_main);
    lua_pushlightuserdata(L, given);
    int status = lua_pcall(L, 1, 1, 0);
    return nnl_report(L, status) == LUA_OK && lua_toboolean(L, -1);
}

int main(int argc, char **argv) {
    options given = read_options(argc, argv);
    if (given.bad) {
        print_usage(given.bad);
        return EXIT_FAILURE;
    }
    if (given.version) print_version();
    nnlua_own_process();
    lua_State *L = nnl_state_new();
    if (!L) {
        fputs("nnlua: cannot create a Lua state: not enough memory\n", stderr);
        return EXIT_FAILURE;
    }
    bool succeeded = run_state(L, &given);
    nnl_state_close(L);
    return succeeded ? EXIT_SUCCESS : EXIT_FAILURE;
}
