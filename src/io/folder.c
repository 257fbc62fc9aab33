// folder.c: reading and making folders, over POSIX.
#include "io/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static nnl_status fail_system(nnl_context *ctx, const char *path, const char *what) {
    int code = errno;
    char reason[128];
    if (strerror_r(code, reason, sizeof reason) != 0) snprintf(reason, sizeof reason, "error %d", code);
    return nnl_fail(ctx, NNL_ERR_IO, "%.300s: cannot %s: %s", path, what, reason);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static nnl_status add_name(const char *name, nnl_bytes *text, nnl_bytes *list) {
    size_t offset = text->length;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return NNL_OK;
    if (nnl_bytes_add(text, name, strlen(name) + 1) != NNL_OK) return text->ctx->status;
    return nnl_bytes_add(list, &offset, sizeof offset);
}

// Offsets become pointers while they are sorted: the text moves no more.
static void sort_names(const nnl_bytes *text, nnl_bytes *list) {
    _Static_assert(sizeof(char *) == sizeof(size_t), "a pointer lies where an offset does");
    size_t count = list->length / sizeof(size_t);
    for (size_t i = 0; i < count; i++) {
        size_t offset;
        memcpy(&offset, list->data + i * sizeof offset, sizeof offset);
        char *name = text->data + offset;
        memcpy(list->data + i * sizeof name, &name, sizeof name);
    }
    if (count > 0) qsort(list->data, count, sizeof(char *), by_name);
    for (size_t i = 0; i < count; i++) {
        char *name;
        memcpy(&name, list->data + i * sizeof name, sizeof name);
        size_t offset = (size_t)(name - text->data);
        memcpy(list->data + i * sizeof offset, &offset, sizeof offset);
    }
}

nnl_status nnl_folder_read(nnl_context *ctx, const char *path, nnl_bytes *text, nnl_bytes *list) {
    DIR *folder = opendir(path);
    if (!folder) {
        return fail_system(ctx, path, "open");
    }
    nnl_status status = NNL_OK;
    // Nobody else has this folder, so that readdir is safe.
    // cppcheck-suppress readdirCalled
    for (struct dirent *entry = readdir(folder); entry && status == NNL_OK; entry = readdir(folder))
        status = add_name(entry->d_name, text, list);
    closedir(folder);
    if (status == NNL_OK) sort_names(text, list);
    return status;
}

// ---- making

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static nnl_status make(nnl_context *ctx, const char *path) {
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && is_folder(path))) return NNL_OK;
    if (errno == EEXIST) errno = ENOTDIR;
    return fail_system(ctx, path, "make the folder");
}

nnl_status nnl_folder_make(nnl_context *ctx, const char *path) {
    if (is_folder(path)) return NNL_OK;
    size_t length = strlen(path);
    char *part = nnl_alloc(&ctx->allocator, length + 1);
    if (!part) return nnl_fail(ctx, NNL_ERR_MEMORY, "%.300s: out of memory", path);
    memcpy(part, path, length + 1);
    nnl_status status = NNL_OK;
    for (size_t i = 1; i < length && status == NNL_OK; i++) {
        if (part[i] != '/') continue;
        part[i] = '\0';
        status = make(ctx, part);
        part[i] = '/';
    }
    nnl_free(&ctx->allocator, part);
    return status == NNL_OK ? make(ctx, path) : status;
}
