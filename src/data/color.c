// color.c: steps that change values where they are: types, normalising, gray, colours.
#include "data/transform.h"

#include <math.h>
#include <string.h>

// ---- types: to floats from 0 to 1, or to bytes

enum { TO_FLOAT, TO_BYTES };

static nnl_status plan_convert(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                               nnl_plan *plan) {
    nnl_dtype dtype = step->number[0] == TO_FLOAT ? NNL_FLOAT32 : NNL_UINT8;
    (void)ctx, (void)draw;
    if (dtype != in->dtype) nnl_plan_work(plan, dtype, in->channels, in->height, in->width);
    return NNL_OK;
}

static uint8_t to_byte(float value) {
    if (!(value > 0)) return 0;
    return (uint8_t)(value < 1 ? value * 255.0f + 0.5f : 255.0f);
}

static void apply_convert(const nnl_plan *plan, const nnl_frame *in, const nnl_frame *out, void *scratch) {
    (void)plan, (void)scratch;
    for (int64_t c = 0; c < in->channels; c++) {
        for (int64_t y = 0; y < in->height; y++) {
            const void *from = nnl_frame_row(in, c, y);
            void *to = nnl_frame_row(out, c, y);
            if (out->dtype == NNL_FLOAT32) {
                for (int64_t x = 0; x < in->width; x++)
                    ((float *)to)[x] = (float)((const uint8_t *)from)[x] / 255.0f;
            } else {
                for (int64_t x = 0; x < in->width; x++)
                    ((uint8_t *)to)[x] = to_byte(((const float *)from)[x]);
            }
        }
    }
}

// ---- (value - mean) / std by channel, floats; bytes count from 0 to 1. count, 4 means, 4 deviations

static nnl_status plan_normalize(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                                 nnl_plan *plan) {
    int64_t count = (int64_t)step->number[0];
    (void)draw;
    if (count != 1 && count != in->channels)
        return nnl_fail(ctx, NNL_ERR_SHAPE,
                        "nn.image.normalize: there are means for %lld channels, the picture has %lld",
                        (long long)count, (long long)in->channels);
    nnl_plan_work(plan, NNL_FLOAT32, in->channels, in->height, in->width);
    memcpy(plan->number, step->number, sizeof plan->number);
    return NNL_OK;
}

static void apply_normalize(const nnl_plan *plan, const nnl_frame *in, const nnl_frame *out, void *scratch) {
    (void)scratch;
    for (int64_t c = 0; c < in->channels; c++) {
        int64_t k = plan->number[0] == 1 ? 0 : c;
        float mean = (float)plan->number[1 + k], deviation = (float)plan->number[5 + k];
        for (int64_t y = 0; y < in->height; y++) {
            const void *from = nnl_frame_row(in, c, y);
            float *to = nnl_frame_row(out, c, y);
            if (in->dtype == NNL_FLOAT32) {
                for (int64_t x = 0; x < in->width; x++) to[x] = (((const float *)from)[x] - mean) / deviation;
            } else {
                for (int64_t x = 0; x < in->width; x++)
                    to[x] = ((float)((const uint8_t *)from)[x] / 255.0f - mean) / deviation;
            }
        }
    }
}

// ---- pixels of three channels, as floats of the picture's own range

static void get(const nnl_frame *in, int64_t y, int64_t x, float rgb[3]) {
    for (int64_t c = 0; c < 3; c++) {
        const void *row = nnl_frame_row(in, in->channels < 3 ? 0 : c, y);
        rgb[c] = in->dtype == NNL_FLOAT32 ? ((const float *)row)[x] : (float)((const uint8_t *)row)[x];
    }
}

static void put(const nnl_frame *out, int64_t c, int64_t y, int64_t x, float value) {
    void *row = nnl_frame_row(out, c, y);
    if (out->dtype == NNL_FLOAT32)
        ((float *)row)[x] = value;
    else
        ((uint8_t *)row)[x] = (uint8_t)((value < 0 ? 0 : value > 255 ? 255 : value) + 0.5f);
}

// With the weights of torchvision.
static float luma(const float rgb[3]) { return 0.2989f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2]; }

static nnl_status check_colors(nnl_context *ctx, const char *who, const nnl_frame *in) {
    if (in->channels == 1 || in->channels == 3) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.image.%s: expected a picture of 1 or 3 channels, got %lld", who,
                    (long long)in->channels);
}

// ---- gray: channels (1, 3, or 0: as many as there are), probability

static nnl_status plan_gray(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                            nnl_plan *plan) {
    int64_t channels = step->number[0] == 0 ? in->channels : (int64_t)step->number[0];
    if (check_colors(ctx, "to_gray", in) != NNL_OK) return ctx->status;
    if (step->number[1] < 1 && nnl_draw_double(draw, 0, 1) >= step->number[1]) return NNL_OK;
    if (channels == 1 && in->channels == 1) return NNL_OK;
    nnl_plan_work(plan, in->dtype, channels, in->height, in->width);
    return NNL_OK;
}

static void apply_gray(const nnl_plan *plan, const nnl_frame *in, const nnl_frame *out, void *scratch) {
    float rgb[3];
    (void)plan, (void)scratch;
    for (int64_t y = 0; y < in->height; y++) {
        for (int64_t x = 0; x < in->width; x++) {
            get(in, y, x, rgb);
            float value = in->channels == 1 ? rgb[0] : luma(rgb);
            for (int64_t c = 0; c < out->channels; c++) put(out, c, y, x, value);
        }
    }
}

// ---- brightness, contrast, saturation (factors, from and to), hue (a share of the circle, from and to): in
// a random order, as in torchvision's ColorJitter

enum { BRIGHTNESS, CONTRAST, SATURATION, HUE, ADJUSTMENTS };

static nnl_status plan_jitter(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                              nnl_plan *plan) {
    double *order = plan->number + ADJUSTMENTS;
    if (check_colors(ctx, "color_jitter", in) != NNL_OK) return ctx->status;
    nnl_plan_work(plan, in->dtype, in->channels, in->height, in->width);
    for (int k = 0; k < ADJUSTMENTS; k++) order[k] = k;
    for (int k = ADJUSTMENTS - 1; k > 0; k--) {
        int64_t other = nnl_draw_below(draw, k + 1);
        double kept = order[k];
        order[k] = order[other];
        order[other] = kept;
    }
    for (int k = 0; k < ADJUSTMENTS; k++)
        plan->number[k] = nnl_draw_double(draw, step->number[2 * k], step->number[2 * k + 1]);
    return NNL_OK;
}

// The hue of a colour turned by a share of the circle; rgb from 0 to 1.
static void turn_hue(float rgb[3], float turn) {
    float most = fmaxf(rgb[0], fmaxf(rgb[1], rgb[2])), least = fminf(rgb[0], fminf(rgb[1], rgb[2]));
    float range = most - least, hue;
    if (range <= 0) return;
    if (most == rgb[0])
        hue = (rgb[1] - rgb[2]) / range;
    else if (most == rgb[1])
        hue = 2 + (rgb[2] - rgb[0]) / range;
    else
        hue = 4 + (rgb[0] - rgb[1]) / range;
    hue = hue / 6 + turn;
    hue -= floorf(hue);
    for (int c = 0; c < 3; c++) { // n = 5, 3, 1 for red, green, blue
        float k = fmodf((float)(5 - 2 * c) + 6 * hue, 6);
        float share = fminf(k, 4 - k);
        rgb[c] = most - range * fmaxf(0, fminf(share, 1));
    }
}

static float mean_luma(const nnl_frame *frame) {
    double sum = 0;
    float rgb[3];
    for (int64_t y = 0; y < frame->height; y++) {
        for (int64_t x = 0; x < frame->width; x++) {
            get(frame, y, x, rgb);
            sum += (double)(frame->channels == 1 ? rgb[0] : luma(rgb));
        }
    }
    return (float)(sum / (double)(frame->height * frame->width));
}

static void adjust_pixel(int what, float amount, float mean, float most, float rgb[3]) {
    if (what == HUE) {
        for (int c = 0; c < 3; c++) rgb[c] /= most;
        turn_hue(rgb, amount);
        for (int c = 0; c < 3; c++) rgb[c] *= most;
        return;
    }
    float towards = what == BRIGHTNESS ? 0 : what == CONTRAST ? mean : luma(rgb);
    for (int c = 0; c < 3; c++) {
        float value = amount * rgb[c] + (1 - amount) * towards;
        rgb[c] = value < 0 ? 0 : value > most ? most : value;
    }
}

static void adjust(const nnl_frame *frame, int what, float amount) {
    float mean = what == CONTRAST ? mean_luma(frame) : 0, most = frame->dtype == NNL_FLOAT32 ? 1 : 255,
          rgb[3];
    bool gray = frame->channels == 1;
    if (amount == (what == HUE ? 0 : 1) || (gray && what >= SATURATION)) return;
    for (int64_t y = 0; y < frame->height; y++) {
        for (int64_t x = 0; x < frame->width; x++) {
            get(frame, y, x, rgb);
            adjust_pixel(what, amount, mean, most, rgb);
            for (int64_t c = 0; c < frame->channels; c++) put(frame, c, y, x, rgb[c]);
        }
    }
}

static void apply_jitter(const nnl_plan *plan, const nnl_frame *in, const nnl_frame *out, void *scratch) {
    size_t bytes = (size_t)in->width * nnl_frame_element(in);
    (void)scratch;
    for (int64_t c = 0; c < in->channels; c++) {
        for (int64_t y = 0; y < in->height; y++)
            memcpy(nnl_frame_row(out, c, y), nnl_frame_row(in, c, y), bytes);
    }
    for (int k = 0; k < ADJUSTMENTS; k++) {
        int what = (int)plan->number[ADJUSTMENTS + k];
        adjust(out, what, (float)plan->number[what]);
    }
}

const nnl_step_class nnl_steps_of_color[] = {
    {"convert", 1, plan_convert, apply_convert},
    {"normalize", 9, plan_normalize, apply_normalize},
    {"to_gray", 2, plan_gray, apply_gray},
    {"color_jitter", 8, plan_jitter, apply_jitter},
    {NULL, 0, NULL, NULL},
};
