// ops.c: every operation record (grad/op.h) as a method of tensors, a function of nn, or both. One C function
// reads the arguments by the record, so that a new record needs nothing here.
#include "bind/bind.h"

#include <stdio.h>
#include <string.h>

// One use of an operation on its way from Lua.
typedef struct reading {
    lua_State *L;
    nnl_bind *bind;
    const nnl_op *op;
    nnl_call *call;
    int options; // the table of options' index, 0 where there is none
    int last;    // the last positional argument
    int next;    // the next one to be read
} reading;

static int first_ndim(const reading *r) {
    if (r->op->params[0].kind == NNL_ARG_TENSORS) {
        nnl_tensor_list list = r->call->arg[0].tensors;
        return list.count > 0 ? list.items[0]->shape.ndim : 1;
    }
    return r->call->arg[0].tensor->shape.ndim;
}

static void read_dims(const reading *r, int index, int param) {
    lua_State *L = r->L;
    int ndim = first_ndim(r);
    nnl_shape *list = nnl_call_list(r->call, param);
    if (lua_type(L, index) != LUA_TTABLE) {
        list->ndim = 1;
        list->size[0] = nnl_check_dim(L, r->bind, index, ndim);
        return;
    }
    int count = (int)lua_rawlen(L, index);
    if (count > NNL_MAX_DIMS) nnl_arg_error(L, r->bind, index, "too many dimensions");
    if (count == 0 && !nnl_is_empty_table(L, index))
        nnl_arg_error(L, r->bind, index, "list of dimensions expected, got a table with names");
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, index, i + 1);
        list->size[list->ndim++] = nnl_check_dim(L, r->bind, lua_gettop(L), ndim);
        lua_pop(L, 1);
    }
}

static int64_t read_choice(const reading *r, int index, const char *choices) {
    lua_State *L = r->L;
    const char *word = lua_tostring(L, index), *start = choices;
    if (lua_type(L, index) != LUA_TSTRING) nnl_type_error(L, r->bind, index, "string");
    size_t length = strlen(word);
    for (int64_t at = 0; start; at++) {
        const char *end = strchr(start, ' ');
        size_t size = end ? (size_t)(end - start) : strlen(start);
        if (size == length && memcmp(start, word, size) == 0) return at;
        start = end ? end + 1 : NULL;
    }
    nnl_arg_error(
        L, r->bind, index,
        lua_pushfstring(L, "'%s' is not one of: %s%s", word, choices, nnl_hint_of_words(L, word, choices)));
    return 0;
}

static const char *read_text(const reading *r, int index) {
    if (lua_type(r->L, index) != LUA_TSTRING) nnl_type_error(r->L, r->bind, index, "string");
    size_t length;
    const char *text = lua_tolstring(r->L, index, &length);
    if (strlen(text) != length) nnl_arg_error(r->L, r->bind, index, "the string has a zero byte");
    return text;
}

// What an argument is called in messages.
static const char *const kind_names[] = {
    [NNL_ARG_TENSOR] = "tensor",
    [NNL_ARG_OPERAND] = "tensor or number",
    [NNL_ARG_VALUE] = "tensor, number or boolean",
    [NNL_ARG_NUMBER] = "number",
    [NNL_ARG_INT] = "integer",
    [NNL_ARG_BOOL] = "boolean",
    [NNL_ARG_DIM] = "dimension",
    [NNL_ARG_NEW_DIM] = "dimension",
    [NNL_ARG_DIMS] = "dimension or list of dimensions",
    [NNL_ARG_SHAPE] = "sizes",
    [NNL_ARG_DTYPE] = "dtype name",
    [NNL_ARG_CHOICE] = "string",
    [NNL_ARG_TENSORS] = "list of tensors",
    [NNL_ARG_TEXT] = "string",
    [NNL_ARG_SIZES] = "integer or list of integers",
    [NNL_ARG_FACTORS] = "number or list of numbers",
    [NNL_ARG_INTS] = "integer or list of integers",
};

static void read_operand(const reading *r, int index, nnl_arg_kind kind, nnl_arg *arg) {
    bool truth = kind == NNL_ARG_VALUE && lua_isboolean(r->L, index);
    arg->is_number = truth || lua_type(r->L, index) == LUA_TNUMBER;
    if (arg->is_number) {
        arg->number = nnl_check_value(r->L, r->bind, index);
    } else if (!(arg->tensor = nnl_to_tensor(r->L, r->bind, index))) {
        // "3" + t comes by way of Lua's strings, which leaves the function without a name
        if (!nnl_own_name(r->L))
            nnl_error(r->L, "%s: %s expected, got %s", r->op->name, kind_names[kind],
                      nnl_type_name(r->L, r->bind, index));
        nnl_type_error(r->L, r->bind, index, kind_names[kind]);
    }
}

static bool read_bool(const reading *r, int index) {
    if (!lua_isboolean(r->L, index)) nnl_type_error(r->L, r->bind, index, "boolean");
    return lua_toboolean(r->L, index);
}

// stride = 2, stride = {2, 1}, padding = "same"
static void read_sizes(const reading *r, int index, int param) {
    nnl_arg *arg = &r->call->arg[param];
    const char *choices = r->op->params[param].choices;
    if (choices && lua_type(r->L, index) == LUA_TSTRING) {
        arg->word = (uint8_t)(1 + read_choice(r, index, choices));
    } else {
        nnl_check_shape(r->L, r->bind, index, index, nnl_call_list(r->call, param));
    }
}

// scale_factor = 2, scale_factor = {2, 1.5}
static void read_factors(const reading *r, int index, nnl_arg *arg) {
    lua_State *L = r->L;
    bool list = lua_istable(L, index);
    arg->factors.count = list ? (int)lua_rawlen(L, index) : 1;
    if (arg->factors.count < 1 || arg->factors.count > 2)
        nnl_arg_error(L, r->bind, index, "a number or a list of two expected");
    for (int k = 0; k < arg->factors.count; k++) {
        if (list) lua_rawgeti(L, index, k + 1);
        arg->factors.value[k] = nnl_check_number(L, r->bind, list ? lua_gettop(L) : index).d;
        if (list) lua_pop(L, 1);
    }
}

// Whether the parameter takes all the arguments that are left: in the last place sizes, dimensions and
// tensors.
static bool takes_rest(const reading *r, int param) {
    nnl_arg_kind kind = r->op->params[param].kind;
    bool last = param + 1 == NNL_MAX_ARGS || r->op->params[param + 1].kind == NNL_ARG_END;
    if (kind == NNL_ARG_TENSORS) return last && lua_type(r->L, r->next) != LUA_TTABLE;
    return lua_type(r->L, r->next) == LUA_TNUMBER && (kind == NNL_ARG_SHAPE || kind == NNL_ARG_DIMS) && last;
}

static void read_value(const reading *r, int index, int param) {
    lua_State *L = r->L;
    const nnl_param *p = &r->op->params[param];
    nnl_arg *arg = &r->call->arg[param];
    arg->given = true;
    switch (p->kind) {
    case NNL_ARG_TENSOR:
        arg->tensor = nnl_check_tensor(L, r->bind, index);
        break;
    case NNL_ARG_OPERAND:
    case NNL_ARG_VALUE:
        read_operand(r, index, p->kind, arg);
        break;
    case NNL_ARG_NUMBER:
        arg->number = nnl_check_number(L, r->bind, index);
        break;
    case NNL_ARG_INT:
        arg->i = nnl_check_integer(L, r->bind, index);
        break;
    case NNL_ARG_INTS:
        arg->is_number = lua_type(L, index) == LUA_TNUMBER;
        arg->ints = nnl_check_integers(L, r->bind, index);
        break;
    case NNL_ARG_BOOL:
        arg->flag = read_bool(r, index);
        break;
    case NNL_ARG_DIM:
        arg->i = nnl_check_dim(L, r->bind, index, first_ndim(r));
        break;
    case NNL_ARG_NEW_DIM:
        arg->i = nnl_check_dim(L, r->bind, index, first_ndim(r) + 1);
        break;
    case NNL_ARG_DIMS:
        read_dims(r, index, param);
        break;
    case NNL_ARG_SHAPE:
        nnl_check_shape(L, r->bind, index, takes_rest(r, param) ? r->last : index,
                        nnl_call_list(r->call, param));
        break;
    case NNL_ARG_SIZES:
        read_sizes(r, index, param);
        break;
    case NNL_ARG_FACTORS:
        read_factors(r, index, arg);
        break;
    case NNL_ARG_DTYPE:
        arg->i = nnl_check_dtype(L, r->bind, index);
        break;
    case NNL_ARG_CHOICE:
        arg->i = read_choice(r, index, p->choices);
        break;
    case NNL_ARG_TENSORS:
        arg->tensors = nnl_check_tensors(L, r->bind, index);
        break;
    case NNL_ARG_TEXT:
        arg->text = read_text(r, index);
        break;
    case NNL_ARG_END:
        break;
    }
}

// x:permute(2, 1): dims as further arguments
static void read_rest_dims(reading *r, int param) {
    nnl_shape *list = nnl_call_list(r->call, param);
    int ndim = first_ndim(r);
    for (; r->next <= r->last && list->ndim < NNL_MAX_DIMS; r->next++) {
        list->size[list->ndim++] = nnl_check_dim(r->L, r->bind, r->next, ndim);
    }
}

// nn.einsum(equation, a, b): tensors as further arguments. The list is a userdata on the stack, as the call
// borrows.
static void read_rest_tensors(reading *r, int param) {
    nnl_tensor_list list = {.count = (size_t)(r->last - r->next + 1)};
    list.items = nnl_lua_new_userdata(r->L, list.count * sizeof *list.items, 0);
    for (size_t i = 0; i < list.count; i++) list.items[i] = nnl_check_tensor(r->L, r->bind, r->next++);
    r->call->arg[param].given = true;
    r->call->arg[param].tensors = list;
}

static void read_param(reading *r, int param) {
    lua_State *L = r->L;
    const nnl_param *p = &r->op->params[param];
    if (r->next <= r->last && !(p->optional && lua_isnil(L, r->next))) {
        bool rest = takes_rest(r, param);
        if (rest && p->kind != NNL_ARG_SHAPE) {
            if (p->kind == NNL_ARG_DIMS) read_rest_dims(r, param);
            if (p->kind == NNL_ARG_TENSORS) read_rest_tensors(r, param);
            return;
        }
        read_value(r, r->next, param);
        r->next = rest ? r->last + 1 : r->next + 1;
        return;
    }
    if (r->next <= r->last) r->next++;
    if (r->options) {
        nnl_push_option(L, r->options, p->name); // stays on the stack, as the call borrows
        if (!lua_isnil(L, -1)) {
            read_value(r, lua_gettop(L), param);
            return;
        }
    }
    bool nil = lua_type(L, r->next) == LUA_TNIL && !r->options;
    if (!p->optional && p->kind == NNL_ARG_SHAPE && !nil) {
        nnl_call_list(r->call, param);
    } else if (!p->optional && param == 0 && p->kind == NNL_ARG_TENSOR) {
        nnl_self_error(L, r->bind);
    } else if (!p->optional) {
        nnl_arg_error(L, r->bind, r->next,
                      lua_pushfstring(L, "%s: %s expected, got %s", p->name, kind_names[p->kind],
                                      nil ? "nil" : "no value"));
    }
}

static void check_option_names(const reading *r) {
    char allowed[256];
    size_t used = 0;
    allowed[0] = '\0';
    for (int i = 1; i < NNL_MAX_ARGS && r->op->params[i].kind != NNL_ARG_END; i++) {
        const char *name = r->op->params[i].name;
        used += (size_t)snprintf(allowed + used, sizeof allowed - used, i > 1 ? " %s" : "%s", name);
    }
    nnl_check_options(r->L, r->options, allowed);
}

// {} in the place of a list is a list.
static bool has_options(const reading *r) {
    if (nnl_is_options(r->L, r->last)) return true;
    if (!nnl_is_empty_table(r->L, r->last)) return false;
    nnl_arg_kind kind = r->last <= NNL_MAX_ARGS ? r->op->params[r->last - 1].kind : NNL_ARG_END;
    return kind != NNL_ARG_DIMS && kind != NNL_ARG_SHAPE && kind != NNL_ARG_TENSORS && kind != NNL_ARG_INTS;
}

// Optional arguments that nothing can have given are at their fallbacks already.
static bool is_left_out(const reading *r, int param) {
    return r->next > r->last && !r->options && r->op->params[param].optional;
}

static void read_call(reading *r) {
    nnl_call_init(r->call, r->op);
    if (r->last > 1 && lua_type(r->L, r->last) == LUA_TTABLE && has_options(r)) {
        luaL_checkstack(r->L, 2 * NNL_MAX_ARGS + NNL_MAX_OUTPUTS, "too many options");
        r->options = r->last--;
        check_option_names(r);
    }
    for (int i = 0; i < NNL_MAX_ARGS && r->op->params[i].kind != NNL_ARG_END; i++) {
        if (!is_left_out(r, i)) read_param(r, i);
    }
    if (r->next <= r->last) {
        luaL_argerror(r->L, r->next, lua_pushfstring(r->L, "%s takes no more arguments", r->op->name));
    }
}

// The slots come before the call, so that nothing is lost where Lua has no memory for them.
static int run_into_slots(lua_State *L, nnl_bind *bind, nnl_call *call) {
    nnl_tensor **slot[NNL_MAX_OUTPUTS];
    int base = lua_gettop(L), count = 0;
    if (call->op->outputs == 1) {
        slot[0] = nnl_push_slot(L, bind);
        if (nnl_call_run(bind->ctx, call) != NNL_OK) return nnl_raise(L, bind);
        *slot[0] = call->out[0];
        return 1;
    }
    for (int k = 0; k < call->op->outputs; k++) slot[k] = nnl_push_slot(L, bind);
    if (nnl_call_run(bind->ctx, call) != NNL_OK) return nnl_raise(L, bind);
    for (; count < call->op->outputs && call->out[count]; count++) *slot[count] = call->out[count];
    lua_settop(L, base + count);
    return count;
}

// The list at 1: a new table of its tensors, which move there.
static int push_results(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_call *call = lua_touserdata(L, 1);
    lua_createtable(L, (int)call->results.count, 0);
    for (size_t k = 0; k < call->results.count; k++) {
        nnl_tensor **slot = nnl_push_slot(L, bind);
        *slot = call->results.items[k];
        call->results.items[k] = NULL;
        lua_rawseti(L, 2, (lua_Integer)k + 1);
    }
    return 1;
}

static void release_results(void *call) {
    nnl_call *held = call;
    nnl_call_release_results(held->arg[0].tensor->ctx, held);
}

static int run_into_list(lua_State *L, nnl_bind *bind, nnl_call *call) {
    nnl_push_holding(L, push_results, call);
    if (nnl_call_run(bind->ctx, call) != NNL_OK) return nnl_raise(L, bind);
    return nnl_run_holding(L, 0, 1, release_results, call);
}

// The engine speaks of the operation; the script called its form in place, which has an underscore more.
static int raise_in_place(lua_State *L, nnl_bind *bind, const nnl_op *op) {
    const char *text = bind->ctx->error;
    size_t length = strlen(op->name);
    bool named = !bind->raised && strncmp(text, op->name, length) == 0 && text[length] == ':';
    return named ? nnl_error(L, "%s_%s", op->name, text + length) : nnl_raise(L, bind);
}

static int run_in_place(lua_State *L, nnl_bind *bind, nnl_call *call) {
    call->into = nnl_check_tensor(L, bind, 1);
    if (nnl_call_run(bind->ctx, call) != NNL_OK) return raise_in_place(L, bind, call->op);
    nnl_tensor_release(call->out[0]);
    lua_settop(L, 1);
    return 1;
}

// Upvalues of functions for operations: the state, the record, the metatable of tensors.
enum { OP_UPVALUE = 2, METATABLE_UPVALUE = 3 };

static bool takes_one(const nnl_op *op) {
    return op->params[1].kind == NNL_ARG_END || op->params[1].optional;
}

// By the operation's shortcut; false where it does not take this call.
static bool run_quick(lua_State *L, nnl_bind *bind, const nnl_op *op, const nnl_tensor *x,
                      const nnl_tensor *y) {
    nnl_context *ctx = bind->ctx;
    size_t count = op->quick ? nnl_quick_count(ctx, x) : 0;
    if (count == 0 || (y && !nnl_is_quick_like(ctx, y, x))) return false;
    nnl_tensor **slot = nnl_push_slot_by(L, bind, METATABLE_UPVALUE);
    *slot = op->quick(ctx, op, x, y, count);
    if (!*slot) lua_pop(L, 1);
    return *slot != NULL;
}

static void read_all(lua_State *L, nnl_bind *bind, nnl_call *call) {
    const nnl_op *op = lua_touserdata(L, lua_upvalueindex(OP_UPVALUE));
    nnl_tensor *t = takes_one(op) && lua_gettop(L) == 1 ? nnl_to_tensor(L, bind, 1) : NULL;
    if (t && op->params[0].kind == NNL_ARG_TENSOR) { // x:sum(), x:exp() and their like
        nnl_call_init(call, op);
        call->arg[0] = (nnl_arg){.given = true, .tensor = t};
        return;
    }
    reading r = {L, bind, op, call, 0, nnl_last_argument(L), 1};
    read_call(&r);
}

static int run_op(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_call call;
    const nnl_op *op = lua_touserdata(L, lua_upvalueindex(OP_UPVALUE));
    if (op->quick && lua_gettop(L) == 1 && takes_one(op)) { // x:sum() and its like
        const nnl_tensor *x = nnl_to_tensor(L, bind, 1);
        if (x && run_quick(L, bind, op, x, NULL)) return 1;
    }
    read_all(L, bind, &call);
    bool list = call.op->outputs == NNL_LIST_OUTPUT;
    return list ? run_into_list(L, bind, &call) : run_into_slots(L, bind, &call);
}

static int run_op_in_place(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_call call;
    read_all(L, bind, &call);
    return run_in_place(L, bind, &call);
}

// Tensor or number, without an error where it is neither.
static bool take_operand(lua_State *L, const nnl_bind *bind, int index, nnl_arg *arg) {
    arg->given = true;
    arg->tensor = nnl_to_tensor(L, bind, index);
    arg->is_number = !arg->tensor && lua_type(L, index) == LUA_TNUMBER;
    if (arg->is_number) arg->number = nnl_check_number(L, bind, index);
    return arg->is_number || arg->tensor;
}

// a + b and its like: two operands, no options. What is neither tensor nor number gets its message in run_op.
static int run_operator(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_call call;
    const nnl_op *op = lua_touserdata(L, lua_upvalueindex(OP_UPVALUE));
    const nnl_tensor *x = nnl_to_tensor(L, bind, 1), *y = x ? nnl_to_tensor(L, bind, 2) : NULL;
    if (y && run_quick(L, bind, op, x, y)) return 1;
    nnl_call_start(&call, op);
    if (!take_operand(L, bind, 1, &call.arg[0]) || !take_operand(L, bind, 2, &call.arg[1])) return run_op(L);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    if (nnl_call_run(bind->ctx, &call) != NNL_OK) return nnl_raise(L, bind);
    *slot = call.out[0];
    return 1;
}

// -x comes with x twice.
static int run_unary_minus(lua_State *L) {
    lua_settop(L, 1);
    return run_op(L);
}

static void push_op(lua_State *L, const nnl_op *op, lua_CFunction function) {
    lua_pushlightuserdata(L, (void *)op);
    nnl_lua_get_value(L, NNL_BIND_INDEX, NNL_KEPT_TENSOR);
    nnl_push_function(L, function, 2);
}

static void add_method(lua_State *L, const nnl_op *op, int methods) {
    push_op(L, op, run_op);
    lua_setfield(L, methods, op->name);
    if (!(op->flags & (NNL_OP_IN_PLACE | NNL_OP_IN_PLACE_BY_COPY))) return;
    push_op(L, op, run_op_in_place);
    lua_pushfstring(L, "%s_", op->name);
    lua_insert(L, -2);
    lua_rawset(L, methods);
}

static void add_operators(lua_State *L) {
    static const struct {
        const char *event, *op;
    } operators[] = {{"__add", "add"}, {"__sub", "sub"},       {"__mul", "mul"},          {"__div", "div"},
                     {"__pow", "pow"}, {"__mod", "remainder"}, {"__idiv", "floor_divide"}};
    lua_getfield(L, NNL_CORE_INDEX, "tensor_metatable");
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        push_op(L, nnl_op_named(operators[i].op), run_operator);
        lua_setfield(L, -2, operators[i].event);
    }
    push_op(L, nnl_op_named("neg"), run_unary_minus);
    lua_setfield(L, -2, "__unm");
    lua_pop(L, 1);
}

void nnl_open_ops(lua_State *L) {
    nnl_op_cursor cursor = {0, 0};
    const nnl_op *op;
    lua_getfield(L, NNL_CORE_INDEX, "tensor_methods");
    int methods = lua_gettop(L);
    lua_newtable(L);
    int functional = lua_gettop(L);
    while ((op = nnl_ops_next(&cursor)) != NULL) {
        if (op->flags & NNL_OP_METHOD) add_method(L, op, methods);
        if (op->flags & NNL_OP_FUNCTION) {
            push_op(L, op, run_op);
            lua_setfield(L, NNL_CORE_INDEX, op->name);
        }
        if (op->flags & NNL_OP_FUNCTIONAL) {
            push_op(L, op, run_op);
            lua_setfield(L, functional, op->name);
        }
    }
    lua_setfield(L, NNL_CORE_INDEX, "functional");
    add_operators(L);
}
