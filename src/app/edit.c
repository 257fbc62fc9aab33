// edit.c: line editing and history through libedit, with Tab, Ctrl-C and a resized window in good order.
#define _DEFAULT_SOURCE 1
#include "app/edit.h"

#ifdef NNL_HAVE_EDITLINE

#include "app/terminal.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <unistd.h>
#include <wchar.h>

#define PROMPT_SIZE 256
#define MOST_LISTED 400 // words below the line

struct nnl_editor {
    EditLine *edit;
    History *history;
    nnl_completer completer;
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

// What stands from the cursor's line on goes: libedit draws it anew, and would else put it behind itself.
static void redraw(EditLine *edit) {
    screen_changed = 0;
    fputs("\r\33[J", stdout);
    fflush(stdout);
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

// ---- the Tab key

static int terminal_columns(void) {
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// How many bytes all words begin with in common.
static size_t common_length(const nnl_words *words) {
    size_t common = strlen(words->bytes);
    const char *word = words->bytes;
    for (size_t i = 1; i < words->count; i++) {
        size_t same = 0;
        word += strlen(word) + 1;
        while (same < common && word[same] == words->bytes[same]) same++;
        common = same;
    }
    return common;
}

static size_t longest(const nnl_words *words) {
    size_t most = 1;
    const char *word = words->bytes;
    for (size_t i = 0; i < words->count; i++, word += strlen(word) + 1)
        if (strlen(word) > most) most = strlen(word);
    return most;
}

// In columns, from the top down.
static void print_words(const nnl_words *words) {
    const char *word[MOST_LISTED], *next = words->bytes;
    size_t count = words->count < MOST_LISTED ? words->count : MOST_LISTED;
    for (size_t i = 0; i < count; i++, next += strlen(next) + 1) word[i] = next;
    size_t width = longest(words) + 2, across = (size_t)terminal_columns() / width;
    if (across < 1) across = 1;
    size_t down = (count + across - 1) / across;
    putchar('\n');
    for (size_t row = 0; row < down; row++) {
        for (size_t i = row; i < count; i += down) printf("%-*s", i + down < count ? (int)width : 0, word[i]);
        putchar('\n');
    }
    if (words->count > count) printf("... and %zu more\n", words->count - count);
    fflush(stdout);
}

// Insert what is certain; where that is nothing, show what there is.
static unsigned char use_words(EditLine *edit, const nnl_words *words) {
    size_t common = common_length(words), typed = words->replaced;
    if (common > typed) {
        char *rest = strdup(words->bytes);
        if (!rest) return CC_ERROR;
        rest[common] = '\0';
        el_insertstr(edit, rest + typed);
        free(rest);
        return CC_REFRESH;
    }
    if (words->count == 1) return CC_REFRESH;
    print_words(words);
    return CC_REDISPLAY;
}

static bool is_blank(const LineInfo *line) {
    for (const char *c = line->buffer; c < line->cursor; c++)
        if (*c != ' ' && *c != '\t') return false;
    return true;
}

static unsigned char on_tab(EditLine *edit, int character) {
    const LineInfo *line = el_line(edit);
    const nnl_completer *completer = &editor_of(edit)->completer;
    (void)character;
    if (is_blank(line)) return el_insertstr(edit, "  ") == 0 ? CC_REFRESH : CC_ERROR;
    nnl_words words = completer->words(completer->host, line->buffer, (size_t)(line->cursor - line->buffer));
    unsigned char outcome = words.count > 0 ? use_words(edit, &words) : CC_ERROR;
    free(words.bytes);
    return outcome;
}

// ---- opening

// The arrows look for entries that begin as the line does.
static void bind_keys(EditLine *edit) {
    static const char *const keys[][2] = {
        {"^I", "nnlua-complete"},
        {"^R", "em-inc-search-prev"},
        {"^W", "ed-delete-prev-word"},
        {"\\e[A", "ed-search-prev-history"},
        {"\\e[B", "ed-search-next-history"},
        {"\\eOA", "ed-search-prev-history"},
        {"\\eOB", "ed-search-next-history"},
        {"\\e[3~", "ed-delete-next-char"},
        {"\\e[1~", "ed-move-to-beg"},
        {"\\e[4~", "ed-move-to-end"},
        {"\\e[1;5C", "em-next-word"},
        {"\\e[1;5D", "ed-prev-word"},
    };
    el_set(edit, EL_EDITOR, "emacs");
    el_set(edit, EL_ADDFN, "nnlua-complete", "complete the word before the cursor", on_tab);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        el_set(edit, EL_BIND, keys[i][0], keys[i][1], NULL);
    el_source(edit, NULL); // the person's own ~/.editrc comes last
}

static void fill_history(nnl_editor *editor, const nnl_history *known) {
    HistEvent event;
    history(editor->history, &event, H_SETSIZE, NNL_HISTORY_ENTRIES);
    history(editor->history, &event, H_SETUNIQUE, 1);
    for (size_t i = 0; known && i < nnl_history_count(known); i++)
        nnl_editor_remember(editor, nnl_history_entry(known, i));
}

static bool open_editor(nnl_editor *editor, const nnl_history *known) {
    setlocale(LC_CTYPE, ""); // so that libedit knows the characters of the terminal
    editor->edit = el_init("nnlua", stdin, stdout, stderr);
    editor->history = history_init();
    if (!editor->edit || !editor->history) return false;
    el_set(editor->edit, EL_CLIENTDATA, editor);
    el_set(editor->edit, EL_PROMPT_ESC, prompt_of, '\1');
    el_set(editor->edit, EL_GETCFN, read_character);
    el_set(editor->edit, EL_HIST, history, editor->history);
    bind_keys(editor->edit);
    fill_history(editor, known);
    return true;
}

nnl_editor *nnl_editor_new(const nnl_completer *completer, const nnl_history *known) {
    if (!nnl_terminal_can_edit()) return NULL;
    nnl_editor *editor = calloc(1, sizeof *editor);
    if (!editor) return NULL;
    editor->completer = *completer;
    if (open_editor(editor, known)) return editor;
    nnl_editor_free(editor);
    return NULL;
}

void nnl_editor_free(nnl_editor *editor) {
    if (!editor) return;
    if (editor->edit) el_end(editor->edit);
    if (editor->history) history_end(editor->history);
    free(editor->line);
    free(editor);
}

// Keep a copy without the last newline: libedit's own text is not to be written to.
static nnl_line_status keep_line(nnl_editor *editor, const char *text, const char **line) {
    size_t length = strlen(text);
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r')) length--;
    free(editor->line);
    editor->line = malloc(length + 1);
    if (!editor->line) return NNL_LINE_END;
    memcpy(editor->line, text, length);
    editor->line[length] = '\0';
    *line = editor->line;
    return NNL_LINE_READ;
}

// What sets colours stands between marks, as it takes no room on the line; libedit wants a character behind
// it, which is the prompt's last.
static void set_prompt(nnl_editor *editor, const char *prompt, const char *colour) {
    size_t length = strlen(prompt);
    if (!colour || length == 0 || length > PROMPT_SIZE / 2) {
        snprintf(editor->prompt, sizeof editor->prompt, "%s", prompt);
    } else {
        snprintf(editor->prompt, sizeof editor->prompt, "\1%s\1%.*s\1\33[0m\1%s", colour, (int)length - 1,
                 prompt, prompt + length - 1);
    }
}

nnl_line_status nnl_editor_read(nnl_editor *editor, const char *prompt, const char *colour,
                                const char **line) {
    struct sigaction before[SIGNALS];
    int count = 0;
    // what sets colours stands between marks: it takes no room on the line
    set_prompt(editor, prompt, colour);
    signals_begin(editor, before);
    el_set(editor->edit, EL_PREP_TERM, 1); // before the prompt, or the terminal shows what is typed at once
    const char *text = el_gets(editor->edit, &count);
    signals_end(editor, before);
    if (text && count > 0 && !interrupted) return keep_line(editor, text, line);
    puts(interrupted ? "^C" : "");
    return interrupted ? NNL_LINE_INTERRUPTED : NNL_LINE_END;
}

void nnl_editor_remember(nnl_editor *editor, const char *text) {
    HistEvent event;
    history(editor->history, &event, H_ENTER, text);
}

#else

#include <stddef.h>

nnl_editor *nnl_editor_new(const nnl_completer *completer, const nnl_history *known) {
    (void)completer, (void)known;
    return NULL;
}

void nnl_editor_free(nnl_editor *editor) { (void)editor; }

nnl_line_status nnl_editor_read(nnl_editor *editor, const char *prompt, const char *colour,
                                const char **line) {
    (void)editor, (void)prompt, (void)colour, (void)line;
    return NNL_LINE_END;
}

void nnl_editor_remember(nnl_editor *editor, const char *text) { (void)editor, (void)text; }

#endif
