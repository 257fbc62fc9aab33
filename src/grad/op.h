// op.h: an operation is one record: its name, its arguments, forward and backward. The binding reads the same
// record to make the method of a tensor, its messages and its documentation. See graph.h for what forward
// records.
#ifndef NNL_GRAD_OP_H
#define NNL_GRAD_OP_H

#include "tensor/tensor.h"

#define NNL_MAX_ARGS 8
#define NNL_MAX_OUTPUTS 4
#define NNL_LIST_OUTPUT (-1) // the number of results of an operation that gives a list of them
#define NNL_MAX_LISTS 4

typedef enum nnl_arg_kind {
    NNL_ARG_END,
    NNL_ARG_TENSOR,
    NNL_ARG_OPERAND, // a tensor or a number
    NNL_ARG_VALUE,   // a tensor, a number or a boolean
    NNL_ARG_NUMBER,
    NNL_ARG_INT,
    NNL_ARG_INTS, // an integer, or a list or int tensor of any length
    NNL_ARG_BOOL,
    NNL_ARG_DIM, // one dimension of the first tensor: 0 to ndim - 1 here, 1 to ndim or negative in scripts
    NNL_ARG_NEW_DIM, // a place for a new one: 0 to ndim
    NNL_ARG_DIMS,    // one or a list of these
    NNL_ARG_SHAPE,   // sizes: a list, or numbers up to the end of the arguments
    NNL_ARG_SIZES,   // one integer for all of something or a list of one for each; or a word of `choices`
    NNL_ARG_FACTORS, // one number or two
    NNL_ARG_DTYPE,
    NNL_ARG_CHOICE,  // one of the words in `choices`; its position here
    NNL_ARG_TENSORS, // a list, or, in the last place, all further arguments
    NNL_ARG_TEXT,
} nnl_arg_kind;

typedef struct nnl_param {
    const char *name;
    nnl_arg_kind kind;
    bool optional;
    double fallback;     // of an optional number, integer, bool (0, 1), dim or choice
    const char *choices; // words with one space between
} nnl_param;

typedef struct nnl_tensor_list {
    nnl_tensor **items;
    size_t count;
} nnl_tensor_list;

typedef struct nnl_int_list {
    int64_t *items;
    size_t count;
} nnl_int_list;

typedef struct nnl_arg {
    bool given;     // false: left out, and the value is the fallback
    bool is_number; // for NNL_ARG_OPERAND, NNL_ARG_VALUE and NNL_ARG_INTS: one number, without a list
    uint8_t word;   // for NNL_ARG_SIZES: 1 and up, the word that stands for the list
    union {
        nnl_tensor *tensor; // borrowed
        nnl_number number;
        int64_t i; // an integer, a dim, a dtype, the position of a choice
        bool flag;
        nnl_shape *list; // dims or sizes: one of the call's lists
        nnl_tensor_list tensors;
        nnl_int_list ints; // of at least one where it is one number; `items` is borrowed
        const char *text;  // borrowed
        struct {
            int count;
            double value[2];
        } factors;
    };
} nnl_arg;

typedef struct nnl_op nnl_op;
typedef struct nnl_node nnl_node;

// One use of an operation: the arguments, and after it the results, which are new.
typedef struct nnl_call {
    const nnl_op *op;
    nnl_arg arg[NNL_MAX_ARGS];
    nnl_tensor *into; // borrowed: an elementwise result goes to this memory, for in-place forms
    nnl_tensor *out[NNL_MAX_OUTPUTS];
    nnl_tensor_list results; // of an operation that gives a list
    int lists_used;
    nnl_shape lists[NNL_MAX_LISTS];
} nnl_call;

enum {
    NNL_OP_METHOD = 1,   // a method of tensors; the first argument is the tensor
    NNL_OP_FUNCTION = 2, // a function nn.NAME
    NNL_OP_IN_PLACE =
        4, // has a form NAME_ that changes its first argument, whose forward writes to call->into
    NNL_OP_IN_PLACE_BY_COPY = 8, // has such a form; its result is copied over the argument
    NNL_OP_FUNCTIONAL = 16,      // a function nn.functional.NAME
    NNL_OP_POSITIONS = 32        // the last result holds positions, from 1
};

struct nnl_op {
    const char *name;
    const char *doc; // shapes, defaults, source
    unsigned flags;
    int outputs; // or NNL_LIST_OUTPUT
    nnl_param params[NNL_MAX_ARGS];
    // Shapes and dtypes are checked before anything is allocated; results go to call->out
    // or call->results.
    nnl_status (*forward)(nnl_context *ctx, nnl_call *call);
    // dx[i] = gradient of input i of the node, new, for those that nnl_node_needs; dout[k] is NULL where
    // output k has no gradient. May be larger than the input where that was broadcast: the walk sums it.
    // NULL: not differentiable.
    nnl_status (*backward)(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);
    void (*free_state)(nnl_context *ctx, const void *state); // for states that own something; NULL otherwise
    int variant; // which kernel, for records that share their functions
    // A shortcut for what scripts call most, where asking costs more than the arithmetic: one operand for
    // which nnl_quick_count counts (y is NULL) or two that are alike, of so many elements, and every option
    // at its fallback. Returns new; NULL without an error where the call must go the long way. NULL: there is
    // none.
    nnl_tensor *(*quick)(nnl_context *ctx, const nnl_op *op, const nnl_tensor *x, const nnl_tensor *y,
                         size_t count);
};

// A call without arguments yet: the caller gives every one of them.
static inline void nnl_call_start(nnl_call *call, const nnl_op *op) {
    call->op = op;
    call->into = NULL;
    call->lists_used = 0;
    call->results = (nnl_tensor_list){NULL, 0};
    for (int k = 0; k < NNL_MAX_OUTPUTS; k++) call->out[k] = NULL;
}

// A call with every argument at its fallback.
void nnl_call_init(nnl_call *call, const nnl_op *op);

// A list argument with room in the call; set its sizes afterwards.
nnl_shape *nnl_call_list(nnl_call *call, int arg);

// Runs it; with `into` set, the result is a new reference to that tensor, its place in the graph now the
// operation's.
nnl_status nnl_call_run(nnl_context *ctx, nnl_call *call);

// Room for the results of an operation that gives a list, all NULL; forward fills it. An error where there is
// no memory.
nnl_status nnl_call_results(nnl_context *ctx, nnl_call *call, size_t count);

// Gives up such results; those that were taken out are NULL.
void nnl_call_release_results(nnl_context *ctx, nnl_call *call);

// For operations with one result: runs, and returns it, new.
nnl_tensor *nnl_call_result(nnl_context *ctx, nnl_call *call);

// All operations, one after the other: start with a cursor of zeros; NULL is the end.
typedef struct nnl_op_cursor {
    int group, record;
} nnl_op_cursor;

const nnl_op *nnl_ops_next(nnl_op_cursor *cursor);
const nnl_op *nnl_op_named(const char *name);

#endif
