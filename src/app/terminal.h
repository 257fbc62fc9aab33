// terminal.h: what the terminal can do.
#ifndef NNL_APP_TERMINAL_H
#define NNL_APP_TERMINAL_H

#include <stdbool.h>

// Whether both ends are a terminal that can move its cursor: TERM is set, and not "dumb".
bool nnl_terminal_can_edit(void);

// Whether text written there may have colours: a terminal that understands them, and NO_COLOR (no-color.org)
// is empty.
bool nnl_terminal_has_colours(int descriptor);

#endif
