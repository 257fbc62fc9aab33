// slot.c: reading the expressions that declare the shapes of parameters.
#include "nn/slot.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define NAME_ROOM 48

static bool in_name(char c) { return isalnum((unsigned char)c) || c == '_'; }

// The name at *at, behind which *at then stands.
static void read_name(const char **at, char name[NAME_ROOM]) {
    size_t n = 0;
    while (in_name((*at)[n]) && n + 1 < NAME_ROOM) n++;
    memcpy(name, *at, n);
    name[n] = 0;
    *at += n;
}

bool nnl_slot_present(const nnl_layer *layer, const nnl_slot *slot) {
    for (const char *at = slot->when; at && *at;) {
        char name[NAME_ROOM];
        read_name(&at, name);
        const nnl_option_value *value = nnl_layer_option(layer, name);
        if (!value || value->i == 0) return false;
        while (*at == ' ') at++;
    }
    return true;
}

// A number, an option, or an element of one.
static int64_t read_factor(const nnl_layer *layer, const char **at) {
    if (isdigit((unsigned char)**at)) {
        char *end;
        int64_t number = strtoll(*at, &end, 10);
        *at = end;
        return number;
    }
    char name[NAME_ROOM];
    read_name(at, name);
    const nnl_option_value *value = nnl_layer_option(layer, name);
    if (**at != '[') return value ? value->i : 0;
    int64_t k = (*at)[1] - '0';
    *at += 3;
    return value && k >= 0 && k < NNL_OPTION_LIST ? value->ints[k] : 0;
}

// Factors with * or / between them.
static int64_t read_size(const nnl_layer *layer, const char **at) {
    int64_t size = read_factor(layer, at);
    while (**at == '*' || **at == '/') {
        char operation = *(*at)++;
        int64_t factor = read_factor(layer, at);
        size = operation == '*' ? size * factor : factor > 0 ? size / factor : 0;
    }
    return size;
}

// "name[*]": all that the option's list holds, as sizes of their own. False where *at is something else.
static bool read_list(const nnl_layer *layer, const char **at, nnl_shape *shape) {
    const char *end = *at;
    char name[NAME_ROOM];
    read_name(&end, name);
    if (strncmp(end, "[*]", 3) != 0) return false;
    const nnl_option_value *value = nnl_layer_option(layer, name);
    for (int k = 0; value && k < value->count && shape->ndim < NNL_MAX_DIMS; k++)
        shape->size[shape->ndim++] = value->ints[k];
    *at = end + 3;
    return true;
}

bool nnl_slot_shape(const nnl_layer *layer, const nnl_slot *slot, nnl_shape *shape) {
    bool known = true;
    shape->ndim = 0;
    for (const char *at = slot->shape; *at && shape->ndim < NNL_MAX_DIMS;) {
        if (read_list(layer, &at, shape)) continue;
        int64_t size = read_size(layer, &at);
        if (size < 1) known = false;
        shape->size[shape->ndim++] = size < 1 ? 0 : size;
        while (*at == ' ') at++;
    }
    return known;
}

// The option that is all there is between `at` and the next space, or is divided by another there, whose
// value goes into *times; -1 where that is something else.
static int lone_option(const nnl_layer *layer, const char *at, int64_t *times) {
    char name[NAME_ROOM];
    int position = -1;
    read_name(&at, name);
    *times = 1;
    if (*at == '/') {
        at++;
        *times = read_factor(layer, &at);
    }
    if (*at != ' ' && *at != 0) return -1;
    return nnl_option_named(layer->class->options, name, &position) ? position : -1;
}

void nnl_slot_close(nnl_layer *layer, const nnl_slot *slot, const nnl_shape *shape) {
    const char *at = slot->shape;
    for (int d = 0; d < shape->ndim && *at; d++) {
        int64_t times;
        int position = lone_option(layer, at, &times);
        if (position >= 0 && layer->option[position].i == 0) {
            layer->option[position].i = shape->size[d] * times;
            layer->option[position].given = true;
        }
        at += strcspn(at, " ");
        while (*at == ' ') at++;
    }
}
