// layer.h: a layer is a record (nnl_layer_class) that declares its options and tensors and has a forward
// function; an nnl_layer is one made from it. Losses are layers with two inputs. Adding one is one file and
// one row in classes.c.
#ifndef NNL_NN_LAYER_H
#define NNL_NN_LAYER_H

#include "nn/options.h"

#define NNL_MAX_SLOTS 8
#define NNL_LAYER_INPUTS 4

// A parameter or buffer. Its shape is told in the options' names: "out in", "4*hidden in/groups kernel[0]
// kernel[1]", "sizes[*]" for a whole list; "" is a shape without dimensions.
typedef struct nnl_slot {
    const char *name;
    const char *shape; // NULL: as the tensor that the option of the same name gave, if it did
    bool buffer;       // saved with the model, but not trained
    const char *when;  // the bool options that it depends on, all of them; NULL: always there
    bool counts;       // int64, whatever the layer's dtype
} nnl_slot;

typedef struct nnl_layer nnl_layer;
typedef struct nnl_layer_class nnl_layer_class;

struct nnl_layer_class {
    const char *name; // without "nn."
    const char *alias;
    const char *doc;
    bool is_loss;
    int inputs; // that forward expects at least
    nnl_option options[NNL_MAX_OPTIONS];
    nnl_slot slots[NNL_MAX_SLOTS];
    // NULL for most. What the ranges of single options cannot say, asked when all have been read.
    nnl_status (*check)(nnl_context *ctx, const nnl_layer *layer);
    // Called when the parameters have just been made (or made again): fills them.
    nnl_status (*reset)(nnl_context *ctx, nnl_layer *layer);
    // Lazy layers: finds sizes left open from the first input. NULL: nothing is ever open.
    nnl_status (*infer)(nnl_context *ctx, nnl_layer *layer, const nnl_tensor *x);
    // out: new. inputs[i] may be NULL for those beyond `inputs`.
    nnl_status (*forward)(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs, nnl_tensor **out);
    // NULL for most. Regularisation of what the layer holds, a number added to a model's loss; NULL into
    // *out where the options ask for none.
    nnl_status (*penalty)(nnl_context *ctx, nnl_layer *layer, nnl_tensor **out);
    int variant; // which operation, for classes that share their functions
};

struct nnl_layer {
    uint32_t refs;
    const nnl_layer_class *class;
    nnl_context *ctx;
    bool training;
    bool built;          // the tensors are there
    nnl_dtype dtype;     // of the tensors
    nnl_tensor *pending; // a penalty on the last result (activity_regularizer), until it is asked for
    nnl_option_value option[NNL_MAX_OPTIONS];
    nnl_tensor *tensor[NNL_MAX_SLOTS]; // NULL where not built, or left out
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

// inputs[0 .. n - 1]; new results in out (as many as the class gives; one for all so far).
nnl_status nnl_layer_forward(nnl_context *ctx, nnl_layer *layer, int n, nnl_tensor *const *inputs,
                             nnl_tensor **out);

// The slot's position by name, -1 where the class has none or this layer left it out.
int nnl_layer_slot(const nnl_layer *layer, const char *name);

// The value of an option by name; NULL where the class has none.
const nnl_option_value *nnl_layer_option(const nnl_layer *layer, const char *name);

// NULL where the options ask for no penalty; otherwise new, a 0-dim tensor in the graph.
nnl_status nnl_layer_penalty(nnl_context *ctx, nnl_layer *layer, nnl_tensor **out);

// Puts values into a slot, converting the dtype. A lazy layer takes its open sizes from them.
nnl_status nnl_layer_load(nnl_context *ctx, nnl_layer *layer, int slot, const nnl_tensor *values);

// All tensors become of another float dtype; their gradients go.
nnl_status nnl_layer_to(nnl_context *ctx, nnl_layer *layer, nnl_dtype dtype);

#endif
