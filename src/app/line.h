// line.h: lines typed by a person or piped in, with editing and history where there is a terminal.
#ifndef NNL_APP_LINE_H
#define NNL_APP_LINE_H

typedef enum nnl_line_status {
    NNL_LINE_READ,
    NNL_LINE_INTERRUPTED, // Ctrl-C: whatever was typed is gone
    NNL_LINE_END,
} nnl_line_status;

typedef struct nnl_line_reader nnl_line_reader;

// Returns new, or NULL when there is no memory.
nnl_line_reader *nnl_line_reader_new(void);
void nnl_line_reader_free(nnl_line_reader *reader);

// Read one line. *line comes without its newline and is borrowed until the next call.
nnl_line_status nnl_line_read(nnl_line_reader *reader, const char *prompt, const char **line);

// Add a line to the history. A history that cannot be saved is no error.
void nnl_line_remember(nnl_line_reader *reader, const char *line);

#endif
