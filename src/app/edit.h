// edit.h: line editing on a terminal through libedit. Without libedit (NNL_HAVE_EDITLINE) there is never an
// editor.
#ifndef NNL_APP_EDIT_H
#define NNL_APP_EDIT_H

#include "app/line.h"

typedef struct nnl_editor nnl_editor;

// Returns new, or NULL where lines are better read plainly: no terminal, one that cannot move its cursor, no
// memory.
nnl_editor *nnl_editor_new(void);
void nnl_editor_free(nnl_editor *editor);

// As nnl_line_read and nnl_line_remember.
nnl_line_status nnl_editor_read(nnl_editor *editor, const char *prompt, const char **line);
void nnl_editor_remember(nnl_editor *editor, const char *line);

#endif
