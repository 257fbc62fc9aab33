// history.c: the history and its file. Every entry is appended by one write under a lock, so that sessions
// side by side keep all of theirs; a file that has grown long is written anew and put in place whole. See
// history.h.
#define _DEFAULT_SOURCE 1
#include "app/history.h"

#include "app/paths.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES ((off_t)1 << 20) // of a file that is read: older entries are beyond it
#define MOST_ENTRY ((size_t)1 << 16)

struct nnl_history {
    char *path; // NULL where nothing is kept
    char **entry;
    size_t count, room;
};

// ---- entries in memory

static void drop_oldest(nnl_history *history, size_t count) {
    for (size_t i = 0; i < count; i++) free(history->entry[i]);
    history->count -= count;
    memmove(history->entry, history->entry + count, history->count * sizeof *history->entry);
}

// Takes text, which may be NULL.
static bool push(nnl_history *history, char *text) {
    if (text && history->count == history->room) {
        size_t room = history->room > 0 ? 2 * history->room : 64;
        char **entry = realloc(history->entry, room * sizeof *entry);
        if (entry) {
            history->entry = entry;
            history->room = room;
        }
    }
    if (!text || history->count == history->room) {
        free(text);
        return false;
    }
    history->entry[history->count++] = text;
    if (history->count > NNL_HISTORY_ENTRIES) drop_oldest(history, 1);
    return true;
}

static bool is_last(const nnl_history *history, const char *text) {
    return history->count > 0 && strcmp(history->entry[history->count - 1], text) == 0;
}

// ---- lines of the file

// An entry as a line, with its newline. Returns new.
static char *line_of(const char *text, size_t *length) {
    char *line = malloc(2 * strlen(text) + 2), *to = line;
    if (!line) return NULL;
    for (; *text; text++) {
        bool special = *text == '\n' || *text == '\\';
        if (special) *to++ = '\\';
        *to++ = *text == '\n' ? 'n' : *text;
    }
    *to++ = '\n';
    *length = (size_t)(to - line);
    return line;
}

// A line of this length as an entry. Returns new.
static char *entry_of(const char *line, size_t length) {
    char *text = malloc(length + 1), *to = text;
    if (!text) return NULL;
    for (size_t i = 0; i < length; i++) {
        bool escaped = line[i] == '\\' && i + 1 < length;
        if (escaped) i++;
        *to++ = escaped && line[i] == 'n' ? '\n' : line[i];
    }
    *to = '\0';
    return text;
}

// ---- reading

// The end of the file, of at most MOST_BYTES. Returns new, or NULL.
static char *read_end(int file, size_t *length) {
    struct stat facts;
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) return NULL;
    off_t from = facts.st_size > MOST_BYTES ? facts.st_size - MOST_BYTES : 0;
    char *bytes = malloc((size_t)(facts.st_size - from) + 1);
    if (!bytes) return NULL;
    ssize_t count = pread(file, bytes, (size_t)(facts.st_size - from), from);
    *length = count > 0 ? (size_t)count : 0;
    if (from == 0) return bytes;
    const char *start = memchr(bytes, '\n', *length); // the first line is cut
    size_t cut = start ? (size_t)(start + 1 - bytes) : *length;
    *length -= cut;
    memmove(bytes, bytes + cut, *length);
    return bytes;
}

// Lines that no session writes, with a zero byte or longer than any entry, are passed over. Returns how many
// lines there were.
static size_t read_lines(nnl_history *history, const char *bytes, size_t length) {
    size_t lines = 0;
    for (size_t at = 0; at < length; lines++) {
        const char *end = memchr(bytes + at, '\n', length - at);
        size_t size = end ? (size_t)(end - bytes) - at : length - at;
        bool fits = size > 0 && size <= 2 * MOST_ENTRY && !memchr(bytes + at, '\0', size);
        char *text = fits ? entry_of(bytes + at, size) : NULL;
        if (text && !is_last(history, text)) {
            push(history, text);
        } else {
            free(text);
        }
        at += size + 1;
    }
    return lines;
}

// ---- writing

static bool write_all(int file, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t count = write(file, bytes, length);
        if (count <= 0) return false;
        bytes += count;
        length -= (size_t)count;
    }
    return true;
}

static bool write_entries(const nnl_history *history, int file) {
    bool good = true;
    for (size_t i = 0; i < history->count && good; i++) {
        size_t length;
        char *line = line_of(history->entry[i], &length);
        good = line && write_all(file, line, length);
        free(line);
    }
    return good && fsync(file) == 0;
}

// The file anew, with only what is in memory; the old one stays where that fails.
static void rewrite(const nnl_history *history) {
    size_t size = strlen(history->path) + sizeof ".XXXXXX";
    char *other = malloc(size);
    if (!other) return;
    snprintf(other, size, "%s.XXXXXX", history->path);
    int file = mkstemp(other);
    if (file >= 0) {
        bool good = write_entries(history, file);
        good = close(file) == 0 && good;
        if (!good || rename(other, history->path) != 0) unlink(other);
    }
    free(other);
}

// The file, locked; -1 where that cannot be. A session that rewrites puts another file in its place, so the
// one that was opened may be gone when the lock is there.
static int open_locked(const char *path) {
    for (int attempt = 0; attempt < 10; attempt++) {
        struct stat opened, there;
        int file = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, S_IRUSR | S_IWUSR);
        if (file < 0) return -1;
        bool good = flock(file, LOCK_EX) == 0 && fstat(file, &opened) == 0 && stat(path, &there) == 0;
        if (good && opened.st_ino == there.st_ino && opened.st_dev == there.st_dev) return file;
        close(file);
    }
    return -1;
}

static void load(nnl_history *history) {
    int file = open_locked(history->path);
    if (file < 0) return;
    size_t length = 0;
    char *bytes = read_end(file, &length);
    size_t lines = bytes ? read_lines(history, bytes, length) : 0;
    struct stat facts;
    bool large = fstat(file, &facts) == 0 && facts.st_size > MOST_BYTES;
    if (bytes && (large || lines > 2 * NNL_HISTORY_ENTRIES)) rewrite(history);
    free(bytes);
    close(file);
}

static void append(const nnl_history *history, const char *text) {
    size_t length;
    char *line = line_of(text, &length);
    int file = line ? open_locked(history->path) : -1;
    if (file >= 0) {
        write_all(file, line, length);
        close(file);
    }
    free(line);
}

// ---- the whole

nnl_history *nnl_history_new(void) {
    nnl_history *history = calloc(1, sizeof *history);
    if (!history) return NULL;
    history->path = nnl_user_path("XDG_STATE_HOME", "/.local/state", "history");
    if (history->path && !nnl_make_folders(history->path)) {
        free(history->path);
        history->path = NULL;
    }
    if (history->path) load(history);
    return history;
}

void nnl_history_free(nnl_history *history) {
    if (!history) return;
    drop_oldest(history, history->count);
    free(history->entry);
    free(history->path);
    free(history);
}

size_t nnl_history_count(const nnl_history *history) { return history->count; }

const char *nnl_history_entry(const nnl_history *history, size_t i) { return history->entry[i]; }

bool nnl_history_add(nnl_history *history, const char *text) {
    if (text[strspn(text, " \t\r\n")] == '\0' || is_last(history, text) || strlen(text) > MOST_ENTRY)
        return false;
    if (!push(history, strdup(text))) return false;
    if (history->path) append(history, text);
    return true;
}
