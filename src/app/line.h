// line.h: lines typed by a person or piped in, with editing, completion and history where there is a
// terminal.
#ifndef NNL_APP_LINE_H
#define NNL_APP_LINE_H

#include <stddef.h>

typedef enum nnl_line_status {
    NNL_LINE_READ,
    NNL_LINE_INTERRUPTED, // Ctrl-C: whatever was typed is gone
    NNL_LINE_END,
} nnl_line_status;

// What could stand at the end of a text: `count` words, one behind the other with a zero byte after each.
// Each would take the place of the last `replaced` bytes.
typedef struct nnl_words {
    char *bytes; // new: freed by who asked
    size_t count, replaced;
} nnl_words;

// Who answers the Tab key: the words for the text up to the cursor.
typedef struct nnl_completer {
    nnl_words (*words)(void *host, const char *text, size_t length);
    void *host;
} nnl_completer;

typedef struct nnl_line_reader nnl_line_reader;

// Returns new, or NULL when there is no memory. The completer is copied.
nnl_line_reader *nnl_line_reader_new(const nnl_completer *completer);
void nnl_line_reader_free(nnl_line_reader *reader);

// Read one line. *line comes without its last newline and is borrowed until the next call; an entry of
// several lines, taken from the history, has newlines inside. `colour` is what a terminal is sent before the
// prompt, or NULL.
nnl_line_status nnl_line_read(nnl_line_reader *reader, const char *prompt, const char *colour,
                              const char **line);

// Add an entry to the history. A history that cannot be saved is no error.
void nnl_line_remember(nnl_line_reader *reader, const char *text);

#endif
