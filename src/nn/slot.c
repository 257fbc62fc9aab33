// slot.c: the slots of a layer by position: their names, and the expressions that declare their shapes.
#include "nn/slot.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define NAME_ROOM 48

// The declared slots of a class, which every copy has.
static int declared_slots(const nnl_layer_class *class) {
    int count = 0;
    while (count < NNL_MAX_SLOTS && class->slots[count].name) count++;
    return count;
}

static int copy_of(const nnl_layer *layer, int position) { return position / declared_slots(layer->class); }

int nnl_slot_count(const nnl_layer *layer) {
    const nnl_copies *copies = layer->class->copies;
    return declared_slots(layer->class) * (copies ? copies->count(layer) : 1);
}

const nnl_slot *nnl_layer_slot_at(const nnl_layer *layer, int position) {
    return &layer->class->slots[position % declared_slots(layer->class)];
}

const char *nnl_layer_slot_name(const nnl_layer *layer, int position, char name[NNL_SLOT_NAME]) {
    const nnl_slot *slot = nnl_layer_slot_at(layer, position);
    if (!layer->class->copies) return slot->name;
    layer->class->copies->name(layer, slot->name, copy_of(layer, position), name);
    return name;
}

// ---- sizes. A reader goes through the expressions of one slot's shape.

typedef struct reader {
    const nnl_layer *layer;
    int copy;
    const char *at;
} reader;

static reader reader_of(const nnl_layer *layer, int position) {
    return (reader){layer, copy_of(layer, position), nnl_layer_slot_at(layer, position)->shape};
}

// What the slot's copy sees of an integer option.
static int64_t seen(const reader *r, int option) {
    const nnl_copies *copies = r->layer->class->copies;
    return copies && copies->size ? copies->size(r->layer, r->copy, option) : r->layer->option[option].i;
}

static bool in_name(char c) { return isalnum((unsigned char)c) || c == '_'; }

// The name where the reader stands, behind which it then stands.
static void read_name(reader *r, char name[NAME_ROOM]) {
    size_t n = 0;
    while (in_name(r->at[n]) && n + 1 < NAME_ROOM) n++;
    memcpy(name, r->at, n);
    name[n] = 0;
    r->at += n;
}

// All the options that `when` names are on.
static bool is_wanted(const nnl_layer *layer, const char *when) {
    reader r = {.layer = layer, .at = when ? when : ""};
    while (*r.at) {
        char name[NAME_ROOM];
        read_name(&r, name);
        const nnl_option_value *value = nnl_layer_option(layer, name);
        if (!value || value->i == 0) return false;
        while (*r.at == ' ') r.at++;
    }
    return true;
}

bool nnl_layer_has_slot(const nnl_layer *layer, int position) {
    const nnl_slot *slot = nnl_layer_slot_at(layer, position);
    if (!is_wanted(layer, slot->when)) return false;
    return !layer->class->has || layer->class->has(layer, (int)(slot - layer->class->slots));
}

// A number, an option, or an element of one.
static int64_t read_factor(reader *r) {
    if (isdigit((unsigned char)*r->at)) {
        char *end;
        int64_t number = strtoll(r->at, &end, 10);
        r->at = end;
        return number;
    }
    char name[NAME_ROOM];
    int option = -1;
    read_name(r, name);
    bool known = nnl_option_named(r->layer->class->options, name, &option) != NULL;
    if (*r->at != '[') return known ? seen(r, option) : 0;
    int64_t k = r->at[1] - '0';
    r->at += 3;
    return known && k >= 0 && k < NNL_OPTION_LIST ? r->layer->option[option].ints[k] : 0;
}

// A product too large for any tensor stays as large as a number can be.
static int64_t times(int64_t a, int64_t b) {
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

// Factors with * or / between them.
static int64_t read_size(reader *r) {
    int64_t size = read_factor(r);
    while (*r->at == '*' || *r->at == '/') {
        char operation = *r->at++;
        int64_t factor = read_factor(r);
        size = operation == '*' ? times(size, factor) : factor > 0 ? size / factor : 0;
    }
    return size;
}

// "name[*]": all that the option's list holds, as sizes of their own. False where something else stands
// there.
static bool read_list(reader *r, nnl_shape *shape) {
    reader ahead = *r;
    char name[NAME_ROOM];
    read_name(&ahead, name);
    if (strncmp(ahead.at, "[*]", 3) != 0) return false;
    const nnl_option_value *value = nnl_layer_option(r->layer, name);
    for (int k = 0; value && k < value->count && shape->ndim < NNL_MAX_DIMS; k++)
        shape->size[shape->ndim++] = value->ints[k];
    r->at = ahead.at + 3;
    return true;
}

bool nnl_slot_shape(const nnl_layer *layer, int position, nnl_shape *shape) {
    bool known = true;
    reader r = reader_of(layer, position);
    shape->ndim = 0;
    while (*r.at && shape->ndim < NNL_MAX_DIMS) {
        if (read_list(&r, shape)) continue;
        int64_t size = read_size(&r);
        if (size < 1) known = false;
        shape->size[shape->ndim++] = size < 1 ? 0 : size;
        while (*r.at == ' ') r.at++;
    }
    return known;
}

// The option that is all there is between here and the next space, or is divided by another there, whose
// value goes into *divisor; -1 where that is something else.
static int lone_option(reader r, int64_t *divisor) {
    char name[NAME_ROOM];
    int option = -1;
    read_name(&r, name);
    *divisor = 1;
    if (*r.at == '/') {
        r.at++;
        *divisor = read_factor(&r);
    }
    if (*r.at != ' ' && *r.at != 0) return -1;
    return nnl_option_named(r.layer->class->options, name, &option) ? option : -1;
}

void nnl_slot_close(nnl_layer *layer, int position, const nnl_shape *shape) {
    reader r = reader_of(layer, position);
    for (int d = 0; d < shape->ndim && *r.at; d++) {
        int64_t divisor;
        int option = lone_option(r, &divisor);
        if (option >= 0 && layer->option[option].i == 0 && seen(&r, option) == 0) {
            layer->option[option].i = shape->size[d] * divisor;
            layer->option[option].given = true;
        }
        r.at += strcspn(r.at, " ");
        while (*r.at == ' ') r.at++;
    }
}
