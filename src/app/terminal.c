// terminal.c: what the environment tells of the terminal. See terminal.h.
#define _POSIX_C_SOURCE 200809L
#include "app/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool moves_cursor(void) {
    const char *term = getenv("TERM");
    return term && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

bool nnl_terminal_can_edit(void) { return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && moves_cursor(); }

bool nnl_terminal_has_colours(int descriptor) {
    const char *refused = getenv("NO_COLOR");
    return isatty(descriptor) && moves_cursor() && !(refused && refused[0] != '\0');
}
