// png.c: PNG through libpng. Its functions for errors must not return, so all calls run within a guard
// (guard.h); what they take of memory comes from the context, and is given back outside of the guard.
#include "io/pixels.h"

#ifndef NNL_HAVE_PNG

static nnl_status missing(nnl_context *ctx) {
    return nnl_fail(ctx, NNL_ERR_STATE,
                    "nnlua was built without PNG; install libpng (on Debian and Ubuntu: apt-get install "
                    "libpng-dev) and build it again");
}

nnl_status nnl_png_decode(nnl_sink *sink, const void *data, size_t size) {
    (void)data, (void)size;
    return missing(sink->ctx);
}

nnl_status nnl_png_encode(nnl_context *ctx, const nnl_rows *rows, int level, nnl_bytes *out) {
    (void)rows, (void)level, (void)out;
    return missing(ctx);
}

#else

#include "io/guard.h"

#include <png.h>
#include <string.h>

// Deflate's most: 258 bytes out of two bits, less the overhead.
#define MAX_RATIO 1032
// What libpng needs before it comes to pixels, apart from what it copies of the file.
#define HEADER_MEMORY 65536

typedef struct png_work {
    nnl_context *ctx;
    nnl_guard *guard;
    png_structp png;
    png_infop info;
    bool exhausted; // the context had no memory for libpng
    void *rows;     // one, or all of an interlaced picture

    nnl_sink *sink; // reading
    const unsigned char *data;
    size_t size, at;
    size_t most; // that libpng may take at once; 0 for no limit
    bool begun;  // the sink has its first row

    const nnl_rows *source; // writing
    nnl_bytes *out;
    int level;
} png_work;

static png_voidp take(png_structp png, png_alloc_size_t size) {
    png_work *work = png_get_mem_ptr(png);
    if (work->most > 0 && size > work->most) return NULL;
    void *memory = nnl_alloc(&work->ctx->allocator, size);
    if (!memory) work->exhausted = true;
    return memory;
}

static void give(png_structp png, png_voidp memory) {
    png_work *work = png_get_mem_ptr(png);
    nnl_free(&work->ctx->allocator, memory);
}

_Noreturn static void leave(png_structp png, png_const_charp message) {
    png_work *work = png_get_error_ptr(png);
    if (work->exhausted)
        nnl_fail(work->ctx, NNL_ERR_MEMORY, "out of memory: PNG: %.200s", message);
    else
        nnl_fail(work->ctx, NNL_ERR_IO, "PNG: %.200s", message);
    nnl_guard_leave(work->guard);
}

static void ignore(png_structp png, png_const_charp message) { (void)png, (void)message; }

// For failures that the context knows already.
_Noreturn static void leave_with_error(const png_work *work) { nnl_guard_leave(work->guard); }

static void *take_rows(png_work *work, size_t size) {
    work->rows = nnl_alloc(&work->ctx->allocator, size);
    if (work->rows) return work->rows;
    nnl_fail(work->ctx, NNL_ERR_MEMORY, "out of memory: %zu bytes wanted for pixels", size);
    leave_with_error(work);
}

static void no_memory(const png_work *work) {
    nnl_fail(work->ctx, NNL_ERR_MEMORY, "out of memory: no room for libpng");
    leave_with_error(work);
}

// ---- reading

static void read_bytes(png_structp png, png_bytep out, size_t size) {
    png_work *work = png_get_io_ptr(png);
    size_t left = work->size - work->at, some = size < left ? size : left;
    if (some < size && (some == 0 || !work->sink->options->truncated)) png_error(png, "the file ends early");
    memcpy(out, work->data + work->at, some);
    memset(out + some, 0, size - some); // of a cut off piece that is asked for as a whole
    work->at += some;
}

// Texts and colour profiles are not looked at, so they need no memory either.
static void skip_texts(png_structp png) {
    static const png_byte names[] = "iCCP\0tEXt\0zTXt\0iTXt\0sPLT\0hIST";
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, names, (int)(sizeof names / 5));
}

static int orientation(const png_work *work) {
#ifdef PNG_eXIf_SUPPORTED
    png_uint_32 size = 0;
    png_bytep data = NULL;
    if (png_get_eXIf_1(work->png, work->info, &size, &data)) return nnl_exif_orientation(data, size);
#endif
    return 1;
}

// A few bytes cannot hold a large picture: what they claim is refused before memory is taken for it.
static void check_claim(const png_work *work) {
    nnl_status status = nnl_sink_check(work->sink, png_get_image_width(work->png, work->info),
                                       png_get_image_height(work->png, work->info));
    if (status != NNL_OK) leave_with_error(work);
    uint64_t row = png_get_rowbytes(work->png, work->info);
    uint64_t height = png_get_image_height(work->png, work->info);
    if (height <= ((uint64_t)work->size + 64) * MAX_RATIO / (row + 1)) return;
    if (work->sink->options->truncated) return;
    png_error(work->png, "too few bytes for a picture of this size");
}

// Every form of pixels becomes 1 to 4 channels of 8 or 16 bits.
static void ask_for_channels(const png_work *work) {
    const uint16_t one = 1;
    png_set_expand(work->png);
    if (work->sink->options->dtype == NNL_UINT8)
        png_set_scale_16(work->png);
    else if (*(const uint8_t *)&one == 1)
        png_set_swap(work->png);
}

static void open_sink(png_work *work) {
    png_structp png = work->png;
    png_infop info = work->info;
    nnl_status status =
        nnl_sink_open(work->sink, png_get_image_width(png, info), png_get_image_height(png, info),
                      png_get_channels(png, info), png_get_bit_depth(png, info) == 16, orientation(work));
    if (status != NNL_OK) leave_with_error(work);
    work->begun = true;
}

// The rows of an interlaced picture come several times, each time with more of their pixels.
static void read_interlaced(png_work *work, int passes) {
    size_t row = png_get_rowbytes(work->png, work->info);
    int64_t height = png_get_image_height(work->png, work->info);
    char *rows = take_rows(work, row * (size_t)height);
    memset(rows, 0, row * (size_t)height);
    for (int pass = 0; pass < passes; pass++) {
        for (int64_t y = 0; y < height; y++) png_read_row(work->png, (png_bytep)rows + (size_t)y * row, NULL);
    }
    for (int64_t y = 0; y < height; y++) nnl_sink_row(work->sink, y, rows + (size_t)y * row);
}

static void read_plain(png_work *work) {
    int64_t height = png_get_image_height(work->png, work->info);
    void *row = take_rows(work, png_get_rowbytes(work->png, work->info));
    for (int64_t y = 0; y < height; y++) {
        png_read_row(work->png, row, NULL);
        nnl_sink_row(work->sink, y, row);
    }
}

static void read_picture(nnl_guard *guard, void *arg) {
    png_work *work = arg;
    work->guard = guard;
    work->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, work, leave, ignore, work, take, give);
    if (!work->png) no_memory(work);
    work->info = png_create_info_struct(work->png);
    if (!work->info) no_memory(work);
    png_set_read_fn(work->png, work, read_bytes);
    png_set_user_limits(work->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    skip_texts(work->png);
    work->most = work->size + HEADER_MEMORY; // a chunk may claim any length
    png_read_info(work->png, work->info);
    work->most = 0;
    check_claim(work);
    ask_for_channels(work);
    int passes = png_set_interlace_handling(work->png);
    png_read_update_info(work->png, work->info);
    open_sink(work);
    if (passes > 1)
        read_interlaced(work, passes);
    else
        read_plain(work);
    png_read_end(work->png, NULL);
}

nnl_status nnl_png_decode(nnl_sink *sink, const void *data, size_t size) {
    png_work work = {.ctx = sink->ctx, .sink = sink, .data = data, .size = size};
    bool whole = nnl_guard_run(read_picture, &work);
    if (work.png) png_destroy_read_struct(&work.png, &work.info, NULL);
    nnl_free(&work.ctx->allocator, work.rows);
    bool some = work.begun && sink->options->truncated && sink->ctx->status == NNL_ERR_IO;
    return whole || some ? NNL_OK : sink->ctx->status;
}

// ---- writing

static void write_bytes(png_structp png, png_bytep data, size_t size) {
    const png_work *work = png_get_io_ptr(png);
    if (nnl_bytes_add(work->out, data, size) != NNL_OK) leave_with_error(work);
}

static void flush_nothing(png_structp png) { (void)png; }

static void write_header(const png_work *work) {
    static const int types[] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                PNG_COLOR_TYPE_RGB_ALPHA};
    const nnl_rows *rows = work->source;
    const uint16_t one = 1;
    png_set_user_limits(work->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_compression_level(work->png, work->level);
    png_set_IHDR(work->png, work->info, (png_uint_32)rows->width, (png_uint_32)rows->height,
                 rows->wide ? 16 : 8, types[rows->channels], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(work->png, work->info);
    if (rows->wide && *(const uint8_t *)&one == 1) png_set_swap(work->png);
}

static void write_picture(nnl_guard *guard, void *arg) {
    png_work *work = arg;
    const nnl_rows *rows = work->source;
    work->guard = guard;
    work->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, work, leave, ignore, work, take, give);
    if (!work->png) no_memory(work);
    work->info = png_create_info_struct(work->png);
    if (!work->info) no_memory(work);
    png_set_write_fn(work->png, work, write_bytes, flush_nothing);
    write_header(work);
    void *row = take_rows(work, (size_t)rows->width * (size_t)rows->channels * (rows->wide ? 2 : 1));
    for (int64_t y = 0; y < rows->height; y++) {
        nnl_rows_get(rows, y, row);
        png_write_row(work->png, row);
    }
    png_write_end(work->png, NULL);
}

nnl_status nnl_png_encode(nnl_context *ctx, const nnl_rows *rows, int level, nnl_bytes *out) {
    png_work work = {.ctx = ctx, .source = rows, .out = out, .level = level};
    bool whole = nnl_guard_run(write_picture, &work);
    if (work.png) png_destroy_write_struct(&work.png, &work.info);
    nnl_free(&ctx->allocator, work.rows);
    return whole ? NNL_OK : ctx->status;
}

#endif
