// edit.h: line editing on a terminal through libedit. Without libedit (NNL_HAVE_EDITLINE) there is never an
// editor.
#ifndef NNL_APP_EDIT_H
#define NNL_APP_EDIT_H

#include "app/history.h"
#include "app/line.h"

typedef struct nnl_editor nnl_editor;

// Returns new, or NULL where lines are better read plainly: no terminal, one that cannot move its cursor, no
// memory. The editor begins with the entries of the history, which may be NULL.
nnl_editor *nnl_editor_new(const nnl_completer *completer, const nnl_history *history);
void nnl_editor_free(nnl_editor *editor);

// As nnl_line_read.
nnl_line_status nnl_editor_read(nnl_editor *editor, const char *prompt, const char *colour,
                                const char **line);

// One more entry that the arrow keys find.
void nnl_editor_remember(nnl_editor *editor, const char *text);

#endif
