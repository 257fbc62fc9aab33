// table.c: every operation there is, by the groups of records.h.
#include "grad/op.h"
#include "grad/records.h"

#include <string.h>

#define GROUP(name) nnl_##name##_records,
static const nnl_op *const groups[] = {NNL_OP_GROUPS(GROUP)};
#undef GROUP

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
