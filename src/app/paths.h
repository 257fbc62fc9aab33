// paths.h: where a person's files are, after the XDG Base Directory Specification.
#ifndef NNL_APP_PATHS_H
#define NNL_APP_PATHS_H

#include <stdbool.h>

// The path nnlua/NAME in the folder that `variable` of the environment names, or in its usual place below the
// home folder ("/.local/state"). Returns new, to be freed by the caller; NULL where there is no such place.
char *nnl_user_path(const char *variable, const char *usual, const char *name);

// Make every folder on the way to a file, for its owner alone. The path is the same afterwards.
bool nnl_make_folders(char *path);

#endif
