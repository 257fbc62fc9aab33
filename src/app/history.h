// history.h: where the lines typed at the prompt are kept.
#ifndef NNL_APP_HISTORY_H
#define NNL_APP_HISTORY_H

// The path of the history file, its folders created: $XDG_STATE_HOME/nnlua/history, by default below
// ~/.local/state. Returns new, to be freed by the caller, or NULL when there is no such place.
char *nnl_history_path(void);

#endif
