// sound.c: libsndfile over memory. See resampler.c for other rates.
#include "io/sound.h"

#include "io/file.h"

#include <stdio.h>
#include <string.h>

#ifdef NNL_HAVE_SNDFILE

#include <sndfile.h>

#define CHANNEL_LIMIT 1024
#define BLOCK_SAMPLES 16384
#define ROOM ((size_t)1 << 16)

// ---- memory as a file

typedef struct memory {
    const char *data; // read
    nnl_bytes *out;   // or written
    sf_count_t size, at;
} memory;

static sf_count_t memory_length(void *user) { return ((memory *)user)->size; }

static sf_count_t memory_tell(void *user) { return ((memory *)user)->at; }

static sf_count_t memory_seek(sf_count_t offset, int whence, void *user) {
    memory *m = user;
    sf_count_t base = whence == SEEK_CUR ? m->at : whence == SEEK_END ? m->size : 0, to;
    if (__builtin_add_overflow(base, offset, &to) || to < 0 || (to > m->size && !m->out)) return -1;
    m->at = to;
    return to;
}

static sf_count_t memory_read(void *to, sf_count_t count, void *user) {
    memory *m = user;
    const char *data = m->out ? m->out->data : m->data;
    sf_count_t left = m->at < m->size ? m->size - m->at : 0;
    if (count > left) count = left;
    if (count <= 0) return 0;
    memcpy(to, data + m->at, (size_t)count);
    m->at += count;
    return count;
}

// A place beyond the end is reached with zeros.
static sf_count_t memory_write(const void *from, sf_count_t count, void *user) {
    memory *m = user;
    if (!m->out || count <= 0) return 0;
    size_t end = (size_t)(m->at + count);
    if (end > m->out->length) {
        size_t more = end - m->out->length;
        if (nnl_bytes_reserve(m->out, more) != NNL_OK) return 0;
        memset(m->out->data + m->out->length, 0, more);
        m->out->length = end;
    }
    memcpy(m->out->data + m->at, from, (size_t)count);
    m->at += count;
    if (m->at > m->size) m->size = m->at;
    return count;
}

static SNDFILE *open_memory(memory *m, int mode, SF_INFO *info) {
    SF_VIRTUAL_IO access = {memory_length, memory_seek, memory_read, memory_write, memory_tell};
    return sf_open_virtual(&access, mode, info, m);
}

// ---- reading

// WAVE files say in their first chunk, nearly always, how they are coded: 0x50 and 0x55 are MPEG.
static bool is_mpeg(const char *data, size_t size) {
    return size > 21 && memcmp(data + 8, "WAVEfmt ", 8) == 0 && (data[20] == 0x50 || data[20] == 0x55) &&
           data[21] == 0;
}

// MPEG is left out: its decoder prints to the host's standard error whatever it does not like.
static bool is_known(const char *data, size_t size) {
    static const char *const heads[] = {"RIFF", "RIFX", "RF64", "riff", "fLaC",
                                        "OggS", "FORM", "caff", ".snd"};
    for (size_t i = 0; size > 4 && i < sizeof heads / sizeof *heads; i++) {
        if (memcmp(data, heads[i], 4) == 0) return !is_mpeg(data, size);
    }
    return false;
}

static SNDFILE *open_sound(memory *m, SF_INFO *info, char message[NNL_SOUND_MESSAGE]) {
    memset(info, 0, sizeof *info);
    if (!is_known(m->data, (size_t)m->size)) {
        snprintf(message, NNL_SOUND_MESSAGE, "no sound file: WAV, FLAC, OGG, AIFF, CAF and AU are known");
        return NULL;
    }
    SNDFILE *file = open_memory(m, SFM_READ, info);
    if (!file) {
        snprintf(message, NNL_SOUND_MESSAGE, "no sound file: %s", sf_error_number(sf_error(NULL)));
    } else if (info->channels < 1 || info->channels > CHANNEL_LIMIT || info->samplerate < 1) {
        snprintf(message, NNL_SOUND_MESSAGE, "damaged sound file: %d channels at %d Hz", info->channels,
                 info->samplerate);
        sf_close(file);
        file = NULL;
    }
    return file;
}

bool nnl_sound_look(const void *data, size_t size, nnl_sound_info *info, char message[NNL_SOUND_MESSAGE]) {
    memory m = {.data = data, .size = (sf_count_t)size};
    SF_INFO found;
    SNDFILE *file = open_sound(&m, &found, message);
    if (!file) return false;
    *info = (nnl_sound_info){found.frames, found.channels, found.samplerate};
    sf_close(file);
    return true;
}

// Samples of channel after channel, from those that lie side by side.
static void part_channels(const float *block, int64_t count, int channels, bool mono, float *out,
                          int64_t distance) {
    for (int64_t i = 0; mono && i < count; i++) {
        float sum = 0;
        for (int c = 0; c < channels; c++) sum += block[i * channels + c];
        out[i] = sum / (float)channels;
    }
    for (int c = 0; !mono && c < channels; c++) {
        for (int64_t i = 0; i < count; i++) out[c * distance + i] = block[i * channels + c];
    }
}

static int64_t read_parted(SNDFILE *file, int channels, bool mono, float *out, int64_t capacity) {
    float block[BLOCK_SAMPLES];
    int64_t done = 0, most = BLOCK_SAMPLES / channels;
    while (done < capacity) {
        int64_t wanted = capacity - done < most ? capacity - done : most;
        int64_t got = sf_readf_float(file, block, wanted);
        if (got <= 0) break;
        part_channels(block, got, channels, mono, out + done, capacity);
        done += got;
    }
    return done;
}

int64_t nnl_sound_decode(const void *data, size_t size, bool mono, float *out, int64_t capacity,
                         char message[NNL_SOUND_MESSAGE]) {
    memory m = {.data = data, .size = (sf_count_t)size};
    SF_INFO info;
    SNDFILE *file = open_sound(&m, &info, message);
    if (!file) return -1;
    int64_t done = read_parted(file, info.channels, mono, out, capacity);
    sf_close(file);
    return done;
}

// How many samples there are is believed only when they have come.
static nnl_status read_all(nnl_context *ctx, SNDFILE *file, int channels, nnl_bytes *all) {
    size_t frame = (size_t)channels * sizeof(float);
    for (;;) {
        size_t room = all->length < ROOM ? ROOM : all->length / 2;
        if (nnl_bytes_reserve(all, room + frame) != NNL_OK) return ctx->status;
        room = (all->capacity - all->length) / frame;
        int64_t got = sf_readf_float(file, (float *)(all->data + all->length), (sf_count_t)room);
        if (got <= 0) break;
        all->length += (size_t)got * frame;
    }
    if (sf_error(file) == SF_ERR_NO_ERROR) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_IO, "damaged sound file: %s", sf_error_number(sf_error(file)));
}

static nnl_tensor *read_sound(nnl_context *ctx, SNDFILE *file, int channels, bool mono) {
    nnl_bytes all = {.ctx = ctx};
    nnl_tensor *t = NULL;
    if (read_all(ctx, file, channels, &all) == NNL_OK) {
        int64_t frames = (int64_t)(all.length / sizeof(float)) / channels;
        nnl_shape shape = {.ndim = 2, .size = {mono ? 1 : channels, frames}};
        t = nnl_tensor_new(ctx, NNL_FLOAT32, &shape);
        if (t) part_channels((const float *)all.data, frames, channels, mono, nnl_tensor_data(t), frames);
    }
    nnl_bytes_free(&all);
    return t;
}

nnl_tensor *nnl_sound_parse(nnl_context *ctx, const void *data, size_t size, bool mono, int *rate) {
    memory m = {.data = data, .size = (sf_count_t)size};
    char message[NNL_SOUND_MESSAGE];
    SF_INFO info;
    SNDFILE *file = open_sound(&m, &info, message);
    if (!file) return nnl_fail_null(ctx, NNL_ERR_IO, "%s", message);
    *rate = info.samplerate;
    nnl_tensor *t = read_sound(ctx, file, info.channels, mono);
    sf_close(file);
    return t;
}

// ---- writing

static int format_of(nnl_sound_format format, int bits) {
    int coding = bits == 32 ? SF_FORMAT_FLOAT : bits == 24 ? SF_FORMAT_PCM_24 : SF_FORMAT_PCM_16;
    if (format == NNL_SOUND_OGG) return SF_FORMAT_OGG | SF_FORMAT_VORBIS;
    return (format == NNL_SOUND_FLAC ? SF_FORMAT_FLAC : SF_FORMAT_WAV) | coding;
}

static bool write_samples(SNDFILE *file, const nnl_tensor *t) {
    const float *from = nnl_tensor_data(t);
    int64_t channels = t->shape.size[0], frames = t->shape.size[1], most = BLOCK_SAMPLES / channels;
    float block[BLOCK_SAMPLES];
    for (int64_t done = 0; done < frames;) {
        int64_t count = frames - done < most ? frames - done : most;
        for (int64_t c = 0; c < channels; c++) {
            for (int64_t i = 0; i < count; i++) block[i * channels + c] = from[c * frames + done + i];
        }
        if (sf_writef_float(file, block, count) != count) return false;
        done += count;
    }
    return true;
}

static nnl_status encode(nnl_context *ctx, const nnl_tensor *t, int rate, int format, nnl_bytes *out) {
    memory m = {.out = out};
    SF_INFO info = {.samplerate = rate, .channels = (int)t->shape.size[0], .format = format};
    nnl_error_clear(ctx);
    SNDFILE *file = open_memory(&m, SFM_WRITE, &info);
    if (!file)
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "cannot write %d channels at %d Hz: %s", (int)t->shape.size[0],
                        rate, sf_error_number(sf_error(NULL)));
    sf_command(file, SFC_SET_CLIPPING, NULL, SF_TRUE);
    bool written = write_samples(file, t);
    written = sf_close(file) == 0 && written;
    if (ctx->status != NNL_OK) return ctx->status; // no memory for what was written
    return written ? NNL_OK : nnl_fail(ctx, NNL_ERR_IO, "the sound cannot be encoded");
}

nnl_status nnl_sound_save(nnl_context *ctx, const char *path, const nnl_tensor *t, int rate,
                          nnl_sound_format format, int bits) {
    nnl_bytes bytes = {.ctx = ctx};
    nnl_file file;
    nnl_status status = t->shape.size[0] >= 1 && t->shape.size[0] <= CHANNEL_LIMIT
                            ? encode(ctx, t, rate, format_of(format, bits), &bytes)
                            : nnl_fail(ctx, NNL_ERR_ARGUMENT, "1 to %d channels are possible", CHANNEL_LIMIT);
    if (status == NNL_OK) status = nnl_file_create(&file, ctx, path);
    if (status == NNL_OK && (status = nnl_file_write(&file, bytes.data, bytes.length)) != NNL_OK)
        nnl_file_discard(&file);
    else if (status == NNL_OK)
        status = nnl_file_commit(&file);
    nnl_bytes_free(&bytes);
    return status;
}

#else

#define NEEDED                                                                                               \
    "this nnlua was built without libsndfile (on Debian and Ubuntu: apt-get install libsndfile1-dev, then "  \
    "build again)"

bool nnl_sound_look(const void *data, size_t size, nnl_sound_info *info, char message[NNL_SOUND_MESSAGE]) {
    (void)data, (void)size, (void)info;
    snprintf(message, NNL_SOUND_MESSAGE, NEEDED);
    return false;
}

int64_t nnl_sound_decode(const void *data, size_t size, bool mono, float *out, int64_t capacity,
                         char message[NNL_SOUND_MESSAGE]) {
    (void)data, (void)size, (void)mono, (void)out, (void)capacity;
    snprintf(message, NNL_SOUND_MESSAGE, NEEDED);
    return -1;
}

nnl_tensor *nnl_sound_parse(nnl_context *ctx, const void *data, size_t size, bool mono, int *rate) {
    (void)data, (void)size, (void)mono, (void)rate;
    return nnl_fail_null(ctx, NNL_ERR_IO, NEEDED);
}

nnl_status nnl_sound_save(nnl_context *ctx, const char *path, const nnl_tensor *t, int rate,
                          nnl_sound_format format, int bits) {
    (void)path, (void)t, (void)rate, (void)format, (void)bits;
    return nnl_fail(ctx, NNL_ERR_IO, NEEDED);
}

#endif

nnl_tensor *nnl_sound_load(nnl_context *ctx, const char *path, bool mono, int *rate) {
    nnl_mapping *mapping = nnl_mapping_new(ctx, path);
    if (!mapping) return NULL;
    nnl_tensor *t = nnl_sound_parse(ctx, mapping->data, mapping->size, mono, rate);
    if (!t) nnl_file_blame(ctx, path);
    nnl_mapping_release(mapping);
    return t;
}
