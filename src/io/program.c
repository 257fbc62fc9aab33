// program.c: see program.h; over POSIX.
#include "io/program.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static nnl_status fail_system(nnl_context *ctx, const char *name, const char *what, int code) {
    char reason[128];
    if (strerror_r(code, reason, sizeof reason) != 0) snprintf(reason, sizeof reason, "error %d", code);
    return nnl_fail(ctx, NNL_ERR_IO, "%.200s: cannot %s: %s", name, what, reason);
}

// ---- files without a name

static int open_nameless(void) {
    const char *folder = getenv("TMPDIR");
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/nnlua.XXXXXX", folder && folder[0] == '/' ? folder : "/tmp");
    if (length < 0 || (size_t)length >= sizeof path) return -1;
    int descriptor = mkstemp(path);
    if (descriptor < 0) return -1;
    unlink(path);
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    return descriptor;
}

static bool write_all(int descriptor, const char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(descriptor, data, size);
        if (done < 0 && errno != EINTR) return false;
        if (done < 0) continue;
        data += done;
        size -= (size_t)done;
    }
    return lseek(descriptor, 0, SEEK_SET) == 0;
}

static nnl_status read_all(nnl_context *ctx, const char *name, int descriptor, nnl_bytes *out) {
    struct stat info;
    if (fstat(descriptor, &info) != 0) return fail_system(ctx, name, "read what it wrote", errno);
    size_t size = (size_t)info.st_size;
    if (nnl_bytes_reserve(out, size) != NNL_OK) return ctx->status;
    for (size_t at = 0; at < size;) {
        ssize_t got = pread(descriptor, out->data + out->length, size - at, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_system(ctx, name, "read what it wrote", errno);
        if (got == 0) break;
        out->length += (size_t)got;
        at += (size_t)got;
    }
    return NNL_OK;
}

// ---- the program

static int start(const char *const *words, int input, int output, pid_t *process) {
    posix_spawn_file_actions_t actions;
    int code = posix_spawn_file_actions_init(&actions);
    if (code != 0) return code;
    code = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    // posix_spawn asks for words that may be written, and does not write them.
    union {
        const char *const *given;
        char *const *asked;
    } list = {.given = words};
    if (code == 0) code = posix_spawnp(process, words[0], &actions, NULL, list.asked, environ);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

// Where the host has taken the end of the process for itself, nothing is known, and all is taken to be well.
static int wait_for(pid_t process) {
    int status = 0;
    while (waitpid(process, &status, 0) < 0) {
        if (errno != EINTR) return 0;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static nnl_status run(nnl_context *ctx, const char *const *words, int input, int output, nnl_bytes *out,
                      int *code) {
    pid_t process;
    int failure = start(words, input, output, &process);
    if (failure != 0) return fail_system(ctx, words[0], "start", failure);
    *code = wait_for(process);
    return read_all(ctx, words[0], output, out);
}

nnl_status nnl_program_run(nnl_context *ctx, const char *const *words, const void *input, size_t size,
                           nnl_bytes *out, int *code) {
    int from = open_nameless(), to = open_nameless();
    nnl_status status;
    if (from < 0 || to < 0 || !write_all(from, input, size))
        status = fail_system(ctx, words[0], "write a temporary file", errno);
    else
        status = run(ctx, words, from, to, out, code);
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    return status;
}
