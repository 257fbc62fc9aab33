// jpeg.c: JPEG through libjpeg-turbo. Its function for errors must not return, so all calls run within a
// guard (guard.h). libjpeg takes its memory from malloc and gives it back in jpeg_destroy.
#include "io/pixels.h"

#ifndef NNL_HAVE_JPEG

static nnl_status missing(nnl_context *ctx) {
    return nnl_fail(ctx, NNL_ERR_STATE,
                    "nnlua was built without JPEG; install libjpeg (on Debian and Ubuntu: apt-get install "
                    "libjpeg-dev) and build it again");
}

nnl_status nnl_jpeg_decode(nnl_sink *sink, const void *data, size_t size) {
    (void)data, (void)size;
    return missing(sink->ctx);
}

nnl_status nnl_jpeg_encode(nnl_context *ctx, const nnl_rows *rows, int quality, nnl_bytes *out) {
    (void)rows, (void)quality, (void)out;
    return missing(ctx);
}

#else

#include "io/guard.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h> // knows of arithmetic codes once the header above is there

// Huffman's codes have a bit at least, and one code of the first scan stands for a block of 8 x 8 pixels.
#define PIXELS_A_BYTE 512
// A progressive file may go through the picture again and again: no encoder needs as many scans.
#define MAX_SCANS 500
#define CHUNK 16384

typedef struct jpeg_work {
    struct jpeg_error_mgr errors; // first: libjpeg hands this to the functions below
    nnl_context *ctx;
    nnl_guard *guard;
    void *row;

    nnl_sink *sink; // reading
    struct jpeg_decompress_struct in;
    struct jpeg_progress_mgr progress;
    const unsigned char *data;
    size_t size;
    bool begun; // the sink has its first row

    const nnl_rows *source; // writing
    struct jpeg_compress_struct to;
    struct jpeg_destination_mgr destination;
    nnl_bytes *out;
    int quality;
    unsigned char chunk[CHUNK];
} jpeg_work;

static jpeg_work *work_of(j_common_ptr lib) { return (jpeg_work *)(void *)lib->err; }

_Noreturn static void leave(j_common_ptr lib) {
    jpeg_work *work = work_of(lib);
    char message[JMSG_LENGTH_MAX];
    lib->err->format_message(lib, message);
    bool memory = lib->err->msg_code == JERR_OUT_OF_MEMORY;
    nnl_fail(work->ctx, memory ? NNL_ERR_MEMORY : NNL_ERR_IO, "%sJPEG: %.200s",
             memory ? "out of memory: " : "", message);
    nnl_guard_leave(work->guard);
}

_Noreturn static void leave_saying(const jpeg_work *work, const char *message) {
    nnl_fail(work->ctx, NNL_ERR_IO, "JPEG: %s", message);
    nnl_guard_leave(work->guard);
}

// libjpeg only warns of damaged data, and guesses pixels. What it can put right without a guess is let pass.
static void hear(j_common_ptr lib, int level) {
    jpeg_work *work = work_of(lib);
    if (level >= 0 || (work->sink && work->sink->options->truncated)) return;
    switch (lib->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
        leave_saying(work, "the file ends early");
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_MUST_RESYNC:
        leave(lib);
    default:
        break;
    }
}

static void say_nothing(j_common_ptr lib) { (void)lib; }

static void *take_row(jpeg_work *work, size_t size) {
    work->row = nnl_alloc(&work->ctx->allocator, size);
    if (work->row) return work->row;
    nnl_fail(work->ctx, NNL_ERR_MEMORY, "out of memory: no room for a row of pixels");
    nnl_guard_leave(work->guard);
}

static struct jpeg_error_mgr *errors_of(jpeg_work *work) {
    jpeg_std_error(&work->errors);
    work->errors.error_exit = leave;
    work->errors.emit_message = hear;
    work->errors.output_message = say_nothing;
    return &work->errors;
}

// ---- reading

static void count_scans(j_common_ptr lib) {
    if (lib->is_decompressor && ((j_decompress_ptr)(void *)lib)->input_scan_number > MAX_SCANS)
        leave_saying(work_of(lib), "too many scans");
}

static int orientation(const jpeg_work *work) {
    static const char head[6] = "Exif\0";
    for (jpeg_saved_marker_ptr m = work->in.marker_list; m; m = m->next) {
        if (m->data_length > sizeof head && memcmp(m->data, head, sizeof head) == 0)
            return nnl_exif_orientation(m->data + sizeof head, m->data_length - sizeof head);
    }
    return 1;
}

// A few bytes cannot hold a large picture: what they claim is refused before memory is taken for it. (The
// other coding, arithmetic, has no such bound, and is met nowhere.)
static void check_claim(const jpeg_work *work) {
    uint64_t pixels = (uint64_t)work->in.image_width * work->in.image_height;
    if (pixels / PIXELS_A_BYTE <= work->size || work->in.arith_code || work->sink->options->truncated) return;
    leave_saying(work, "too few bytes for a picture of this size");
}

static bool has_four_inks(const jpeg_work *work) {
    return work->in.jpeg_color_space == JCS_CMYK || work->in.jpeg_color_space == JCS_YCCK;
}

static void ask_for_channels(jpeg_work *work) {
    if (work->in.jpeg_color_space == JCS_GRAYSCALE)
        work->in.out_color_space = JCS_GRAYSCALE;
    else
        work->in.out_color_space = has_four_inks(work) ? JCS_CMYK : JCS_RGB;
}

// In place. Adobe's files hold the light that is left, not the ink.
static void inks_to_light(const jpeg_work *work, unsigned char *row) {
    bool inverted = work->in.saw_Adobe_marker;
    const unsigned char *from = row;
    for (JDIMENSION x = 0; x < work->in.output_width; x++, from += 4, row += 3) {
        unsigned light = inverted ? from[3] : 255u - from[3];
        for (int c = 0; c < 3; c++) {
            unsigned part = (inverted ? 255u - from[c] : from[c]) * light + 128;
            row[c] = (unsigned char)(light - ((part + (part >> 8)) >> 8));
        }
    }
}

static void read_rows(jpeg_work *work) {
    JSAMPROW row = take_row(work, (size_t)work->in.output_width * (size_t)work->in.output_components);
    while (work->in.output_scanline < work->in.output_height) {
        int64_t y = work->in.output_scanline;
        jpeg_read_scanlines(&work->in, &row, 1);
        if (has_four_inks(work)) inks_to_light(work, row);
        nnl_sink_row(work->sink, y, row);
    }
}

static void read_picture(nnl_guard *guard, void *arg) {
    jpeg_work *work = arg;
    work->guard = guard;
    work->in.err = errors_of(work);
    jpeg_create_decompress(&work->in);
    work->progress.progress_monitor = count_scans;
    work->in.progress = &work->progress;
    jpeg_mem_src(&work->in, work->data, (unsigned long)work->size);
    jpeg_save_markers(&work->in, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&work->in, TRUE);
    check_claim(work);
    ask_for_channels(work);
    int channels = work->in.out_color_space == JCS_GRAYSCALE ? 1 : 3;
    nnl_status status = nnl_sink_open(work->sink, work->in.image_width, work->in.image_height, channels,
                                      false, orientation(work));
    if (status != NNL_OK) nnl_guard_leave(guard);
    work->begun = true;
    jpeg_start_decompress(&work->in);
    read_rows(work);
    jpeg_finish_decompress(&work->in);
}

nnl_status nnl_jpeg_decode(nnl_sink *sink, const void *data, size_t size) {
    jpeg_work work = {.ctx = sink->ctx, .sink = sink, .data = data, .size = size};
    bool whole = nnl_guard_run(read_picture, &work);
    jpeg_destroy_decompress(&work.in);
    nnl_free(&work.ctx->allocator, work.row);
    bool some = work.begun && sink->options->truncated && sink->ctx->status == NNL_ERR_IO;
    return whole || some ? NNL_OK : sink->ctx->status;
}

// ---- writing

static void begin_chunk(j_compress_ptr to) {
    jpeg_work *work = work_of((j_common_ptr)to);
    work->destination.next_output_byte = work->chunk;
    work->destination.free_in_buffer = sizeof work->chunk;
}

static void keep_chunk(jpeg_work *work, size_t size) {
    if (nnl_bytes_add(work->out, work->chunk, size) != NNL_OK) nnl_guard_leave(work->guard);
}

static boolean next_chunk(j_compress_ptr to) {
    keep_chunk(work_of((j_common_ptr)to), CHUNK);
    begin_chunk(to);
    return TRUE;
}

static void last_chunk(j_compress_ptr to) {
    jpeg_work *work = work_of((j_common_ptr)to);
    keep_chunk(work, CHUNK - work->destination.free_in_buffer);
}

static void write_picture(nnl_guard *guard, void *arg) {
    jpeg_work *work = arg;
    const nnl_rows *rows = work->source;
    work->guard = guard;
    work->to.err = errors_of(work);
    jpeg_create_compress(&work->to);
    work->destination = (struct jpeg_destination_mgr){
        .init_destination = begin_chunk, .empty_output_buffer = next_chunk, .term_destination = last_chunk};
    work->to.dest = &work->destination;
    work->to.image_width = (JDIMENSION)rows->width;
    work->to.image_height = (JDIMENSION)rows->height;
    work->to.input_components = rows->channels;
    work->to.in_color_space = rows->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&work->to);
    jpeg_set_quality(&work->to, work->quality, TRUE);
    work->to.optimize_coding = TRUE;
    jpeg_start_compress(&work->to, TRUE);
    JSAMPROW row = take_row(work, (size_t)rows->width * (size_t)rows->channels);
    for (int64_t y = 0; y < rows->height; y++) {
        nnl_rows_get(rows, y, row);
        jpeg_write_scanlines(&work->to, &row, 1);
    }
    jpeg_finish_compress(&work->to);
}

static nnl_status check_rows(nnl_context *ctx, const nnl_rows *rows) {
    if (rows->channels != 1 && rows->channels != 3) {
        return nnl_fail(
            ctx, NNL_ERR_SHAPE,
            "a JPEG has 1 or 3 channels, and no alpha; got %d: leave the alpha out, or write a PNG",
            rows->channels);
    }
    if (rows->width <= JPEG_MAX_DIMENSION && rows->height <= JPEG_MAX_DIMENSION) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE,
                    "a JPEG has at most %ld pixels on a side, got %lld x %lld: write a PNG",
                    JPEG_MAX_DIMENSION, (long long)rows->width, (long long)rows->height);
}

nnl_status nnl_jpeg_encode(nnl_context *ctx, const nnl_rows *rows, int quality, nnl_bytes *out) {
    if (check_rows(ctx, rows) != NNL_OK) return ctx->status;
    jpeg_work work = {.ctx = ctx, .source = rows, .out = out, .quality = quality};
    bool whole = nnl_guard_run(write_picture, &work);
    jpeg_destroy_compress(&work.to);
    nnl_free(&ctx->allocator, work.row);
    return whole ? NNL_OK : ctx->status;
}

#endif
