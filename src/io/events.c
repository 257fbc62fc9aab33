// events.c: see events.h. Messages are written front to back; the length of one that is over is put before
// it.
#include "io/events.h"

#include <float.h>
#include <math.h>
#include <string.h>

// ---- checksums

#define CRC32C_POLYNOMIAL 0x82f63b78u // Castagnoli's, its bits turned round

// Four bits at a time.
uint32_t nnl_crc32c(const void *data, size_t size) {
    const unsigned char *bytes = data;
    uint32_t of_nibble[16], crc = 0xffffffffu;
    for (uint32_t i = 0; i < 16; i++) {
        of_nibble[i] = i;
        for (int bit = 0; bit < 4; bit++)
            of_nibble[i] = (of_nibble[i] >> 1) ^ (of_nibble[i] & 1 ? CRC32C_POLYNOMIAL : 0);
    }
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ of_nibble[crc & 15];
        crc = (crc >> 4) ^ of_nibble[crc & 15];
    }
    return ~crc;
}

// TFRecord files keep checksums that differ from those of what they protect.
static uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

// ---- protocol buffers: a field is its number and kind, then the value

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
#define VARINT_MOST 10

static void little_endian(unsigned char *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) out[i] = (unsigned char)(value >> (8 * i));
}

static size_t varint(unsigned char out[VARINT_MOST], uint64_t value) {
    size_t length = 0;
    for (; value >= 0x80; value >>= 7) out[length++] = (unsigned char)(value | 0x80);
    out[length++] = (unsigned char)value;
    return length;
}

// The first failure stays in `status`: what is put afterwards has no effect.
typedef struct writer {
    nnl_bytes *out;
    nnl_status status;
} writer;

static void put(writer *w, const void *data, size_t size) {
    if (w->status == NNL_OK) w->status = nnl_bytes_add(w->out, data, size);
}

static void put_varint(writer *w, uint64_t value) {
    unsigned char bytes[VARINT_MOST];
    put(w, bytes, varint(bytes, value));
}

static void put_key(writer *w, uint32_t field, uint32_t kind) { put_varint(w, field << 3 | kind); }

static void put_integer(writer *w, uint32_t field, int64_t value) {
    put_key(w, field, VARINT);
    put_varint(w, (uint64_t)value);
}

static void put_raw_double(writer *w, double value) {
    uint64_t bits;
    unsigned char bytes[8];
    memcpy(&bits, &value, sizeof bits);
    little_endian(bytes, bits, 8);
    put(w, bytes, 8);
}

static void put_double(writer *w, uint32_t field, double value) {
    put_key(w, field, FIXED64);
    put_raw_double(w, value);
}

static void put_float(writer *w, uint32_t field, float value) {
    uint32_t bits;
    unsigned char bytes[4];
    memcpy(&bits, &value, sizeof bits);
    little_endian(bytes, bits, 4);
    put_key(w, field, FIXED32);
    put(w, bytes, 4);
}

static void put_bytes(writer *w, uint32_t field, const void *data, size_t size) {
    put_key(w, field, BYTES);
    put_varint(w, size);
    put(w, data, size);
}

static void put_word(writer *w, uint32_t field, const char *word) { put_bytes(w, field, word, strlen(word)); }

// A message within: returns its place, for close_message.
static size_t open_message(writer *w, uint32_t field) {
    put_key(w, field, BYTES);
    return w->out->length;
}

static void close_message(writer *w, size_t start) {
    if (w->status != NNL_OK) return;
    unsigned char length[VARINT_MOST];
    size_t size = w->out->length - start, more = varint(length, size);
    w->status = nnl_bytes_reserve(w->out, more);
    if (w->status != NNL_OK) return;
    char *message = w->out->data + start;
    memmove(message + more, message, size);
    memcpy(message, length, more);
    w->out->length += more;
}

// ---- records: length, checksum of the length, message, checksum of the message

#define HEAD 12
#define FOOT 4

// What a record and the messages around a value need to know until they are closed.
typedef struct record {
    writer w;
    size_t start, summary, value;
} record;

static void open_record(record *r, nnl_bytes *out, double time) {
    static const unsigned char head[HEAD];
    *r = (record){.w = {.out = out, .status = NNL_OK}, .start = out->length};
    put(&r->w, head, HEAD);
    put_double(&r->w, 1, time); // Event.wall_time
}

// Nothing stays of a record that failed.
static nnl_status close_record(record *r) {
    nnl_bytes *out = r->w.out;
    size_t size = out->length - r->start - HEAD;
    unsigned char foot[FOOT];
    if (r->w.status == NNL_OK)
        little_endian(foot, masked(nnl_crc32c(out->data + r->start + HEAD, size)), FOOT);
    put(&r->w, foot, FOOT);
    if (r->w.status != NNL_OK) {
        out->length = r->start;
        return r->w.status;
    }
    unsigned char *head = (unsigned char *)out->data + r->start;
    little_endian(head, size, 8);
    little_endian(head + 8, masked(nnl_crc32c(head, 8)), 4);
    return NNL_OK;
}

// A record of one named value: Event.step, Event.summary, Summary.value, Value.tag.
static void open_value(record *r, nnl_bytes *out, const nnl_event *event) {
    open_record(r, out, event->time);
    put_integer(&r->w, 2, event->step);
    r->summary = open_message(&r->w, 5);
    r->value = open_message(&r->w, 1);
    put_bytes(&r->w, 1, event->tag, event->tag_length);
}

static nnl_status close_value(record *r) {
    close_message(&r->w, r->value);
    close_message(&r->w, r->summary);
    return close_record(r);
}

nnl_status nnl_event_version(nnl_bytes *out, double time) {
    record r;
    open_record(&r, out, time);
    put_word(&r.w, 3, "brain.Event:2"); // Event.file_version
    return close_record(&r);
}

nnl_status nnl_event_scalar(nnl_bytes *out, const nnl_event *event, double value) {
    record r;
    open_value(&r, out, event);
    put_float(&r.w, 2, (float)value); // Value.simple_value
    return close_value(&r);
}

nnl_status nnl_event_image(nnl_bytes *out, const nnl_event *event, const nnl_event_picture *picture) {
    record r;
    open_value(&r, out, event);
    size_t image = open_message(&r.w, 4); // Value.image
    put_integer(&r.w, 1, picture->height);
    put_integer(&r.w, 2, picture->width);
    put_integer(&r.w, 3, picture->channels); // Image.colorspace: 1 gray, 2 with alpha, 3 RGB, 4 with alpha
    put_bytes(&r.w, 4, picture->png, picture->size);
    close_message(&r.w, image);
    return close_value(&r);
}

nnl_status nnl_event_text(nnl_bytes *out, const nnl_event *event, const char *text, size_t length) {
    record r;
    open_value(&r, out, event);
    size_t metadata = open_message(&r.w, 9); // Value.metadata
    size_t plugin = open_message(&r.w, 1);
    put_word(&r.w, 1, "text");
    close_message(&r.w, plugin);
    close_message(&r.w, metadata);
    size_t tensor = open_message(&r.w, 8); // Value.tensor
    put_integer(&r.w, 1, 7);               // TensorProto.dtype: DT_STRING
    size_t shape = open_message(&r.w, 2);
    size_t dim = open_message(&r.w, 2);
    put_integer(&r.w, 1, 1);
    close_message(&r.w, dim);
    close_message(&r.w, shape);
    put_bytes(&r.w, 8, text, length); // TensorProto.string_val
    close_message(&r.w, tensor);
    return close_value(&r);
}

// ---- histograms

#define SMALLEST_LIMIT 1e-12
#define LARGEST_LIMIT 1e20
#define LIMITS_MOST 1600

typedef struct histogram {
    int count; // of limits: -DBL_MAX, ..., -1e-12, 0, 1e-12, ..., DBL_MAX
    double limits[LIMITS_MOST], buckets[LIMITS_MOST];
    double number, min, max, sum, squares;
} histogram;

static void histogram_init(histogram *h) {
    double positive[LIMITS_MOST / 2];
    int count = 0;
    for (double limit = SMALLEST_LIMIT; limit < LARGEST_LIMIT; limit *= 1.1) positive[count++] = limit;
    positive[count++] = DBL_MAX;
    *h = (histogram){.count = 2 * count + 1, .min = INFINITY, .max = -INFINITY};
    for (int i = 0; i < count; i++) {
        h->limits[count - 1 - i] = -positive[i];
        h->limits[count + 1 + i] = positive[i];
    }
}

// The first limit above a number is that of its bucket.
static int bucket_of(const histogram *h, double value) {
    int low = 0, high = h->count - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (h->limits[middle] > value)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void histogram_add(histogram *h, double value) {
    h->buckets[bucket_of(h, value)]++;
    h->number++;
    h->min = fmin(h->min, value);
    h->max = fmax(h->max, value);
    h->sum += value;
    h->squares += value * value;
}

static void put_doubles(writer *w, uint32_t field, const double *values, int count) {
    size_t start = open_message(w, field);
    for (int i = 0; i < count; i++) put_raw_double(w, values[i]);
    close_message(w, start);
}

// From the empty bucket below the first that is not, whose limit is where that begins, to the last.
static void put_histogram(writer *w, const histogram *h) {
    int first = 0, last = h->count - 1;
    while (h->buckets[first] == 0) first++;
    while (h->buckets[last] == 0) last--;
    if (first > 0) first--;
    const double facts[] = {h->min, h->max, h->number, h->sum, h->squares};
    for (uint32_t i = 0; i < 5; i++) put_double(w, i + 1, facts[i]);
    put_doubles(w, 6, h->limits + first, last - first + 1);
    put_doubles(w, 7, h->buckets + first, last - first + 1);
}

nnl_status nnl_event_histogram(nnl_bytes *out, const nnl_event *event, const double *values, size_t count) {
    histogram h;
    histogram_init(&h);
    for (size_t i = 0; i < count; i++) {
        if (isfinite(values[i])) histogram_add(&h, values[i]);
    }
    if (h.number == 0)
        return nnl_fail(out->ctx, NNL_ERR_ARGUMENT, "a histogram needs at least one finite number");
    record r;
    open_value(&r, out, event);
    size_t histo = open_message(&r.w, 5); // Value.histo
    put_histogram(&r.w, &h);
    close_message(&r.w, histo);
    return close_value(&r);
}
