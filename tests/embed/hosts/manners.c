// manners.c: what a guest leaves as it was: the host's output, signals, locale, floating-point modes, random
// numbers of Lua, globals, threads of OpenBLAS, open files.
#define _GNU_SOURCE 1
#include "host.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fenv.h>
#include <locale.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

// All that a script of many parts does: train, predict, save, load, fail, run out of memory, threads.
static const char work[] =
    "local nn = require 'nnlua'; nn.set_num_threads(2); nn.manual_seed(3)\n"
    "local model = nn.Sequential{nn.Dense(64, 128, {activation = 'relu'}), nn.BatchNorm1d(128), "
    "nn.Dense(128, 4)}\n"
    "model:compile{optimizer = 'adam', loss = 'sparse_categorical_crossentropy', metrics = {'accuracy'}}\n"
    "model:fit(nn.randn(512, 64), nn.randint(1, 5, {512}), {epochs = 2, verbose = 0, validation_split = "
    "0.2})\n"
    "model:predict(nn.randn(8, 64))\n"
    "nn.randn(300, 300):matmul(nn.randn(300, 300)):exp():log1p():sum():item()\n"
    "assert(model:save(path)); assert(nn.load(path)); assert(not nn.load('/no/such/file'))\n"
    "assert(not pcall(nn.zeros, -1)); assert(not nn.load_bytes('rubbish'))\n"
    "nn.set_memory_limit(1e6); assert(not pcall(nn.zeros, 1e7)); nn.set_memory_limit()\n"
    "local out = {}; nn.set_output(function(text) out[#out + 1] = text end)\n"
    "model:fit(nn.randn(64, 64), nn.randint(1, 5, {64}), {epochs = 1, verbose = 2}); model:summary()\n"
    "assert(#table.concat(out) > 100); nn.set_output()\n"
    "assert(('%.1f'):format(1.5):sub(2, 2) == decimal_point)";

static const char names_of_globals[] =
    "local names = {} for name in pairs(_G) do names[#names + 1] = name end\n"
    "table.sort(names) return table.concat(names, ' ')";
static const char draw[] = "return table.concat({math.random(1000000), math.random(1000000)}, ' ')";

static char *text_of(lua_State *L, const char *code) {
    MUST(L, nnlua_run_string(L, code, strlen(code), "=text", 0, 1));
    char *text = strdup(lua_tostring(L, -1));
    lua_pop(L, 1);
    return text;
}

static int open_files(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) count++;
    if (folder) closedir(folder);
    return count;
}

typedef struct surroundings {
    struct sigaction handler[32];
    sigset_t mask;
    int rounding, exceptions, blas, files;
    mode_t umask;
    char locale[256], folder[1024];
} surroundings;

static int blas_threads(void) {
    int (*threads)(void) = NULL;
    void *function = dlsym(RTLD_DEFAULT, "openblas_get_num_threads");
    memcpy(&threads, &function, sizeof threads);
    return threads ? threads() : -1;
}

static void look_around(surroundings *s) {
    memset(s, 0, sizeof *s);
    for (int i = 1; i < 32; i++) sigaction(i, NULL, &s->handler[i]);
    sigprocmask(SIG_BLOCK, NULL, &s->mask);
    s->rounding = fegetround();
    s->exceptions = fegetexcept();
    s->blas = blas_threads();
    s->files = open_files();
    s->umask = umask(0);
    umask(s->umask);
    snprintf(s->locale, sizeof s->locale, "%s", setlocale(LC_ALL, NULL));
    CHECK(getcwd(s->folder, sizeof s->folder));
}

// Where both streams go while the library works; the size of what arrived.
static long silence(FILE *sink, int *saved, int begin) {
    fflush(stdout);
    fflush(stderr);
    for (int i = 0; i < 2; i++) {
        if (begin) saved[i] = dup(i + 1);
        dup2(begin ? fileno(sink) : saved[i], i + 1);
        if (!begin) close(saved[i]);
    }
    fseek(sink, 0, SEEK_END);
    return ftell(sink);
}

static void use(lua_State *L, const char *path) {
    lua_pushstring(L, path);
    lua_setglobal(L, "path");
    lua_pushstring(L, localeconv()->decimal_point);
    lua_setglobal(L, "decimal_point");
    host_run(L, work);
    lua_pushnil(L);
    lua_setglobal(L, "path");
    lua_pushnil(L);
    lua_setglobal(L, "decimal_point");
}

// Lua's own random numbers go on as if nothing had been.
static void check_state(const char *path) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    CHECK(luaL_dostring(L, names_of_globals) == 0);
    char *before = strdup(lua_tostring(L, -1));
    MUST(L, nnlua_open(L));
    host_run(L, "math.randomseed(7)");
    char *expected = text_of(L, draw);
    host_run(L, "math.randomseed(7)");
    use(L, path);
    char *drawn = text_of(L, draw), *after = text_of(L, names_of_globals);
    CHECK(strcmp(expected, drawn) == 0 && strcmp(before, after) == 0);
    free(before), free(expected), free(drawn), free(after);
    lua_close(L);
}

int main(void) {
    char path[] = "/tmp/nnlua_manners_XXXXXX";
    surroundings before, after;
    int saved[2], file = mkstemp(path);
    FILE *sink = tmpfile();
    CHECK(file >= 0 && sink);
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        setlocale(LC_ALL, "C.UTF-8"); // with a decimal comma where there is one
    fesetround(FE_UPWARD);
    signal(SIGINT, SIG_IGN);
    signal(SIGPIPE, SIG_DFL);
    look_around(&before);
    silence(sink, saved, 1);
    check_state(path);
    long said = silence(sink, saved, 0);
    look_around(&after);
    remove(path);
    for (int i = 1; i < 32; i++) {
        if (before.handler[i].sa_handler != after.handler[i].sa_handler)
            fprintf(stderr, "signal %d has another handler\n", i);
        CHECK(before.handler[i].sa_handler == after.handler[i].sa_handler);
        CHECK(before.handler[i].sa_flags == after.handler[i].sa_flags);
    }
    CHECK(memcmp(&before.mask, &after.mask, sizeof before.mask) == 0);
    CHECK(before.rounding == after.rounding && before.exceptions == after.exceptions);
    CHECK(before.blas == after.blas && before.files == after.files && before.umask == after.umask);
    CHECK(strcmp(before.locale, after.locale) == 0 && strcmp(before.folder, after.folder) == 0);
    CHECK(said == 0);
    return 0;
}
