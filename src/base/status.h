// status.h: the outcome of every engine function that can fail. The text of the last failure lives in the
// context (context.h). The engine never prints, aborts, exits or jumps.
#ifndef NNL_BASE_STATUS_H
#define NNL_BASE_STATUS_H

typedef enum nnl_status {
    NNL_OK = 0,
    NNL_ERR_ARGUMENT,    // a value out of range, an unknown option
    NNL_ERR_SHAPE,       // shapes that do not fit together
    NNL_ERR_DTYPE,       // an element type that the operation has no meaning for
    NNL_ERR_MEMORY,      // out of memory, or over the limit set for the context
    NNL_ERR_STATE,       // right call, wrong moment: a second backward, a freed graph, a changed saved value
    NNL_ERR_IO,          // a file that cannot be read, written or understood
    NNL_ERR_INTERRUPTED, // the host asked for the computation to stop
} nnl_status;

#endif
