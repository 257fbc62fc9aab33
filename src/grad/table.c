// table.c: every operation there is. A new file of operations adds its group here.
#include "grad/op.h"
#include "grad/records.h"

#include <string.h>

static const nnl_op *const groups[] = {
    nnl_unary_records,         nnl_binary_records,    nnl_compare_records, nnl_copy_records,
    nnl_view_records,          nnl_reduce_records,    nnl_matmul_records,  nnl_softmax_records,
    nnl_linear_records,        nnl_extreme_records,   nnl_gather_records,  nnl_join_records,
    nnl_moment_records,        nnl_sort_records,      nnl_dropout_records, nnl_loss_records,
    nnl_cross_entropy_records, nnl_embedding_records,
};

#define GROUPS ((int)(sizeof groups / sizeof *groups))

const nnl_op *nnl_ops_next(nnl_op_cursor *cursor) {
    while (cursor->group < GROUPS) {
        const nnl_op *op = &groups[cursor->group][cursor->record];
        if (op->name) {
            cursor->record++;
            return op;
        }
        cursor->group++;
        cursor->record = 0;
    }
    return NULL;
}

const nnl_op *nnl_op_named(const char *name) {
    nnl_op_cursor cursor = {0, 0};
    const nnl_op *op;
    while ((op = nnl_ops_next(&cursor)) != NULL) {
        if (strcmp(op->name, name) == 0) return op;
    }
    return NULL;
}
