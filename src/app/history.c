// history.c: the path of the history file, after the XDG Base Directory Specification.
#define _POSIX_C_SOURCE 200809L
#include "app/history.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// Folders named by the environment count only as absolute paths.
static const char *absolute_environment(const char *name) {
    const char *value = getenv(name);
    return value && value[0] == '/' ? value : NULL;
}

static char *join(const char *folder, const char *rest) {
    size_t size = strlen(folder) + strlen(rest) + 1;
    char *path = malloc(size);
    if (path) snprintf(path, size, "%s%s", folder, rest);
    return path;
}

// Make every folder on the way to the file, for its owner alone.
static bool make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(path, S_IRWXU) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made) return false;
    }
    return true;
}

char *nnl_history_path(void) {
    const char *state = absolute_environment("XDG_STATE_HOME");
    const char *home = absolute_environment("HOME");
    if (!state && !home) return NULL;
    char *path = state ? join(state, "/nnlua/history") : join(home, "/.local/state/nnlua/history");
    if (path && make_folders(path)) return path;
    free(path);
    return NULL;
}
