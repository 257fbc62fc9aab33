// options.h: declared options, of layers, losses and optimizers alike: name, type, default, range,
// documentation. The binding reads the declaration to check what a script gives and to say what is allowed.
#ifndef NNL_NN_OPTIONS_H
#define NNL_NN_OPTIONS_H

#include "grad/ops.h"

#define NNL_MAX_OPTIONS 16
#define NNL_OPTION_LIST 4

typedef enum nnl_option_type {
    NNL_OPTION_END,
    NNL_OPTION_INT,
    NNL_OPTION_NUMBER,
    NNL_OPTION_BOOL,
    NNL_OPTION_CHOICE,     // one of the words in `choices`; the value is its position
    NNL_OPTION_ACTIVATION, // the name of an elementwise operation; the value is an nnl_activation
    NNL_OPTION_INTS,       // one integer, or a list of one for each dimension; or a word of `choices`
    NNL_OPTION_FACTORS,    // one number, or a list of two
    NNL_OPTION_NUMBERS,    // a list of numbers, such as betas
    NNL_OPTION_FIELDS,     // numbers by the names in `choices`, such as {l1 =, l2 =}
    NNL_OPTION_TENSOR,     // of a layer: kept as the buffer of the same name; of a call: borrowed meanwhile
} nnl_option_type;

typedef struct nnl_option {
    const char *name;
    nnl_option_type type;
    bool positional;     // may stand before the table of options, in the order of the declaration
    bool required;       // else `fallback`
    double fallback[2];  // of a number, integer, bool, choice; of the first two of a list
    double low, high;    // both ends allowed; low == high: no limits
    const char *choices; // words with one space between
    const char *doc;
    bool exclusive_low; // low itself is not allowed
    bool or_false;      // a number that may be false too: there is none
} nnl_option;

typedef struct nnl_option_value {
    bool given;
    bool none;    // of a number: false
    uint8_t word; // of INTS: 1 and up, the word that stands for them
    int count;
    int64_t i; // an integer, bool or choice
    double d;
    int64_t ints[NNL_OPTION_LIST];
    double numbers[NNL_OPTION_LIST];
    nnl_tensor *tensor; // of a call's option: borrowed, NULL where left out
} nnl_option_value;

// Activations by name, for options and for Dense: what is applied to a layer's result.
typedef enum nnl_activation_kind {
    NNL_ACTIVATION_NONE,
    NNL_ACTIVATION_UNARY,
    NNL_ACTIVATION_SOFTMAX,
    NNL_ACTIVATION_LOG_SOFTMAX
} nnl_activation_kind;

typedef struct nnl_activation {
    const char *name; // as in options: "relu", "leaky_relu", "linear" ...
    nnl_activation_kind kind;
    nnl_unary unary;
    double p[2];
} nnl_activation;

// All of them, ended by a NULL name; the first is "linear", which does nothing. An option's value is a
// position here, such as relu's.
enum { NNL_ACTIVATION_RELU = 2 };
extern const nnl_activation nnl_activations[];
nnl_tensor *nnl_activate(nnl_context *ctx, const nnl_activation *activation, nnl_tensor *x);
// Whether nnl_linear takes it: those of one number with no parameters.
bool nnl_activation_is_fused(const nnl_activation *activation);
// activation(x weight^T + bias), in one pass where the activation allows it.
nnl_tensor *nnl_linear_activated(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                                 const nnl_activation *activation);

// Sets a value to its declaration's fallback.
void nnl_option_default(const nnl_option *option, nnl_option_value *value);

// Checks ranges; `who` is the layer's name as scripts write it, such as "nn.Dense".
nnl_status nnl_option_check(nnl_context *ctx, const char *who, const nnl_option *option,
                            const nnl_option_value *value);

// The declaration of this name and its position; NULL where there is none.
const nnl_option *nnl_option_named(const nnl_option *options, const char *name, int *position);

// Words with one space between them: the position of one, -1 where it is none of them; and the word at a
// position, which is not ended by a zero.
int nnl_choice_position(const char *choices, const char *word, size_t length);
const char *nnl_choice_word(const char *choices, int position, size_t *length);

#endif
