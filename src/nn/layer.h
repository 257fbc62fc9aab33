// layer.h: a layer is a record (nnl_layer_class) that declares its options, its tensors, what a call takes
// and gives, and has a forward function; an nnl_layer is one made from it. Losses are layers with two inputs.
// Adding one is one file and one row in classes.c.
#ifndef NNL_NN_LAYER_H
#define NNL_NN_LAYER_H

#include "nn/options.h"

#define NNL_MAX_SLOTS 20
#define NNL_SLOT_NAME 64
#define NNL_LAYER_INPUTS 4
#define NNL_LAYER_RESULTS 4
#define NNL_CALL_OPTIONS 12 // the most that a call takes

// A parameter or buffer. Its name may have dots, as if an inner layer held it. Its shape is told in the
// options' names: "out in", "4*hidden in/groups kernel[0] kernel[1]", "sizes[*]" for a whole list; "" is a
// shape without dimensions.
typedef struct nnl_slot {
    const char *name;
    const char *shape; // NULL: as the tensor that the option of the same name gave, if it did
    bool buffer;       // saved with the model, but not trained
    const char *when;  // the bool options that it depends on, all of them; NULL: always there
    bool counts;       // int64, whatever the layer's dtype
} nnl_slot;

typedef struct nnl_layer nnl_layer;
typedef struct nnl_layer_class nnl_layer_class;

// For classes that have their declared slots several times, such as once for each of stacked layers: copy 0
// has the first positions in layer->tensor, copy 1 those behind them, and so on.
typedef struct nnl_copies {
    int (*count)(const nnl_layer *layer);
    void (*name)(const nnl_layer *layer, const char *slot, int copy, char name[NNL_SLOT_NAME]);
    // What a copy sees in shapes in the place of an integer option, by its position: a second layer's input
    // is what the first one gives.
    int64_t (*size)(const nnl_layer *layer, int copy, int option);
} nnl_copies;

// What a class's forward does about adapters (adapter.h): nothing, so that every call makes the weights with
// theirs; it adds them itself; or it does so and its input goes through them.
typedef enum nnl_adapts { NNL_ADAPTS_WEIGHT, NNL_ADAPTS_ITSELF, NNL_ADAPTS_INPUT } nnl_adapts;

struct nnl_layer_class {
    const char *name; // without "nn."
    const char *alias;
    const char *doc;
    bool is_loss;
    int inputs; // that every call gives
    // The tensors of a call by name, where there are more than `inputs`: "input h", or, where a table holds
    // some of them, "input {h c}". forward finds them in this order, NULL where a call leaves one out.
    const char *takes;
    const char *gives;      // the results, told in the same way; NULL: one tensor
    const nnl_option *call; // the options of a call, in a table as its last argument; NULL: none
    nnl_option options[NNL_MAX_OPTIONS];
    nnl_slot slots[NNL_MAX_SLOTS];
    // NULL for most. What the ranges of single options cannot say, asked when all have been read.
    nnl_status (*check)(nnl_context *ctx, const nnl_layer *layer);
    const nnl_copies *copies; // of the slots; NULL: one
    bool (*has)(const nnl_layer *layer,
                int declared); // whether a layer has a slot; NULL: `when` tells it all
    // Called when the parameters have just been made (or made again): fills them.
    nnl_status (*reset)(nnl_context *ctx, nnl_layer *layer);
    // Lazy layers: finds sizes left open from the first input. NULL: nothing is ever open.
    nnl_status (*infer)(nnl_context *ctx, nnl_layer *layer, const nnl_tensor *x);
    // out[0], out[1] ...: new. inputs[i] may be NULL for those beyond `inputs`.
    nnl_status (*forward)(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs, nnl_tensor **out);
    // NULL for most. Regularisation of what the layer holds, a number added to a model's loss; NULL into
    // *out where the options ask for none.
    nnl_status (*penalty)(nnl_context *ctx, nnl_layer *layer, nnl_tensor **out);
    int variant; // which operation, for classes that share their functions
    nnl_adapts adapts;
};

struct nnl_layer {
    uint32_t refs;
    const nnl_layer_class *class;
    nnl_context *ctx;
    bool training;
    bool watched;        // the host has a look at every call
    bool built;          // the tensors are there
    nnl_dtype dtype;     // of the tensors
    nnl_tensor *table;   // what forward made once for later calls, and can make again; not saved
    nnl_tensor *pending; // a penalty on the last result (activity_regularizer), until it is asked for
    nnl_option_value option[NNL_MAX_OPTIONS];
    const nnl_option_value *call; // those of the call, while forward runs, as many as class->call declares
    int slots;                    // of all copies
    nnl_tensor **tensor;          // by slot; NULL where not built, or left out
    struct nnl_adapter *adapters; // of some of the slots
    int n_adapters;
};

// Every class by its position from 0; NULL behind the last.
const nnl_layer_class *nnl_layer_class_at(size_t position);
const nnl_layer_class *nnl_layer_class_named(const char *name);

// Returns new: options at their defaults, no tensors yet.
nnl_layer *nnl_layer_new(nnl_context *ctx, const nnl_layer_class *class);
nnl_layer *nnl_layer_retain(nnl_layer *layer);
void nnl_layer_release(nnl_layer *layer);

// After the options were set: checks their ranges and makes the tensors, unless a size is still open.
nnl_status nnl_layer_setup(nnl_context *ctx, nnl_layer *layer);

// Fills open sizes from an input and makes the tensors. Nothing happens where they are there.
nnl_status nnl_layer_build(nnl_context *ctx, nnl_layer *layer, const nnl_tensor *x);

// The options of a call at their defaults.
void nnl_layer_call_defaults(const nnl_layer *layer, nnl_option_value call[NNL_CALL_OPTIONS]);

// inputs[0 .. n - 1], in the order of `takes`; call: the values of the class's options of a call, NULL for
// their defaults. New results in out, NULL where one has none.
nnl_status nnl_layer_forward(nnl_context *ctx, nnl_layer *layer, int n, nnl_tensor *const *inputs,
                             const nnl_option_value *call, nnl_tensor *out[NNL_LAYER_RESULTS]);

// The slot's position by name, -1 where the class has none or this layer left it out.
int nnl_layer_slot(const nnl_layer *layer, const char *name);

// The declaration of the slot at a position, and its name in this layer.
const nnl_slot *nnl_layer_slot_at(const nnl_layer *layer, int position);
const char *nnl_layer_slot_name(const nnl_layer *layer, int position, char name[NNL_SLOT_NAME]);
bool nnl_layer_has_slot(const nnl_layer *layer, int position);

// The value of an option by name; NULL where the class has none.
const nnl_option_value *nnl_layer_option(const nnl_layer *layer, const char *name);

// NULL where the options ask for no penalty; otherwise new, a 0-dim tensor in the graph.
nnl_status nnl_layer_penalty(nnl_context *ctx, nnl_layer *layer, nnl_tensor **out);

// Puts values into a slot, converting the dtype. A lazy layer takes its open sizes from them.
nnl_status nnl_layer_load(nnl_context *ctx, nnl_layer *layer, int slot, const nnl_tensor *values);

// The same without a copy where it can be: the slot's tensor and `values` share their memory. For a layer
// that nobody else has seen yet and values that nobody else will use.
nnl_status nnl_layer_adopt(nnl_context *ctx, nnl_layer *layer, int slot, const nnl_tensor *values);

// A copy of another float dtype that is trained if t is. Returns new.
nnl_tensor *nnl_parameter_to(nnl_context *ctx, const nnl_tensor *t, nnl_dtype dtype);

// All tensors become of another float dtype; their gradients go.
nnl_status nnl_layer_to(nnl_context *ctx, nnl_layer *layer, nnl_dtype dtype);

#endif
