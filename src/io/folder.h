// folder.h: what lies in a folder, and making one.
#ifndef NNL_IO_FOLDER_H
#define NNL_IO_FOLDER_H

#include "io/bytes.h"

// The names in a folder, without "." and "..", sorted by their bytes: offsets into `text` (size_t each) in
// `list`, where each ends with a zero.
nnl_status nnl_folder_read(nnl_context *ctx, const char *path, nnl_bytes *text, nnl_bytes *list);

// The folder, and those that it is in, where they are not there yet.
nnl_status nnl_folder_make(nnl_context *ctx, const char *path);

#endif
