// data.c: files of data from elsewhere: IDX, .npy, .npz, gzip, sound.
#include "io/csv.h"
#include "io/idx.h"
#include "io/npy.h"
#include "io/sound.h"
#include "io/zip.h"
#include "readers.h"

#include <string.h>

static nnl_status let_go(nnl_context *ctx, nnl_tensor *t) {
    nnl_tensor_release(t);
    return t ? NNL_OK : ctx->status;
}

static bool add(nnl_bytes *out, const void *data, size_t size) {
    return nnl_bytes_add(out, data, size) == NNL_OK;
}

// ---- IDX, plain and in gzip

static bool make_idx(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const char bytes[] = "\0\0\10\2\0\0\0\3\0\0\0\2abcdef", shorts[] = "\0\0\13\1\0\0\0\3abcdef",
                      doubles[] = "\0\0\16\0abcdefgh";
    (void)ctx;
    if (variant == 0) return add(out, bytes, sizeof bytes - 1);
    if (variant == 1) return add(out, shorts, sizeof shorts - 1);
    return variant == 2 && add(out, doubles, sizeof doubles - 1);
}

static nnl_status read_idx(nnl_context *ctx, const char *data, size_t size) {
    return let_go(ctx, nnl_idx_parse(ctx, data, size));
}

#ifdef NNL_HAVE_ZLIB

// A matrix of the letters a to d, (4, 5), as gzip writes it; and one of 100,000 zeros, which is much larger
// plain.
static bool make_gzip(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const unsigned char letters[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03,
                                            0x63, 0x60, 0xe0, 0x60, 0x62, 0x60, 0x60, 0x60, 0x01, 0x62,
                                            0xd6, 0xc4, 0xa4, 0xe4, 0x94, 0xa4, 0xc4, 0x94, 0xe4, 0xc4,
                                            0x24, 0x10, 0x4e, 0x4e, 0x49, 0x49, 0x4e, 0x4a, 0x04, 0x00,
                                            0xb1, 0x8c, 0xc6, 0xdd, 0x20, 0x00, 0x00, 0x00},
                               zeros[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xed,
                                          0xc1, 0x31, 0x01, 0x00, 0x00, 0x08, 0x03, 0xa0, 0xf9, 0x99, 0xdc,
                                          0x1c, 0x46, 0xb5, 0x86, 0x07, 0x90, 0x74, 0xa5, 0x66, 0x03, 0x00,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xbc, 0x75, 0xe9, 0x86,
                                          0x5b, 0x53, 0xa8, 0x86, 0x01, 0x00};
    (void)ctx;
    if (variant == 0) return add(out, letters, sizeof letters);
    return variant == 1 && add(out, zeros, sizeof zeros);
}

// As IDX and as the text of a table.
static nnl_status read_gzip(nnl_context *ctx, const char *data, size_t size) {
    nnl_source source;
    nnl_bytes all = {.ctx = ctx};
    if (nnl_source_open(&source, ctx, data, size, NNL_GZIP) == NNL_OK) {
        nnl_source_rest(&source, &all);
        nnl_source_close(&source);
    }
    nnl_bytes_free(&all);
    return let_go(ctx, nnl_idx_parse(ctx, data, size));
}

#endif

// ---- NumPy's

static bool make_npy(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const char *const headers[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n",
        "{'descr': '>i2', 'fortran_order': True, 'shape': (3, 4), }\n",
        "{'descr': '|b1', 'fortran_order': False, 'shape': (24,), }\n",
        "{'descr': '<u8', 'fortran_order': False, 'shape': (1,1,3), }\n",
    };
    static const char data[24];
    (void)ctx;
    if (variant >= 4) return false;
    size_t length = strlen(headers[variant]);
    const char start[] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, (char)length, 0};
    return add(out, start, sizeof start) && add(out, headers[variant], length) && add(out, data, sizeof data);
}

static nnl_status read_npy(nnl_context *ctx, const char *data, size_t size) {
    return let_go(ctx, nnl_npy_parse(ctx, data, size));
}

static void put(char *to, size_t value, int bytes) {
    for (int i = 0; i < bytes; i++) to[i] = (char)(value >> (8 * i) & 0xff);
}

// One stored array: its header, it, the directory of one entry, the end.
static bool make_npz(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const char name[] = "x.npy";
    char local[30] = "PK\3\4\24", entry[46] = "PK\1\2\24\0\24", end[22] = "PK\5\6";
    nnl_bytes array = {.ctx = ctx};
    if (variant >= 2 || !make_npy(ctx, variant, &array)) return false;
    uint32_t sum = nnl_crc32(0, array.data, array.length);
    for (int i = 0; i < 2; i++) {
        char *at = i ? entry + 16 : local + 14;
        put(at, sum, 4);
        put(at + 4, array.length, 4);
        put(at + 8, array.length, 4);
        put(at + 12, 5, 2);
    }
    put(end + 8, 1, 2);
    put(end + 10, 1, 2);
    put(end + 12, sizeof entry + 5, 4);
    put(end + 16, sizeof local + 5 + array.length, 4);
    bool whole = add(out, local, sizeof local) && add(out, name, 5) && add(out, array.data, array.length) &&
                 add(out, entry, sizeof entry) && add(out, name, 5) && add(out, end, sizeof end);
    nnl_bytes_free(&array);
    return whole;
}

static nnl_status read_npz(nnl_context *ctx, const char *data, size_t size) {
    nnl_safetensors set;
    nnl_status status = nnl_npz_parse(ctx, data, size, &set);
    if (status == NNL_OK) nnl_safetensors_free(&set);
    return status;
}

// The checksum of the entry at the front, where its sizes still make sense.
static void mend_npz(char *data, size_t size) {
    if (size < 200) return;
    uint32_t sum = nnl_crc32(0, data + 35, size - 35 - 46 - 5 - 22);
    put(data + size - 22 - 51 + 16, sum, 4);
}

// ---- sound

#ifdef NNL_HAVE_SNDFILE

static bool make_sound(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const char wav[] =
        "RIFF\104\0\0\0WAVEfmt \20\0\0\0\1\0\2\0\100\37\0\0\0\175\0\0\4\0\20\0data\40\0\0\0"
        "abcdefghijklmnopqrstuvwxyz012345";
    static const unsigned char flac[] = {
        0x66, 0x4c, 0x61, 0x43, 0x00, 0x00, 0x00, 0x22, 0x10, 0x00, 0x10, 0x00, 0x00, 0x00, 0x39, 0x00,
        0x00, 0x39, 0x01, 0xf4, 0x00, 0xf0, 0x00, 0x00, 0x00, 0x28, 0x38, 0xbe, 0x8c, 0xe1, 0xa6, 0x46,
        0x49, 0x99, 0xbe, 0x23, 0xb0, 0x38, 0x0d, 0x12, 0xca, 0x0a, 0x84, 0x00, 0x00, 0x28, 0x20, 0x00,
        0x00, 0x00, 0x72, 0x65, 0x66, 0x65, 0x72, 0x65, 0x6e, 0x63, 0x65, 0x20, 0x6c, 0x69, 0x62, 0x46,
        0x4c, 0x41, 0x43, 0x20, 0x31, 0x2e, 0x34, 0x2e, 0x32, 0x20, 0x32, 0x30, 0x32, 0x32, 0x31, 0x30,
        0x32, 0x32, 0x00, 0x00, 0x00, 0x00, 0xff, 0xf8, 0x64, 0x08, 0x00, 0x27, 0x16, 0x46, 0x0f, 0x21,
        0x1c, 0xe9, 0x28, 0x1b, 0x2f, 0xb8, 0xb4, 0x1b, 0x1d, 0xac, 0x18, 0x8f, 0x96, 0x00, 0xaa, 0xba,
        0xaa, 0x9d, 0xd6, 0xb3, 0x6e, 0x46, 0xc5, 0x9f, 0xb9, 0xc9, 0xa2, 0x66, 0x04, 0x0f, 0x9e, 0x3a,
        0x50, 0x82, 0x28, 0x51, 0xa7, 0x66, 0xfd, 0xdb, 0x95, 0x68, 0x6b, 0x8b, 0x20, 0xbc, 0xd2};
    (void)ctx;
    if (variant == 0) return add(out, wav, sizeof wav - 1);
    return variant == 1 && add(out, flac, sizeof flac);
}

static nnl_status read_sound(nnl_context *ctx, const char *data, size_t size) {
    int rate;
    float samples[64];
    char message[NNL_SOUND_MESSAGE];
    nnl_sound_decode(data, size, true, samples, 64, message);
    return let_go(ctx, nnl_sound_parse(ctx, data, size, false, &rate));
}

#endif

const fuzz_reader fuzz_data[] = {
    {.name = "IDX", .words = "\10\13\16", .suffix = ".idx", .make = make_idx, .read = read_idx, .ends = true},
    {.name = ".npy",
     .words = "<>|fiub0123(),':LT",
     .suffix = ".npy",
     .make = make_npy,
     .read = read_npy,
     .ends = true},
    {.name = ".npz",
     .words = "PK\1\2\3\4\5\6\10",
     .suffix = ".npz",
     .make = make_npz,
     .read = read_npz,
     .mend = mend_npz,
     .ends = true},
#ifdef NNL_HAVE_ZLIB
    {.name = "gzip",
     .words = "\37\213\10\1\4",
     .suffix = ".gz",
     .make = make_gzip,
     .read = read_gzip,
     .ends = true,
     .rounds = 20000},
#endif
#ifdef NNL_HAVE_SNDFILE
    {.name = "sound",
     .words = "RIFFdataOggS\1\2\3",
     .suffix = ".wav .flac",
     .make = make_sound,
     .read = read_sound,
     .rounds = 10000},
#endif
    // No .ogg above: libsndfile 1.2.0 itself loses some 6 kB for each damaged one (a vorbis_info).
    {.name = NULL},
};
