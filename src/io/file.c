// file.c: mapping, reading and atomic writing, over POSIX.
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_CHUNK ((size_t)1 << 16)
// Bytes between two looks at whether the host wants an end.
#define MOST_AT_ONCE ((size_t)1 << 24)
#define TEMPORARY_TRIES 1000
#define TEMPORARY_SUFFIX 48 // room for ".", two numbers and ".part"

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

static nnl_status fail_system(nnl_context *ctx, const char *path, const char *what) {
    int code = errno;
    char reason[128];
    if (strerror_r(code, reason, sizeof reason) != 0) snprintf(reason, sizeof reason, "error %d", code);
    return nnl_fail(ctx, NNL_ERR_IO, "%.300s: cannot %s: %s", path, what, reason);
}

nnl_status nnl_file_blame(nnl_context *ctx, const char *path) {
    char text[NNL_ERROR_SIZE];
    memcpy(text, ctx->error, sizeof text);
    return nnl_fail(ctx, ctx->status, "%.200s: %s", path, text);
}

// ---- mapping

static nnl_mapping *mapping_of(nnl_context *ctx, const char *path, int descriptor, size_t size) {
    nnl_mapping *mapping = nnl_alloc(&ctx->allocator, sizeof *mapping);
    if (!mapping) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "%.300s: out of memory", path);
    *mapping = (nnl_mapping){.refs = 1, .ctx = ctx, .size = size};
    if (size == 0) return mapping;
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    if (data == MAP_FAILED) {
        nnl_free(&ctx->allocator, mapping);
        fail_system(ctx, path, "map");
        return NULL;
    }
    mapping->data = data;
    return mapping;
}

// Not blocking: a pipe that nobody writes to is refused at once, like all that cannot be mapped.
nnl_mapping *nnl_mapping_new(nnl_context *ctx, const char *path) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        fail_system(ctx, path, "open");
        return NULL;
    }
    nnl_mapping *mapping = NULL;
    struct stat info;
    if (fstat(descriptor, &info) != 0)
        fail_system(ctx, path, "look at");
    else if (!S_ISREG(info.st_mode))
        nnl_fail(ctx, NNL_ERR_IO, "%.300s: not a file", path);
    else
        mapping = mapping_of(ctx, path, descriptor, (size_t)info.st_size);
    close(descriptor);
    return mapping;
}

void nnl_mapping_release(void *owner) {
    nnl_mapping *mapping = owner;
    if (--mapping->refs > 0) return;
    if (mapping->data) munmap(mapping->data, mapping->size);
    nnl_free(&mapping->ctx->allocator, mapping);
}

// ---- reading

static ssize_t read_some(int descriptor, nnl_bytes *out) {
    size_t room = out->capacity - out->length;
    ssize_t got;
    do got = read(descriptor, out->data + out->length, room < MOST_AT_ONCE ? room : MOST_AT_ONCE);
    while (got < 0 && errno == EINTR);
    return got;
}

static nnl_status read_all(nnl_context *ctx, const char *path, int descriptor, nnl_bytes *out) {
    struct stat info;
    size_t expected = READ_CHUNK;
    if (fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode)) expected = (size_t)info.st_size + 1;
    for (;;) {
        if (nnl_bytes_reserve(out, expected) != NNL_OK) return nnl_file_blame(ctx, path);
        ssize_t got = read_some(descriptor, out);
        if (got < 0) return fail_system(ctx, path, "read");
        if (got == 0) return NNL_OK;
        out->length += (size_t)got;
        if (nnl_check_stop(ctx, path) != NNL_OK) return ctx->status;
        expected = out->length == out->capacity ? READ_CHUNK : 1;
    }
}

nnl_status nnl_file_read(nnl_context *ctx, const char *path, nnl_bytes *out) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return fail_system(ctx, path, "open");
    nnl_status status = read_all(ctx, path, descriptor, out);
    close(descriptor);
    return status;
}

// ---- writing

// Opened by a name of its own, with the permissions that the process gives to new files.
static int open_temporary(nnl_file *file, size_t room) {
    for (int i = 0; i < TEMPORARY_TRIES; i++) {
        snprintf(file->temporary, room, "%s.%ld.%d.part", file->path, (long)getpid(), i);
        int descriptor = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0 || errno != EEXIST) return descriptor;
    }
    return -1;
}

static void forget(nnl_file *file) {
    nnl_free(&file->ctx->allocator, file->temporary);
    file->temporary = NULL;
    file->descriptor = -1;
}

nnl_status nnl_file_create(nnl_file *file, nnl_context *ctx, const char *path) {
    size_t room = strlen(path) + TEMPORARY_SUFFIX;
    *file = (nnl_file){.ctx = ctx, .path = path, .descriptor = -1};
    file->temporary = nnl_alloc(&ctx->allocator, room);
    if (!file->temporary) return nnl_fail(ctx, NNL_ERR_MEMORY, "%.300s: out of memory", path);
    file->descriptor = open_temporary(file, room);
    if (file->descriptor >= 0) {
        struct stat old;
        if (stat(path, &old) == 0 && S_ISREG(old.st_mode)) (void)fchmod(file->descriptor, old.st_mode & 0777);
        return NNL_OK;
    }
    fail_system(ctx, path, "write");
    forget(file);
    return ctx->status;
}

nnl_status nnl_file_write(nnl_file *file, const void *data, size_t size) {
    for (const char *at = data; size > 0;) {
        ssize_t put = write(file->descriptor, at, size < MOST_AT_ONCE ? size : MOST_AT_ONCE);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail_system(file->ctx, file->path, "write");
        at += put;
        size -= (size_t)put;
        if (nnl_check_stop(file->ctx, file->path) != NNL_OK) return file->ctx->status;
    }
    return NNL_OK;
}

// The new name is on the disk once its folder is. Some file systems cannot say so, and the file is whole and
// in place either way: no failure.
static void sync_folder(const nnl_file *file) {
    char *slash = strrchr(file->temporary, '/');
    if (slash) slash[slash == file->temporary] = '\0';
    int folder = open(slash ? file->temporary : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return;
    (void)fsync(folder);
    close(folder);
}

static bool sync_and_rename(nnl_file *file) {
    bool synced = fsync(file->descriptor) == 0;
    if (!synced) fail_system(file->ctx, file->path, "write");
    close(file->descriptor); // what could fail has, in fsync
    if (!synced) return false;
    if (rename(file->temporary, file->path) == 0) return true;
    fail_system(file->ctx, file->path, "write");
    return false;
}

nnl_status nnl_file_commit(nnl_file *file) {
    bool renamed = sync_and_rename(file);
    if (renamed)
        sync_folder(file);
    else
        unlink(file->temporary);
    forget(file);
    return renamed ? NNL_OK : file->ctx->status;
}

void nnl_file_discard(nnl_file *file) {
    close(file->descriptor);
    unlink(file->temporary);
    forget(file);
}
