// line.c: lines for the prompt: from the editor (edit.c) on a terminal, as they come from anything else.
#define _POSIX_C_SOURCE 200809L
#include "app/line.h"

#include "app/edit.h"
#include "app/history.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct nnl_line_reader {
    nnl_history *history; // of what a person types; NULL otherwise
    nnl_editor *editor;   // NULL where lines come plain
    char *text;           // a plain line, in memory of getline
    size_t size;
};

nnl_line_reader *nnl_line_reader_new(const nnl_completer *completer) {
    nnl_line_reader *reader = calloc(1, sizeof *reader);
    if (!reader) return NULL;
    if (isatty(STDIN_FILENO)) reader->history = nnl_history_new();
    reader->editor = nnl_editor_new(completer, reader->history);
    return reader;
}

void nnl_line_reader_free(nnl_line_reader *reader) {
    if (!reader) return;
    nnl_editor_free(reader->editor);
    nnl_history_free(reader->history);
    free(reader->text);
    free(reader);
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

// getline that Ctrl-C ends: without SA_RESTART the signal breaks the wait for input.
static ssize_t get_line(nnl_line_reader *reader) {
    struct sigaction action = {.sa_handler = on_interrupt}, before;
    sigemptyset(&action.sa_mask);
    interrupted = 0;
    sigaction(SIGINT, &action, &before);
    ssize_t length = getline(&reader->text, &reader->size, stdin);
    sigaction(SIGINT, &before, NULL);
    return length;
}

static nnl_line_status read_plain(nnl_line_reader *reader, const char *prompt, const char **line) {
    fputs(prompt, stdout);
    fflush(stdout);
    ssize_t length = get_line(reader);
    if (length < 0) {
        clearerr(stdin);
        putchar('\n');
        return interrupted ? NNL_LINE_INTERRUPTED : NNL_LINE_END;
    }
    if (length > 0 && reader->text[length - 1] == '\n') reader->text[length - 1] = '\0';
    *line = reader->text;
    return NNL_LINE_READ;
}

nnl_line_status nnl_line_read(nnl_line_reader *reader, const char *prompt, const char *colour,
                              const char **line) {
    if (reader->editor) return nnl_editor_read(reader->editor, prompt, colour, line);
    return read_plain(reader, prompt, line);
}

void nnl_line_remember(nnl_line_reader *reader, const char *text) {
    bool added = reader->history && nnl_history_add(reader->history, text);
    if (added && reader->editor) nnl_editor_remember(reader->editor, text);
}
