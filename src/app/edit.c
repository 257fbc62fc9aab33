// edit.c: line editing and history through libedit, with Ctrl-C and a resized window in good order.
#define _POSIX_C_SOURCE 200809L
#include "app/edit.h"

#ifdef NNL_HAVE_EDITLINE

#include "app/history.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000
#define PROMPT_SIZE 128

struct nnl_editor {
    EditLine *edit;
    History *history;
    char *history_path; // NULL when the history is not kept
    char *line;
    char prompt[PROMPT_SIZE];
    sigset_t open_signals; // the mask while waiting for a key
};

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t screen_changed; // another window size, or back from being stopped

static void on_signal(int signal_number) {
    if (signal_number == SIGINT) {
        interrupted = 1;
    } else {
        screen_changed = 1;
    }
}

static const int signals[] = {SIGINT, SIGWINCH, SIGCONT};
#define SIGNALS (sizeof signals / sizeof *signals)

// The signals are blocked but for the wait for a key, so that none is lost between a look at its flag and
// that wait.
static void signals_begin(nnl_editor *editor, struct sigaction before[SIGNALS]) {
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t blocked;
    sigemptyset(&action.sa_mask);
    sigemptyset(&blocked);
    interrupted = screen_changed = 0;
    for (size_t i = 0; i < SIGNALS; i++) {
        sigaddset(&blocked, signals[i]);
        sigaction(signals[i], &action, &before[i]);
    }
    sigprocmask(SIG_BLOCK, &blocked, &editor->open_signals);
}

static void signals_end(const nnl_editor *editor, const struct sigaction before[SIGNALS]) {
    for (size_t i = 0; i < SIGNALS; i++) sigaction(signals[i], &before[i], NULL);
    sigprocmask(SIG_SETMASK, &editor->open_signals, NULL);
}

static nnl_editor *editor_of(EditLine *edit) {
    void *editor = NULL;
    el_get(edit, EL_CLIENTDATA, &editor);
    return editor;
}

static char *prompt_of(EditLine *edit) { return editor_of(edit)->prompt; }

static void redraw(EditLine *edit) {
    screen_changed = 0;
    el_set(edit, EL_PREP_TERM, 1);
    el_resize(edit);
    el_set(edit, EL_REFRESH);
}

// One byte of input: 1, or 0 at its end, or -1 when Ctrl-C came instead.
static int read_byte(EditLine *edit, char *byte) {
    for (;;) {
        if (interrupted) return -1;
        if (screen_changed) redraw(edit);
        fd_set input;
        FD_ZERO(&input);
        FD_SET(STDIN_FILENO, &input);
        int ready = pselect(STDIN_FILENO + 1, &input, NULL, NULL, NULL, &editor_of(edit)->open_signals);
        if (ready > 0) return (int)read(STDIN_FILENO, byte, 1);
        if (ready < 0 && errno != EINTR) return 0;
    }
}

// One character for libedit, in place of its own reader, which would go on waiting after Ctrl-C. Bytes that
// are no character of the locale are passed over.
static int read_character(EditLine *edit, wchar_t *character) {
    mbstate_t state = {0};
    for (;;) {
        char byte;
        int count = read_byte(edit, &byte);
        if (count != 1) return count;
        size_t used = mbrtowc(character, &byte, 1, &state);
        if (used == 0 || used == 1) return 1;
        if (used == (size_t)-1) memset(&state, 0, sizeof state);
    }
}

static void bind_keys(EditLine *edit) {
    el_set(edit, EL_EDITOR, "emacs");
    el_set(edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(edit, EL_BIND, "^W", "ed-delete-prev-word", NULL);
    el_set(edit, EL_BIND, "\\e[3~", "ed-delete-next-char", NULL);
    el_set(edit, EL_BIND, "\\e[1~", "ed-move-to-beg", NULL);
    el_set(edit, EL_BIND, "\\e[4~", "ed-move-to-end", NULL);
    el_set(edit, EL_BIND, "\\e[1;5C", "em-next-word", NULL);
    el_set(edit, EL_BIND, "\\e[1;5D", "ed-prev-word", NULL);
    el_source(edit, NULL); // the person's own ~/.editrc comes last
}

static void open_history(nnl_editor *editor) {
    HistEvent event;
    history(editor->history, &event, H_SETSIZE, HISTORY_LINES);
    history(editor->history, &event, H_SETUNIQUE, 1);
    editor->history_path = nnl_history_path();
    if (editor->history_path) history(editor->history, &event, H_LOAD, editor->history_path);
}

static bool open_editor(nnl_editor *editor) {
    setlocale(LC_CTYPE, ""); // so that libedit knows the characters of the terminal
    editor->edit = el_init("nnlua", stdin, stdout, stderr);
    editor->history = history_init();
    if (!editor->edit || !editor->history) return false;
    el_set(editor->edit, EL_CLIENTDATA, editor);
    el_set(editor->edit, EL_PROMPT, prompt_of);
    el_set(editor->edit, EL_GETCFN, read_character);
    el_set(editor->edit, EL_HIST, history, editor->history);
    bind_keys(editor->edit);
    open_history(editor);
    return true;
}

static bool is_capable_terminal(void) {
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) return false;
    return term && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

nnl_editor *nnl_editor_new(void) {
    if (!is_capable_terminal()) return NULL;
    nnl_editor *editor = calloc(1, sizeof *editor);
    if (!editor || open_editor(editor)) return editor;
    nnl_editor_free(editor);
    return NULL;
}

void nnl_editor_free(nnl_editor *editor) {
    if (!editor) return;
    if (editor->edit) el_end(editor->edit);
    if (editor->history) history_end(editor->history);
    free(editor->history_path);
    free(editor->line);
    free(editor);
}

// Keep a copy without the newline: libedit's own text is not to be written to.
static nnl_line_status keep_line(nnl_editor *editor, const char *text, const char **line) {
    size_t length = strcspn(text, "\r\n");
    free(editor->line);
    editor->line = malloc(length + 1);
    if (!editor->line) return NNL_LINE_END;
    memcpy(editor->line, text, length);
    editor->line[length] = '\0';
    *line = editor->line;
    return NNL_LINE_READ;
}

nnl_line_status nnl_editor_read(nnl_editor *editor, const char *prompt, const char **line) {
    struct sigaction before[SIGNALS];
    int count = 0;
    snprintf(editor->prompt, sizeof editor->prompt, "%s", prompt);
    signals_begin(editor, before);
    const char *text = el_gets(editor->edit, &count);
    signals_end(editor, before);
    if (text && count > 0 && !interrupted) return keep_line(editor, text, line);
    puts(interrupted ? "^C" : "");
    return interrupted ? NNL_LINE_INTERRUPTED : NNL_LINE_END;
}

void nnl_editor_remember(nnl_editor *editor, const char *line) {
    HistEvent event;
    if (line[strspn(line, " \t")] == '\0') return;
    history(editor->history, &event, H_ENTER, line);
    if (editor->history_path) history(editor->history, &event, H_SAVE, editor->history_path);
}

#else

#include <stddef.h>

nnl_editor *nnl_editor_new(void) { return NULL; }

void nnl_editor_free(nnl_editor *editor) { (void)editor; }

nnl_line_status nnl_editor_read(nnl_editor *editor, const char *prompt, const char **line) {
    (void)editor, (void)prompt, (void)line;
    return NNL_LINE_END;
}

void nnl_editor_remember(nnl_editor *editor, const char *line) { (void)editor, (void)line; }

#endif
