// history.h: what was typed at the prompt, in memory and in a file that sessions share: an entry a line, with
// \n and \\ for line breaks and backslashes inside of one.
#ifndef NNL_APP_HISTORY_H
#define NNL_APP_HISTORY_H

#include <stdbool.h>
#include <stddef.h>

#define NNL_HISTORY_ENTRIES 2000

typedef struct nnl_history nnl_history;

// Reads $XDG_STATE_HOME/nnlua/history, by default below ~/.local/state. A file that cannot be read or written
// is no error: the history is this session's then. Returns new, or NULL where there is no memory.
nnl_history *nnl_history_new(void);
void nnl_history_free(nnl_history *history);

// Entries from the oldest (0); borrowed.
size_t nnl_history_count(const nnl_history *history);
const char *nnl_history_entry(const nnl_history *history, size_t i);

// Adds an entry, here and to the file, unless it is blank or the same as the last one. Returns whether it was
// added.
bool nnl_history_add(nnl_history *history, const char *text);

#endif
