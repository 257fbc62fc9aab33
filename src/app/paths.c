// paths.c: see paths.h.
#define _POSIX_C_SOURCE 200809L
#include "app/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// Folders named by the environment count only as absolute paths.
static const char *absolute_environment(const char *name) {
    const char *value = getenv(name);
    return value && value[0] == '/' ? value : NULL;
}

char *nnl_user_path(const char *variable, const char *usual, const char *name) {
    static const char program[] = "/nnlua/";
    const char *folder = absolute_environment(variable), *below = "";
    if (!folder) {
        folder = absolute_environment("HOME");
        below = usual;
    }
    if (!folder) return NULL;
    size_t size = strlen(folder) + strlen(below) + sizeof program + strlen(name);
    char *path = malloc(size);
    if (path) snprintf(path, size, "%s%s%s%s", folder, below, program, name);
    return path;
}

bool nnl_make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(path, S_IRWXU) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made) return false;
    }
    return true;
}
