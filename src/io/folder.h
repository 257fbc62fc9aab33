// folder.h: what lies in a folder.
#ifndef NNL_IO_FOLDER_H
#define NNL_IO_FOLDER_H

#include "io/bytes.h"

// The names in a folder, without "." and "..", sorted by their bytes: offsets into `text` (size_t each) in
// `list`, where each ends with a zero.
nnl_status nnl_folder_read(nnl_context *ctx, const char *path, nnl_bytes *text, nnl_bytes *list);

#endif
