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
    nnl_arg_error(L, r->bind, index, lua_pushfstring(L, "'%s' is not one of: %s", word, choices));
    return 0;
}

static void read_operand(const reading *r, int index, nnl_arg *arg) {
    arg->is_number = lua_type(r->L, index) == LUA_TNUMBER;
    if (arg->is_number) {
        arg->number = nnl_check_number(r->L, r->bind, index);
    } else if (!(arg->tensor = nnl_to_tensor(r->L, r->bind, index))) {
        nnl_type_error(r->L, r->bind, index, "tensor or number");
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

// What a required argument is called in messages.
static const char *const kind_names[] = {
    [NNL_ARG_TENSOR] = "tensor",
    [NNL_ARG_OPERAND] = "tensor or number",
    [NNL_ARG_NUMBER] = "number",
    [NNL_ARG_INT] = "integer",
    [NNL_ARG_BOOL] = "boolean",
    [NNL_ARG_DIM] = "dimension",
    [NNL_ARG_NEW_DIM] = "dimension",
    [NNL_ARG_DIMS] = "dimension or list of dimensions",
    [NNL_ARG_SHAPE] = "sizes",
    [NNL_ARG_DTYPE] = "dtype name",
    [NNL_ARG_SIZES] = "integer or list of integers",
    [NNL_ARG_FACTORS] = "number or list of numbers",
    [NNL_ARG_CHOICE] = "string",
    [NNL_ARG_TENSORS] = "list of tensors",
};

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
        read_operand(r, index, arg);
        break;
    case NNL_ARG_NUMBER:
        arg->number = nnl_check_number(L, r->bind, index);
        break;
    case NNL_ARG_INT:
        arg->i = nnl_check_integer(L, r->bind, index);
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
        nnl_check_shape(L, r->bind, index, r->last, nnl_call_list(r->call, param));
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
    case NNL_ARG_END:
        break;
    }
}

// The kinds that take all the arguments that are left, when they are not a table.
static bool takes_rest(const reading *r, int param) {
    nnl_arg_kind kind = r->op->params[param].kind;
    return kind == NNL_ARG_SHAPE || (kind == NNL_ARG_DIMS && r->op->params[param + 1].kind == NNL_ARG_END);
}

// x:permute(2, 1): dims as further arguments
static void read_rest_dims(reading *r, int param) {
    nnl_shape *list = nnl_call_list(r->call, param);
    int ndim = first_ndim(r);
    for (; r->next <= r->last && list->ndim < NNL_MAX_DIMS; r->next++) {
        list->size[list->ndim++] = nnl_check_dim(r->L, r->bind, r->next, ndim);
    }
}

static void read_param(reading *r, int param) {
    lua_State *L = r->L;
    const nnl_param *p = &r->op->params[param];
    if (r->next <= r->last && !(p->optional && lua_isnil(L, r->next))) {
        bool rest = takes_rest(r, param) && lua_type(L, r->next) == LUA_TNUMBER;
        if (rest && p->kind == NNL_ARG_DIMS) {
            read_rest_dims(r, param);
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
    if (!p->optional && p->kind == NNL_ARG_SHAPE) {
        nnl_call_list(r->call, param);
    } else if (!p->optional) {
        nnl_arg_error(L, r->bind, r->next,
                      lua_pushfstring(L, "%s: %s expected, got no value", p->name, kind_names[p->kind]));
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
    return kind != NNL_ARG_DIMS && kind != NNL_ARG_SHAPE && kind != NNL_ARG_TENSORS;
}

static void read_call(reading *r) {
    nnl_call_init(r->call, r->op);
    if (r->last > 1 && has_options(r)) {
        r->options = r->last--;
        check_option_names(r);
    }
    for (int i = 0; i < NNL_MAX_ARGS && r->op->params[i].kind != NNL_ARG_END; i++) read_param(r, i);
    if (r->next <= r->last) {
        luaL_argerror(r->L, r->next, lua_pushfstring(r->L, "%s takes no more arguments", r->op->name));
    }
}

// The slots come before the call, so that nothing is lost where Lua has no memory for them.
static int run_into_slots(lua_State *L, nnl_bind *bind, nnl_call *call) {
    nnl_tensor **slot[NNL_MAX_OUTPUTS];
    int base = lua_gettop(L), count = 0;
    for (int k = 0; k < call->op->outputs; k++) slot[k] = nnl_push_slot(L, bind);
    if (nnl_call_run(bind->ctx, call) != NNL_OK) return nnl_raise(L, bind);
    for (; count < call->op->outputs && call->out[count]; count++) *slot[count] = call->out[count];
    lua_settop(L, base + count);
    return count;
}

static int run_in_place(lua_State *L, nnl_bind *bind, nnl_call *call) {
    call->into = nnl_check_tensor(L, bind, 1);
    if (nnl_call_run(bind->ctx, call) != NNL_OK) return nnl_raise(L, bind);
    nnl_tensor_release(call->out[0]);
    lua_settop(L, 1);
    return 1;
}

// Upvalues: the state, the record, whether it is the form that changes its first argument.
static int run_op(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_call call;
    reading r = {L, bind, lua_touserdata(L, lua_upvalueindex(2)), &call, 0, nnl_last_argument(L), 1};
    luaL_checkstack(L, 2 * NNL_MAX_ARGS + NNL_MAX_OUTPUTS, "too many arguments");
    read_call(&r);
    bool in_place = lua_toboolean(L, lua_upvalueindex(3));
    return in_place ? run_in_place(L, bind, &call) : run_into_slots(L, bind, &call);
}

// -x comes with x twice.
static int run_unary_minus(lua_State *L) {
    lua_settop(L, 1);
    return run_op(L);
}

static void push_op(lua_State *L, const nnl_op *op, lua_CFunction function, bool in_place) {
    lua_pushlightuserdata(L, (void *)op);
    lua_pushboolean(L, in_place);
    nnl_push_function(L, function, 2);
}

static void add_method(lua_State *L, const nnl_op *op, int methods) {
    push_op(L, op, run_op, false);
    lua_setfield(L, methods, op->name);
    if (!(op->flags & (NNL_OP_IN_PLACE | NNL_OP_IN_PLACE_BY_COPY))) return;
    push_op(L, op, run_op, true);
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
        push_op(L, nnl_op_named(operators[i].op), run_op, false);
        lua_setfield(L, -2, operators[i].event);
    }
    push_op(L, nnl_op_named("neg"), run_unary_minus, false);
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
            push_op(L, op, run_op, false);
            lua_setfield(L, NNL_CORE_INDEX, op->name);
        }
        if (op->flags & NNL_OP_FUNCTIONAL) {
            push_op(L, op, run_op, false);
            lua_setfield(L, functional, op->name);
        }
    }
    lua_setfield(L, NNL_CORE_INDEX, "functional");
    add_operators(L);
}
