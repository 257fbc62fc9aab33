// create.c: functions that make tensors: zeros, ranges, random numbers, and those like another.
#include "bind/bind.h"

#include <math.h>

// What all of them take: sizes first, then a table of options.
typedef struct plan {
    nnl_shape shape;
    nnl_dtype dtype;
    bool has_dtype, requires_grad;
    int last; // the last argument before the options
} plan;

static void read_options(lua_State *L, nnl_bind *bind, plan *p) {
    int top = nnl_last_argument(L);
    bool empty = top > 1 && nnl_is_empty_table(L, top);
    int options = empty || (top > 0 && nnl_is_options(L, top)) ? top : 0;
    p->last = options ? top - 1 : top;
    nnl_check_options(L, options, "dtype requires_grad");
    nnl_push_option(L, options, "dtype");
    p->has_dtype = !lua_isnil(L, -1);
    if (p->has_dtype) p->dtype = nnl_check_dtype(L, bind, lua_gettop(L));
    lua_pop(L, 1);
    p->requires_grad = nnl_option_bool(L, bind, options, "requires_grad");
}

static plan read_plan(lua_State *L, nnl_bind *bind, int first, nnl_dtype dtype) {
    plan p = {.dtype = dtype};
    read_options(L, bind, &p);
    if (p.last < first && lua_gettop(L) >= first && lua_isnil(L, first))
        nnl_type_error(L, bind, first,
                       "size"); // a variable that was never set, not a tensor of no dimensions
    nnl_check_shape(L, bind, first, p.last, &p.shape);
    return p;
}

// A new tensor in a slot on the stack; raises when there is no memory.
static nnl_tensor *make(lua_State *L, nnl_bind *bind, const plan *p) {
    const char *name = nnl_own_name(L);
    nnl_tensor **slot = nnl_push_slot(L, bind);
    if (nnl_shape_check(bind->ctx, name ? name : "tensor", &p->shape, nnl_dtype_size(p->dtype)) != NNL_OK)
        nnl_raise(L, bind);
    *slot = nnl_tensor_new(bind->ctx, p->dtype, &p->shape);
    if (!*slot) nnl_raise(L, bind);
    if (p->requires_grad && nnl_set_requires_grad(bind->ctx, *slot, true) != NNL_OK) nnl_raise(L, bind);
    return *slot;
}

static int filled(lua_State *L, nnl_bind *bind, const plan *p, nnl_number value) {
    nnl_check_holds(L, p->dtype, value);
    nnl_try_fill(make(L, bind, p), value);
    nnl_check_interrupted(L, bind);
    return 1;
}

static int create_zeros(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = read_plan(L, bind, 1, NNL_FLOAT32);
    return filled(L, bind, &p, nnl_number_int(0));
}

static int create_ones(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = read_plan(L, bind, 1, NNL_FLOAT32);
    return filled(L, bind, &p, nnl_number_int(1));
}

static int create_empty(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = read_plan(L, bind, 1, NNL_FLOAT32);
    make(L, bind, &p);
    return 1;
}

// nn.full(shape, value): a boolean makes a bool tensor, an integer an int64 one, as in PyTorch
static int create_full(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = {.dtype = NNL_FLOAT32};
    read_options(L, bind, &p);
    nnl_check_shape(L, bind, 1, 1, &p.shape);
    bool truth = lua_isboolean(L, 2);
    nnl_number value = nnl_check_value(L, bind, 2);
    if (!p.has_dtype && truth) p.dtype = NNL_BOOL;
    if (!p.has_dtype && !truth && value.is_int) p.dtype = NNL_INT64;
    return filled(L, bind, &p, value);
}

// ---- like another tensor

static plan plan_like(lua_State *L, nnl_bind *bind) {
    nnl_tensor *t = nnl_check_tensor(L, bind, 1);
    plan p = {.shape = t->shape, .dtype = t->dtype};
    read_options(L, bind, &p);
    return p;
}

static int create_zeros_like(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = plan_like(L, bind);
    return filled(L, bind, &p, nnl_number_int(0));
}

static int create_ones_like(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = plan_like(L, bind);
    return filled(L, bind, &p, nnl_number_int(1));
}

static int create_empty_like(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = plan_like(L, bind);
    make(L, bind, &p);
    return 1;
}

static int create_full_like(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = plan_like(L, bind);
    return filled(L, bind, &p, nnl_check_value(L, bind, 2));
}

// ---- ranges

// From `from`, `count` numbers a step apart; each is computed from its index, so that no error adds up.
static int progression(lua_State *L, nnl_bind *bind, plan *p, nnl_number from, nnl_number step,
                       double count) {
    p->shape = (nnl_shape){.ndim = 1, .size = {count > 0 ? (int64_t)count : 0}};
    nnl_apply_range(make(L, bind, p), from, step);
    nnl_check_interrupted(L, bind);
    return 1;
}

// How many numbers there are from one to another; exact for integers.
static double steps_between(nnl_number from, nnl_number to, nnl_number step, bool inclusive) {
    double steps = (to.d - from.d) / step.d;
    if (!from.is_int || !to.is_int || !step.is_int) return inclusive ? floor(steps + 1e-9) + 1 : ceil(steps);
    if (to.i != from.i && (to.i > from.i) != (step.i > 0)) return 0;
    uint64_t distance = to.i > from.i ? (uint64_t)to.i - (uint64_t)from.i : (uint64_t)from.i - (uint64_t)to.i;
    uint64_t size = step.i > 0 ? (uint64_t)step.i : 0 - (uint64_t)step.i;
    uint64_t whole = distance / size;
    return (double)whole + (inclusive || distance % size != 0);
}

// nn.arange([from,] to[, step]) and nn.range(from, to[, step]). As in PyTorch an arange that runs the wrong
// way is an error; a range that does is empty, as Lua's for is.
static int range_of(lua_State *L, bool inclusive) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = {.dtype = NNL_FLOAT32};
    read_options(L, bind, &p);
    bool end_only = p.last < 2;
    nnl_number from = end_only ? nnl_number_int(inclusive ? 1 : 0) : nnl_check_number(L, bind, 1);
    nnl_number to = nnl_check_number(L, bind, end_only ? 1 : 2);
    nnl_number step = p.last >= 3 ? nnl_check_number(L, bind, 3) : nnl_number_int(1);
    if (step.d == 0) return nnl_arg_error(L, bind, 3, "the step must not be 0");
    if (!p.has_dtype && from.is_int && to.is_int && step.is_int) p.dtype = NNL_INT64;
    if (!inclusive && (to.d - from.d) / step.d < 0)
        return nnl_error(L, "arange: steps of %f do not lead from %f to %f", step.d, from.d, to.d);
    double count = steps_between(from, to, step, inclusive);
    if (!(count < 9e15))
        return nnl_error(L, "%s: from %f to %f in steps of %f is no number of elements",
                         inclusive ? "range" : "arange", from.d, to.d, step.d);
    return progression(L, bind, &p, from, step, count);
}

static int create_arange(lua_State *L) { return range_of(L, false); }
static int create_range(lua_State *L) { return range_of(L, true); }

// nn.linspace(from, to, count): both ends included
static int create_linspace(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = {.dtype = NNL_FLOAT32};
    read_options(L, bind, &p);
    nnl_number from = nnl_check_number(L, bind, 1), to = nnl_check_number(L, bind, 2);
    int64_t count = nnl_check_integer(L, bind, 3);
    if (count < 0) return nnl_arg_error(L, bind, 3, "the number of elements must not be negative");
    p.shape = (nnl_shape){.ndim = 1, .size = {count}};
    nnl_apply_linspace(make(L, bind, &p), from.d, to.d);
    nnl_check_interrupted(L, bind);
    return 1;
}

// nn.eye(n[, m]): ones on the diagonal
static int create_eye(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = {.dtype = NNL_FLOAT32};
    read_options(L, bind, &p);
    int64_t rows = nnl_check_integer(L, bind, 1),
            columns = p.last >= 2 ? nnl_check_integer(L, bind, 2) : rows;
    p.shape = (nnl_shape){.ndim = 2, .size = {rows, columns}};
    filled(L, bind, &p, nnl_number_int(0));
    nnl_tensor *t = nnl_to_tensor(L, bind, -1);
    size_t size = nnl_dtype_size(t->dtype);
    for (int64_t i = 0; i < rows && i < columns; i++) {
        nnl_element_write(t->dtype, (char *)nnl_tensor_data(t) + (size_t)(i * columns + i) * size,
                          nnl_number_int(1));
    }
    return 1;
}

// ---- random numbers

// Fills a tensor of n floats or doubles.
typedef void draw_fn(nnl_context *ctx, nnl_tensor *t, nnl_compute type, size_t n);

static void draw_uniform(nnl_context *ctx, nnl_tensor *t, nnl_compute type, size_t n) {
    uint64_t block = nnl_random_reserve(&ctx->random, type == NNL_IN_DOUBLE ? 2 * n : n);
    nnl_apply_draw(t, ctx->kernels->random->uniform[type], block, 0, 1);
}

static void draw_normal(nnl_context *ctx, nnl_tensor *t, nnl_compute type, size_t n) {
    uint64_t block = nnl_random_reserve(&ctx->random, type == NNL_IN_DOUBLE ? 2 * n + 4 : n + 2);
    nnl_apply_draw(t, ctx->kernels->random->normal[type], block, 0, 1);
}

// 16-bit floats are drawn as float32 and rounded.
static int drawn(lua_State *L, nnl_bind *bind, const plan *p, draw_fn *draw) {
    const nnl_dtype_info *info = nnl_dtype_get(p->dtype);
    if (info->kind != NNL_KIND_FLOAT)
        return nnl_error(L, "random numbers are of a float dtype, not %s; nn.randint draws integers",
                         info->name);
    nnl_tensor *t = make(L, bind, p), *full = t;
    if (!info->native) {
        plan wide = {.dtype = NNL_FLOAT32, .shape = p->shape};
        full = make(L, bind, &wide);
    }
    draw(bind->ctx, full, info->compute, (size_t)nnl_tensor_numel(full));
    if (full != t && draw == draw_uniform) nnl_apply_shorten(full, p->dtype); // below 1 in this dtype too
    if (full != t) nnl_try_copy(t, full);
    nnl_check_interrupted(L, bind);
    if (full != t) lua_pop(L, 1);
    return 1;
}

static int create_rand(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = read_plan(L, bind, 1, NNL_FLOAT32);
    return drawn(L, bind, &p, draw_uniform);
}

static int create_randn(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = read_plan(L, bind, 1, NNL_FLOAT32);
    return drawn(L, bind, &p, draw_normal);
}

static int create_rand_like(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = plan_like(L, bind);
    return drawn(L, bind, &p, draw_uniform);
}

static int create_randn_like(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = plan_like(L, bind);
    return drawn(L, bind, &p, draw_normal);
}

// nn.randint([low,] high, shape): low (0 by default) included, high not
static int create_randint(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = {.dtype = NNL_INT64};
    read_options(L, bind, &p);
    bool from_zero = lua_type(L, 2) == LUA_TTABLE && p.last == 2;
    int64_t low = from_zero ? 0 : nnl_check_integer(L, bind, 1);
    int64_t high = nnl_check_integer(L, bind, from_zero ? 1 : 2);
    if (high <= low) return nnl_arg_error(L, bind, from_zero ? 1 : 2, "high must be above low");
    nnl_check_shape(L, bind, from_zero ? 2 : 3, p.last, &p.shape);
    if (!nnl_dtype_holds(p.dtype, nnl_number_int(low)) || !nnl_dtype_holds(p.dtype, nnl_number_int(high - 1)))
        return nnl_error(L, "randint: %s does not hold all of %I to %I", nnl_dtype_get(p.dtype)->name,
                         (LUAI_UACINT)low, (LUAI_UACINT)(high - 1));
    nnl_apply_randint(make(L, bind, &p), low, (uint64_t)high - (uint64_t)low);
    nnl_check_interrupted(L, bind);
    return 1;
}

// nn.randperm(n): 1 to n in random order
static int create_randperm(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    plan p = {.dtype = NNL_INT64};
    read_options(L, bind, &p);
    int64_t n = nnl_check_integer(L, bind, 1);
    p.shape = (nnl_shape){.ndim = 1, .size = {n}};
    if (p.dtype != NNL_INT64)
        return nnl_error(L, "randperm: positions are int64, not %s", nnl_dtype_get(p.dtype)->name);
    nnl_apply_randperm(make(L, bind, &p));
    nnl_check_interrupted(L, bind);
    return 1;
}

static const luaL_Reg functions[] = {
    {"zeros", create_zeros},
    {"ones", create_ones},
    {"full", create_full},
    {"empty", create_empty},
    {"rand", create_rand},
    {"randn", create_randn},
    {"randint", create_randint},
    {"randperm", create_randperm},
    {"arange", create_arange},
    {"range", create_range},
    {"linspace", create_linspace},
    {"eye", create_eye},
    {"zeros_like", create_zeros_like},
    {"ones_like", create_ones_like},
    {"full_like", create_full_like},
    {"empty_like", create_empty_like},
    {"rand_like", create_rand_like},
    {"randn_like", create_randn_like},
    {NULL, NULL},
};

void nnl_open_create(lua_State *L) {
    lua_pushvalue(L, NNL_CORE_INDEX);
    nnl_set_functions(L, functions);
}
