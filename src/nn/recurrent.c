// recurrent.c: RNN, LSTM and GRU, stacked and in both directions, and their single cells. One direction of
// one layer over all steps is an operation of grad/recurrent.c; here they are put together.
#include "nn/classes.h"
#include "nn/init.h"

#include <math.h>
#include <stdio.h>

// Positions in the declarations below. A layer and a direction have these tensors, in this order.
enum { IN, HIDDEN, LAYERS, BIAS, BATCH_FIRST, DROPOUT, BIDIRECTIONAL, DTYPE, NONLINEARITY };
enum { CELL_IN, CELL_HIDDEN, CELL_BIAS, CELL_DTYPE, CELL_NONLINEARITY };
enum { WEIGHT_IH, WEIGHT_HH, BIAS_IH, BIAS_HH, TENSORS };
enum { LENGTHS };

#define STATES 2 // h, and c of the LSTM

// ---- slots: a copy for each layer and direction

static int directions(const nnl_layer *layer) { return layer->option[BIDIRECTIONAL].i ? 2 : 1; }

static int count_copies(const nnl_layer *layer) { return (int)layer->option[LAYERS].i * directions(layer); }

static void name_slot(const nnl_layer *layer, const char *slot, int copy, char name[NNL_SLOT_NAME]) {
    int each = directions(layer);
    snprintf(name, NNL_SLOT_NAME, "%s_l%d%s", slot, copy / each, copy % each ? "_reverse" : "");
}

// A layer above the first sees what all directions below it give.
static int64_t seen_size(const nnl_layer *layer, int copy, int option) {
    int each = directions(layer);
    int64_t hidden = layer->option[HIDDEN].i;
    if (option != IN || copy < each) return layer->option[option].i;
    return hidden > INT64_MAX / each ? INT64_MAX : hidden * each;
}

static const nnl_copies copies = {count_copies, name_slot, seen_size};

// PyTorch's: everything uniform within 1 / sqrt(hidden_size).
static nnl_status reset(nnl_context *ctx, nnl_layer *layer) {
    double bound = 1 / sqrt((double)layer->option[HIDDEN].i);
    nnl_status status = NNL_OK;
    for (int k = 0; k < layer->slots && status == NNL_OK; k++) {
        if (layer->tensor[k]) status = nnl_init_uniform(ctx, layer->tensor[k], -bound, bound);
    }
    return status;
}

// ---- the input

static nnl_status wrong_input(nnl_context *ctx, const nnl_layer *layer, const nnl_tensor *x) {
    char size[24] = "features", text[NNL_SHAPE_TEXT];
    const char *lead = layer->option[BATCH_FIRST].i ? "N, T" : "T, N";
    if (layer->option[IN].i > 0) snprintf(size, sizeof size, "%lld", (long long)layer->option[IN].i);
    return nnl_fail(ctx, NNL_ERR_SHAPE,
                    "nn.%s: expected input (%s, %s) or (T, %s) of at least one step, got %s",
                    layer->class->name, lead, size, size, nnl_shape_text(&x->shape, text));
}

static nnl_status infer(nnl_context *ctx, nnl_layer *layer, const nnl_tensor *x) {
    int last = x->shape.ndim - 1;
    if (last < 1 || last > 2 || x->shape.size[last] < 1) return wrong_input(ctx, layer, x);
    if (nnl_dtype_is_float(x->dtype) && !layer->option[DTYPE].given) layer->dtype = x->dtype;
    layer->option[IN].i = x->shape.size[last];
    layer->option[IN].given = true;
    return NNL_OK;
}

// One call of a stack on its way through the layers.
typedef struct stack {
    nnl_context *ctx;
    nnl_layer *layer;
    nnl_cell cell;
    int states; // of the cell: 1 or 2
    bool batched;
    nnl_tensor *lengths;
    nnl_tensor *state[STATES]; // (copies, N, H), or NULL for zeros
    nnl_tensor **last[STATES]; // of each copy, (N, H)
} stack;

static nnl_cell cell_of(const nnl_layer *layer, int nonlinearity) {
    nnl_cell cell = (nnl_cell)layer->class->variant;
    return cell == NNL_CELL_TANH && layer->option[nonlinearity].i == 1 ? NNL_CELL_RELU : cell;
}

static nnl_status check_dtype(nnl_context *ctx, const nnl_layer *layer, const char *what,
                              const nnl_tensor *t) {
    nnl_dtype expected = layer->tensor[WEIGHT_HH]->dtype;
    if (t->dtype == expected) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_DTYPE, "nn.%s: expected %s of dtype %s as the parameters, got %s",
                    layer->class->name, what, nnl_dtype_get(expected)->name, nnl_dtype_get(t->dtype)->name);
}

static nnl_status check_state(const stack *s, const nnl_tensor *state, const char *name, int64_t batch) {
    char expected[NNL_SHAPE_TEXT], got[NNL_SHAPE_TEXT];
    int64_t hidden = s->layer->option[HIDDEN].i, count = count_copies(s->layer);
    nnl_shape whole = {3, {count, batch, hidden}}, single = {2, {count, hidden}};
    const nnl_shape *shape = s->batched ? &whole : &single;
    if (!nnl_shape_equal(&state->shape, shape)) {
        return nnl_fail(
            s->ctx, NNL_ERR_SHAPE,
            "nn.%s: expected the state %s of shape %s (layers * directions%s, hidden_size), got %s",
            s->layer->class->name, name, nnl_shape_text(shape, expected), s->batched ? ", N" : "",
            nnl_shape_text(&state->shape, got));
    }
    return check_dtype(s->ctx, s->layer, name, state);
}

static nnl_status check_lengths(const stack *s, const nnl_tensor *x, int64_t batch) {
    const nnl_tensor *lengths = s->lengths;
    char got[NNL_SHAPE_TEXT];
    bool whole = lengths && !nnl_dtype_is_float(lengths->dtype) && lengths->dtype != NNL_BOOL;
    if (!lengths) return NNL_OK;
    if (s->batched && whole && lengths->shape.ndim == 1 && lengths->shape.size[0] == batch) return NNL_OK;
    if (!s->batched) {
        return nnl_fail(s->ctx, NNL_ERR_SHAPE, "nn.%s: option 'lengths' is for batches, got one sequence %s",
                        s->layer->class->name, nnl_shape_text(&x->shape, got));
    }
    return nnl_fail(s->ctx, NNL_ERR_SHAPE,
                    "nn.%s: option 'lengths' must be an integer tensor of shape (%lld), got %s of %s",
                    s->layer->class->name, (long long)batch, nnl_shape_text(&lengths->shape, got),
                    nnl_dtype_get(lengths->dtype)->name);
}

static nnl_status check_call(const stack *s, const nnl_tensor *x) {
    static const char *const names[STATES] = {"h", "c"};
    const nnl_layer *layer = s->layer;
    int last = x->shape.ndim - 1, time = s->batched && layer->option[BATCH_FIRST].i ? 1 : 0;
    if (last < 1 || last > 2 || x->shape.size[last] != layer->option[IN].i || x->shape.size[time] < 1) {
        return wrong_input(s->ctx, layer, x);
    }
    int64_t batch = s->batched ? x->shape.size[1 - time] : 1;
    nnl_status status = check_dtype(s->ctx, layer, "input", x);
    for (int k = 0; k < s->states && status == NNL_OK; k++) {
        if (s->state[k]) status = check_state(s, s->state[k], names[k], batch);
    }
    return status == NNL_OK ? check_lengths(s, x, batch) : status;
}

// (T, N, in), whatever the layout of the input.
static nnl_tensor *steps_first(const stack *s, nnl_tensor *x) {
    if (!s->batched) return nnl_unsqueeze(s->ctx, x, 1);
    return s->layer->option[BATCH_FIRST].i ? nnl_transpose(s->ctx, x, 0, 1) : nnl_tensor_retain(x);
}

static nnl_tensor *given_layout(const stack *s, nnl_tensor *y) {
    if (!s->batched) return nnl_squeeze(s->ctx, y, 1);
    if (!s->layer->option[BATCH_FIRST].i) return nnl_tensor_retain(y);
    nnl_tensor *turned = nnl_transpose(s->ctx, y, 0, 1);
    nnl_tensor *whole = turned ? nnl_contiguous(s->ctx, turned) : NULL;
    nnl_tensor_release(turned);
    return whole;
}

// ---- the layers, one above the other

// State k of a copy, (N, H); NULL, and no error, where the call gave none.
static nnl_status first_state(const stack *s, int k, int copy, nnl_tensor **out) {
    *out = NULL;
    if (!s->state[k]) return NNL_OK;
    nnl_tensor *own = nnl_select(s->ctx, s->state[k], 0, copy);
    *out = own && !s->batched ? nnl_unsqueeze(s->ctx, own, 0) : own ? nnl_tensor_retain(own) : NULL;
    nnl_tensor_release(own);
    return *out ? NNL_OK : s->ctx->status;
}

// One direction of one layer: (T, N, in) to (T, N, H).
static nnl_tensor *run_copy(const stack *s, int copy, nnl_tensor *x) {
    nnl_tensor *const *tensor = s->layer->tensor + copy * TENSORS;
    nnl_tensor *out[3] = {NULL}, *state[STATES] = {NULL};
    nnl_status status = NNL_OK;
    for (int k = 0; k < s->states && status == NNL_OK; k++) status = first_state(s, k, copy, &state[k]);
    nnl_recurrence r = {s->cell,
                        copy % directions(s->layer) == 1,
                        x,
                        state[0],
                        state[1],
                        tensor[WEIGHT_IH],
                        tensor[WEIGHT_HH],
                        tensor[BIAS_IH],
                        tensor[BIAS_HH],
                        s->lengths};
    if (status == NNL_OK) status = nnl_recurrent(s->ctx, &r, out);
    for (int k = 0; k < s->states; k++) {
        nnl_tensor_release(state[k]);
        s->last[k][copy] = out[1 + k];
    }
    return status == NNL_OK ? out[0] : NULL;
}

// All directions of a layer, side by side.
static nnl_tensor *run_layer(const stack *s, int number, nnl_tensor *x) {
    int each = directions(s->layer);
    nnl_tensor *forward = run_copy(s, number * each, x);
    if (!forward || each == 1) return forward;
    nnl_tensor *reverse = run_copy(s, number * each + 1, x);
    nnl_tensor *both = reverse ? nnl_cat(s->ctx, 2, (nnl_tensor *const[]){forward, reverse}, 2) : NULL;
    nnl_tensor_release(forward);
    nnl_tensor_release(reverse);
    return both;
}

static nnl_tensor *run_layers(const stack *s, nnl_tensor *x) {
    const nnl_option_value *option = s->layer->option;
    nnl_tensor *y = nnl_tensor_retain(x);
    for (int k = 0; k < option[LAYERS].i && y; k++) {
        nnl_tensor *below = y;
        if (k > 0 && s->layer->training && option[DROPOUT].d > 0) {
            y = nnl_dropout(s->ctx, below, option[DROPOUT].d);
            nnl_tensor_release(below);
            below = y;
        }
        y = below ? run_layer(s, k, below) : NULL;
        nnl_tensor_release(below);
    }
    return y;
}

// ---- results

// The last states of all copies as one tensor: (copies, N, H), or (copies, H) of one sequence.
static nnl_tensor *stacked(const stack *s, nnl_tensor **last) {
    int count = count_copies(s->layer);
    if (!s->batched) return nnl_cat(s->ctx, (size_t)count, last, 0);
    for (int k = 0; k < count; k++) {
        nnl_tensor *flat = last[k];
        last[k] = nnl_unsqueeze(s->ctx, flat, 0);
        nnl_tensor_release(flat);
        if (!last[k]) return NULL;
    }
    return count == 1 ? nnl_tensor_retain(last[0]) : nnl_cat(s->ctx, (size_t)count, last, 0);
}

static nnl_status run_stack(const stack *s, nnl_tensor *x, nnl_tensor **out) {
    nnl_tensor *steps = steps_first(s, x);
    nnl_tensor *y = steps ? run_layers(s, steps) : NULL;
    out[0] = y ? given_layout(s, y) : NULL;
    nnl_tensor_release(steps);
    nnl_tensor_release(y);
    bool complete = out[0] != NULL;
    for (int k = 0; k < s->states && complete; k++) {
        out[1 + k] = stacked(s, s->last[k]);
        complete = out[1 + k] != NULL;
    }
    return complete ? NNL_OK : s->ctx->status;
}

// The lists of last states are one block.
static bool make_lists(stack *s) {
    int count = count_copies(s->layer);
    nnl_tensor **list = nnl_alloc(&s->ctx->allocator, STATES * (size_t)count * sizeof *list);
    if (!list) return nnl_fail(s->ctx, NNL_ERR_MEMORY, "out of memory: no room for states"), false;
    for (int k = 0; k < STATES * count; k++) list[k] = NULL;
    for (int k = 0; k < STATES; k++) s->last[k] = list + k * count;
    return true;
}

static void release_lists(stack *s) {
    int count = count_copies(s->layer);
    for (int k = 0; k < STATES * count; k++) nnl_tensor_release(s->last[0][k]);
    nnl_free(&s->ctx->allocator, s->last[0]);
}

static nnl_status forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs, nnl_tensor **out) {
    nnl_cell cell = cell_of(layer, NONLINEARITY);
    nnl_tensor *x = inputs[0], *lengths = layer->call[LENGTHS].tensor;
    stack s = {.ctx = ctx,
               .layer = layer,
               .cell = cell,
               .states = cell == NNL_CELL_LSTM ? 2 : 1,
               .batched = x->shape.ndim != 2,
               .lengths = lengths,
               .state = {inputs[1], inputs[2]}};
    nnl_status status = check_call(&s, x);
    if (status != NNL_OK) return status;
    if (lengths && !(s.lengths = nnl_to(ctx, lengths, NNL_INT64))) return ctx->status;
    status = make_lists(&s) ? run_stack(&s, x, out) : ctx->status;
    if (s.last[0]) release_lists(&s);
    if (lengths) nnl_tensor_release(s.lengths);
    return status;
}

// ---- single cells: one step, for loops in a script

static nnl_status wrong_cell_input(nnl_context *ctx, const nnl_layer *layer, const nnl_tensor *x) {
    char size[24] = "features", text[NNL_SHAPE_TEXT];
    if (layer->option[CELL_IN].i > 0)
        snprintf(size, sizeof size, "%lld", (long long)layer->option[CELL_IN].i);
    return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.%s: expected input (N, %s) or (%s), got %s", layer->class->name,
                    size, size, nnl_shape_text(&x->shape, text));
}

static nnl_status cell_infer(nnl_context *ctx, nnl_layer *layer, const nnl_tensor *x) {
    int last = x->shape.ndim - 1;
    if (last < 0 || last > 1 || x->shape.size[last] < 1) return wrong_cell_input(ctx, layer, x);
    if (nnl_dtype_is_float(x->dtype) && !layer->option[CELL_DTYPE].given) layer->dtype = x->dtype;
    layer->option[CELL_IN].i = x->shape.size[last];
    layer->option[CELL_IN].given = true;
    return NNL_OK;
}

static nnl_status check_cell(nnl_context *ctx, const nnl_layer *layer, nnl_tensor *const *inputs) {
    static const char *const names[] = {"input", "h", "c"};
    char expected[NNL_SHAPE_TEXT], got[NNL_SHAPE_TEXT];
    const nnl_tensor *x = inputs[0];
    int last = x->shape.ndim - 1;
    if (last < 0 || last > 1 || x->shape.size[last] != layer->option[CELL_IN].i) {
        return wrong_cell_input(ctx, layer, x);
    }
    nnl_shape shape = x->shape;
    shape.size[last] = layer->option[CELL_HIDDEN].i;
    nnl_status status = NNL_OK;
    for (int k = 0; k < 1 + STATES && status == NNL_OK; k++) {
        if (inputs[k]) status = check_dtype(ctx, layer, names[k], inputs[k]);
        if (status != NNL_OK || k == 0 || !inputs[k] || nnl_shape_equal(&inputs[k]->shape, &shape)) continue;
        status = nnl_fail(ctx, NNL_ERR_SHAPE, "nn.%s: expected the state %s of shape %s, got %s",
                          layer->class->name, names[k], nnl_shape_text(&shape, expected),
                          nnl_shape_text(&inputs[k]->shape, got));
    }
    return status;
}

// A batch of one where there is none.
static nnl_tensor *with_batch(nnl_context *ctx, nnl_tensor *t, bool batched) {
    return batched ? nnl_tensor_retain(t) : nnl_unsqueeze(ctx, t, 0);
}

// One step of the operation: x (N, in) is a sequence (1, N, in).
static nnl_status cell_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                               nnl_tensor **out) {
    nnl_status status = check_cell(ctx, layer, inputs);
    if (status != NNL_OK) return status;
    bool batched = inputs[0]->shape.ndim == 2;
    nnl_tensor *own[1 + STATES] = {NULL}, *made[3] = {NULL};
    for (int k = 0; k < 1 + STATES && status == NNL_OK; k++) {
        if (inputs[k] && !(own[k] = with_batch(ctx, inputs[k], batched))) status = ctx->status;
    }
    nnl_tensor *x = status == NNL_OK ? nnl_unsqueeze(ctx, own[0], 0) : NULL;
    nnl_recurrence r = {.cell = cell_of(layer, CELL_NONLINEARITY),
                        .x = x,
                        .h = own[1],
                        .c = own[2],
                        .weight_ih = layer->tensor[WEIGHT_IH],
                        .weight_hh = layer->tensor[WEIGHT_HH],
                        .bias_ih = layer->tensor[BIAS_IH],
                        .bias_hh = layer->tensor[BIAS_HH]};
    status = x ? nnl_recurrent(ctx, &r, made) : ctx->status;
    for (int k = 0; k < STATES && status == NNL_OK && made[1 + k]; k++) {
        out[k] = batched ? nnl_tensor_retain(made[1 + k]) : nnl_squeeze(ctx, made[1 + k], 0);
        if (!out[k]) status = ctx->status;
    }
    nnl_tensor_release(x);
    for (int k = 0; k < 1 + STATES; k++) nnl_tensor_release(own[k]);
    for (int k = 0; k < 3; k++) nnl_tensor_release(made[k]);
    return status;
}

static nnl_status cell_reset(nnl_context *ctx, nnl_layer *layer) {
    double bound = 1 / sqrt((double)layer->option[CELL_HIDDEN].i);
    nnl_status status = NNL_OK;
    for (int k = 0; k < TENSORS && status == NNL_OK; k++) {
        if (layer->tensor[k]) status = nnl_init_uniform(ctx, layer->tensor[k], -bound, bound);
    }
    return status;
}

// ---- declarations

#define SIZE(n, text, needed)                                                                                \
    {                                                                                                        \
        .name = n, .type = NNL_OPTION_INT, .positional = true, .required = needed, .low = 1,                 \
        .high = INFINITY, .doc = text                                                                        \
    }
#define FLAG(n, value, text)                                                                                 \
    { .name = n, .type = NNL_OPTION_BOOL, .fallback = {value}, .doc = text }
#define IN_SIZE SIZE("input_size", "features of each step; from the first input where left out", false)
#define HIDDEN_SIZE SIZE("hidden_size", "features of the state", true)
#define BIASES FLAG("bias", 1, "whether two are added")
#define NONLINEARITY_OPTION                                                                                  \
    { .name = "nonlinearity", .type = NNL_OPTION_CHOICE, .choices = "tanh relu", .doc = "of the cell" }
#define STACK_OPTIONS                                                                                        \
    [IN] = IN_SIZE, [HIDDEN] = HIDDEN_SIZE,                                                                  \
    [LAYERS] = {.name = "num_layers",                                                                        \
                .type = NNL_OPTION_INT,                                                                      \
                .positional = true,                                                                          \
                .fallback = {1},                                                                             \
                .low = 1,                                                                                    \
                .high = 4096,                                                                                \
                .doc = "layers, each on the results of the one before"},                                     \
    [BIAS] = BIASES,                                                                                         \
    [BATCH_FIRST] = FLAG("batch_first", 1, "input and output (N, T, features); else (T, N, features)"),      \
    [DROPOUT] = {.name = "dropout",                                                                          \
                 .type = NNL_OPTION_NUMBER,                                                                  \
                 .low = 0,                                                                                   \
                 .high = 1,                                                                                  \
                 .doc = "probability of a 0 in the results of every layer but the last, while training"},    \
    [BIDIRECTIONAL] =                                                                                        \
        FLAG("bidirectional", 0, "also from the last step to the first; both results side by side"),         \
    [DTYPE] = NNL_DTYPE_OPTION

#define SLOTS(gates)                                                                                         \
    {                                                                                                        \
        {.name = "weight_ih", .shape = gates "hidden_size input_size"},                                      \
            {.name = "weight_hh", .shape = gates "hidden_size hidden_size"},                                 \
            {.name = "bias_ih", .shape = gates "hidden_size", .when = "bias"}, {                             \
            .name = "bias_hh", .shape = gates "hidden_size", .when = "bias"                                  \
        }                                                                                                    \
    }
#define STACK(n, kind, text)                                                                                 \
    .name = n, .doc = text, .inputs = 1, .call = call_options, .copies = &copies, .reset = reset,            \
    .infer = infer, .forward = forward, .variant = kind
#define CELL(n, kind, text)                                                                                  \
    .name = n, .doc = text, .inputs = 1, .reset = cell_reset, .infer = cell_infer, .forward = cell_forward,  \
    .variant = kind
#define CELL_OPTIONS                                                                                         \
    [CELL_IN] = IN_SIZE, [CELL_HIDDEN] = HIDDEN_SIZE, [CELL_BIAS] = BIASES, [CELL_DTYPE] = NNL_DTYPE_OPTION

static const nnl_option call_options[] = {
    [LENGTHS] = {.name = "lengths",
                 .type = NNL_OPTION_TENSOR,
                 .doc =
                     "(N), the steps of each sequence: results beyond them are 0, the last state is that of "
                     "the last step, and the reverse direction begins there"},
    {.name = NULL},
};

#define SHAPES                                                                                               \
    ": (N, T, input_size) or (T, input_size) to (N, T, directions * hidden_size), and the last state "       \
    "(layers * directions, N, hidden_size), h"

const nnl_layer_class nnl_recurrent_classes[] = {
    {STACK("RNN", NNL_CELL_TANH, "h = tanh(W_ih x + b_ih + W_hh h + b_hh) (Elman 1990)" SHAPES),
     .takes = "input h", .gives = "output h",
     .options = {STACK_OPTIONS, [NONLINEARITY] = NONLINEARITY_OPTION}, .slots = SLOTS("")},
    {STACK("LSTM", NNL_CELL_LSTM,
           "Long short-term memory (Hochreiter and Schmidhuber 1997) with gates i f g o" SHAPES " and c"),
     .takes = "input {h c}", .gives = "output {h c}", .options = {STACK_OPTIONS}, .slots = SLOTS("4*")},
    {STACK("GRU", NNL_CELL_GRU, "Gated recurrent unit (Cho et al. 2014) with gates r z n" SHAPES),
     .takes = "input h", .gives = "output h", .options = {STACK_OPTIONS}, .slots = SLOTS("3*")},
    {CELL("RNNCell", NNL_CELL_TANH, "One step of nn.RNN: (N, input_size) and h to h (N, hidden_size)"),
     .takes = "input h", .options = {CELL_OPTIONS, [CELL_NONLINEARITY] = NONLINEARITY_OPTION},
     .slots = SLOTS("")},
    {CELL("LSTMCell", NNL_CELL_LSTM, "One step of nn.LSTM: (N, input_size) and {h, c} to h and c"),
     .takes = "input {h c}", .gives = "h c", .options = {CELL_OPTIONS}, .slots = SLOTS("4*")},
    {CELL("GRUCell", NNL_CELL_GRU, "One step of nn.GRU: (N, input_size) and h to h (N, hidden_size)"),
     .takes = "input h", .options = {CELL_OPTIONS}, .slots = SLOTS("3*")},
    {.name = NULL},
};
