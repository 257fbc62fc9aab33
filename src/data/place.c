// place.c: steps that move pixels: parts of pictures, borders, mirrors, turns, holes.
#include "data/transform.h"

#include <math.h>
#include <string.h>

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

enum { CONSTANT, EDGE, REFLECT, WRAP }; // what is beyond the borders

static void fill_row(const nnl_frame *out, void *row, int64_t from, int64_t to, double value) {
    if (out->dtype == NNL_FLOAT32) {
        for (int64_t x = from; x < to; x++) ((float *)row)[x] = (float)value;
    } else if (to > from) {
        memset((uint8_t *)row + from, (uint8_t)value, (size_t)(to - from));
    }
}

// ---- windows: `top`, `left` may lie outside, and so may the ends

enum { TOP, LEFT, HEIGHT, WIDTH, MODE, VALUE };

static nnl_status plan_window(nnl_context *ctx, const char *who, const nnl_frame *in, const double window[6],
                              nnl_plan *plan) {
    int64_t top = (int64_t)window[TOP], left = (int64_t)window[LEFT];
    int64_t height = (int64_t)window[HEIGHT], width = (int64_t)window[WIDTH];
    int64_t below = top + height - in->height, right = left + width - in->width;
    int64_t out_of = top < 0 || left < 0 || below > 0 || right > 0;
    if (height < 1 || width < 1)
        return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.image.%s: nothing is left of a picture of %lld x %lld", who,
                        (long long)in->height, (long long)in->width);
    if (!out_of) {
        plan->kind = NNL_PLAN_PART;
        plan->out.height = height;
        plan->out.width = width;
        plan->offset = top * in->row + left;
        return NNL_OK;
    }
    int64_t most_y = window[MODE] == REFLECT ? in->height - 1 : in->height;
    int64_t most_x = window[MODE] == REFLECT ? in->width - 1 : in->width;
    bool far = -top > most_y || below > most_y || -left > most_x || right > most_x;
    if (far && (window[MODE] == REFLECT || window[MODE] == WRAP))
        return nnl_fail(ctx, NNL_ERR_SHAPE,
                        "nn.image.%s: a picture of %lld x %lld is too small for so wide a border", who,
                        (long long)in->height, (long long)in->width);
    nnl_plan_work(plan, in->dtype, in->channels, height, width);
    memcpy(plan->number, window, 6 * sizeof *window);
    return NNL_OK;
}

// The place inside of one that may be outside; -1 where nothing is there.
static int64_t inside(int64_t i, int64_t n, int mode) {
    if (i >= 0 && i < n) return i;
    if (mode == EDGE) return i < 0 ? 0 : n - 1;
    if (mode == REFLECT) return i < 0 ? -i : 2 * n - 2 - i;
    if (mode == WRAP) return i < 0 ? i + n : i - n;
    return -1;
}

static void put(const nnl_frame *out, void *row, int64_t x, const void *from, int64_t source) {
    if (out->dtype == NNL_FLOAT32)
        ((float *)row)[x] = ((const float *)from)[source];
    else
        ((uint8_t *)row)[x] = ((const uint8_t *)from)[source];
}

static void window_row(const double *window, const nnl_frame *in, const nnl_frame *out, const void *from,
                       void *row) {
    int64_t left = (int64_t)window[LEFT], size = (int64_t)nnl_frame_element(in);
    int64_t start = left < 0 ? -left : 0, end = in->width - left; // of the columns that are inside
    if (start > out->width) start = out->width;
    if (end > out->width) end = out->width;
    if (end < start) end = start;
    if (end > start)
        memcpy((char *)row + start * size, (const char *)from + (left + start) * size,
               (size_t)((end - start) * size));
    if (window[MODE] == CONSTANT) {
        fill_row(out, row, 0, start, window[VALUE]);
        fill_row(out, row, end, out->width, window[VALUE]);
        return;
    }
    for (int64_t x = 0; x < out->width; x++) {
        if (x == start) x = end;
        if (x < out->width) put(out, row, x, from, inside(left + x, in->width, (int)window[MODE]));
    }
}

static void apply_window(const nnl_plan *plan, const nnl_frame *in, const nnl_frame *out, void *scratch) {
    const double *window = plan->number;
    (void)scratch;
    for (int64_t c = 0; c < out->channels; c++) {
        for (int64_t y = 0; y < out->height; y++) {
            int64_t source = inside((int64_t)window[TOP] + y, in->height, (int)window[MODE]);
            void *row = nnl_frame_row(out, c, y);
            if (source < 0)
                fill_row(out, row, 0, out->width, window[VALUE]);
            else
                window_row(window, in, out, nnl_frame_row(in, c, source), row);
        }
    }
}

// top, left, height, width
static nnl_status plan_crop(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                            nnl_plan *plan) {
    const double *n = step->number;
    (void)draw;
    if (n[TOP] + n[HEIGHT] <= (double)in->height && n[LEFT] + n[WIDTH] <= (double)in->width)
        return plan_window(ctx, "crop", in, n, plan);
    return nnl_fail(
        ctx, NNL_ERR_SHAPE,
        "nn.image.crop: %.0f x %.0f pixels from (%.0f, %.0f) on are not within a picture of %lld x %lld",
        n[HEIGHT], n[WIDTH], n[TOP] + 1, n[LEFT] + 1, (long long)in->height, (long long)in->width);
}

// Half of what is over, rounded as PyTorch does: to the nearest even number.
static double half(double over) { return nearbyint(over / 2); }

// height, width; what the picture lacks is black
static nnl_status plan_center(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                              nnl_plan *plan) {
    double height = step->number[0], width = step->number[1], h = (double)in->height, w = (double)in->width;
    double top = height > h ? -floor((height - h) / 2) : half(h - height);
    double left = width > w ? -floor((width - w) / 2) : half(w - width);
    const double window[6] = {top, left, height, width, CONSTANT, 0};
    (void)draw;
    return plan_window(ctx, "center_crop", in, window, plan);
}

// left, top, right, bottom, mode, value
static nnl_status plan_pad(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                           nnl_plan *plan) {
    const double *n = step->number;
    const double window[6] = {-n[1], -n[0], (double)in->height + n[1] + n[3], (double)in->width + n[0] + n[2],
                              n[4],  n[5]};
    (void)draw;
    return plan_window(ctx, "pad", in, window, plan);
}

// height, width, left, top, right, bottom, mode, value
static nnl_status plan_random_crop(nnl_context *ctx, const nnl_step *step, const nnl_frame *in,
                                   nnl_draw *draw, nnl_plan *plan) {
    const double *n = step->number;
    double high = (double)in->height + n[3] + n[5], wide = (double)in->width + n[2] + n[4];
    if (n[0] > high || n[1] > wide)
        return nnl_fail(
            ctx, NNL_ERR_SHAPE,
            "nn.image.random_crop: %.0f x %.0f pixels are more than a picture of %lld x %lld has with its "
            "padding",
            n[0], n[1], (long long)in->height, (long long)in->width);
    double top = (double)nnl_draw_below(draw, (int64_t)(high - n[0]) + 1);
    double left = (double)nnl_draw_below(draw, (int64_t)(wide - n[1]) + 1);
    const double window[6] = {top - n[3], left - n[2], n[0], n[1], n[6], n[7]};
    return plan_window(ctx, "random_crop", in, window, plan);
}

// ---- mirrors: vertical (0 or 1), probability

static nnl_status plan_flip(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                            nnl_plan *plan) {
    (void)ctx;
    if (step->number[1] < 1 && nnl_draw_double(draw, 0, 1) >= step->number[1]) return NNL_OK;
    nnl_plan_work(plan, in->dtype, in->channels, in->height, in->width);
    plan->number[0] = step->number[0];
    return NNL_OK;
}

static void mirror_row(const nnl_frame *in, const void *from, void *to) {
    int64_t n = in->width;
    if (in->dtype == NNL_FLOAT32) {
        for (int64_t x = 0; x < n; x++) ((float *)to)[x] = ((const float *)from)[n - 1 - x];
    } else {
        for (int64_t x = 0; x < n; x++) ((uint8_t *)to)[x] = ((const uint8_t *)from)[n - 1 - x];
    }
}

static void apply_flip(const nnl_plan *plan, const nnl_frame *in, const nnl_frame *out, void *scratch) {
    size_t bytes = (size_t)in->width * nnl_frame_element(in);
    (void)scratch;
    for (int64_t c = 0; c < in->channels; c++) {
        for (int64_t y = 0; y < in->height; y++) {
            if (plan->number[0] != 0)
                memcpy(nnl_frame_row(out, c, y), nnl_frame_row(in, c, in->height - 1 - y), bytes);
            else
                mirror_row(in, nnl_frame_row(in, c, y), nnl_frame_row(out, c, y));
        }
    }
}

// ---- turns, shifts, scales, shears (affine maps): where a result's pixel comes from is a linear map of its
// place, both counted from the middle. See torchvision's affine for the terms.

enum { ANGLE, ANGLE_HIGH, SHIFT_X, SHIFT_Y, SCALE, SCALE_HIGH, SHEAR, SHEAR_HIGH, BILINEAR, EXPAND, FILL };

static void inverse_map(double angle, double shift_x, double shift_y, double scale, double shear,
                        double map[6]) {
    double turn = -angle * M_PI / 180, lean = shear * M_PI / 180;
    double a = cos(turn), b = -cos(turn) * tan(lean) - sin(turn);
    double c = sin(turn), d = -sin(turn) * tan(lean) + cos(turn);
    map[0] = d / scale;
    map[1] = -b / scale;
    map[3] = -c / scale;
    map[4] = a / scale;
    map[2] = -map[0] * shift_x - map[1] * shift_y;
    map[5] = -map[3] * shift_x - map[4] * shift_y;
}

// As large as the turned corners reach.
static void expand(const double map[6], int64_t *height, int64_t *width) {
    double determinant = map[0] * map[4] - map[1] * map[3], h = (double)*height / 2, w = (double)*width / 2;
    double most_x = (fabs(map[4]) * w + fabs(map[1]) * h) / fabs(determinant);
    double most_y = (fabs(map[3]) * w + fabs(map[0]) * h) / fabs(determinant);
    *width = 2 * (int64_t)ceil(most_x - 1e-4 - 0.5 * (double)(*width % 2)) + *width % 2;
    *height = 2 * (int64_t)ceil(most_y - 1e-4 - 0.5 * (double)(*height % 2)) + *height % 2;
}

static nnl_status plan_affine(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                              nnl_plan *plan) {
    const double *n = step->number;
    int64_t height = in->height, width = in->width;
    (void)ctx;
    double angle = nnl_draw_double(draw, n[ANGLE], n[ANGLE_HIGH]);
    double x = nearbyint(nnl_draw_double(draw, -n[SHIFT_X], n[SHIFT_X]) * (double)width);
    double y = nearbyint(nnl_draw_double(draw, -n[SHIFT_Y], n[SHIFT_Y]) * (double)height);
    double scale = nnl_draw_double(draw, n[SCALE], n[SCALE_HIGH]);
    double shear = nnl_draw_double(draw, n[SHEAR], n[SHEAR_HIGH]);
    inverse_map(angle, x, y, scale, shear, plan->number);
    if (n[EXPAND] != 0) expand(plan->number, &height, &width);
    nnl_plan_work(plan, in->dtype, in->channels, height < 1 ? 1 : height, width < 1 ? 1 : width);
    plan->number[6] = n[BILINEAR];
    plan->number[7] = n[FILL];
    return NNL_OK;
}

// The pixel at a place, `fill` outside.
static double pixel(const nnl_frame *in, int64_t c, int64_t y, int64_t x, double fill) {
    if (x < 0 || y < 0 || x >= in->width || y >= in->height) return fill;
    const void *row = nnl_frame_row(in, c, y);
    return in->dtype == NNL_FLOAT32 ? (double)((const float *)row)[x] : (double)((const uint8_t *)row)[x];
}

static double blend(const nnl_frame *in, int64_t c, double y, double x, double fill) {
    int64_t y0 = (int64_t)floor(y), x0 = (int64_t)floor(x);
    double dy = y - (double)y0, dx = x - (double)x0;
    double above = pixel(in, c, y0, x0, fill) * (1 - dx) + pixel(in, c, y0, x0 + 1, fill) * dx;
    double below = pixel(in, c, y0 + 1, x0, fill) * (1 - dx) + pixel(in, c, y0 + 1, x0 + 1, fill) * dx;
    return above * (1 - dy) + below * dy;
}

static void apply_affine(const nnl_plan *plan, const nnl_frame *in, const nnl_frame *out, void *scratch) {
    const double *map = plan->number;
    double middle_x = (double)(in->width - 1) / 2, middle_y = (double)(in->height - 1) / 2, fill = map[7];
    (void)scratch;
    for (int64_t y = 0; y < out->height; y++) {
        double dy = (double)y - (double)(out->height - 1) / 2;
        for (int64_t x = 0; x < out->width; x++) {
            double dx = (double)x - (double)(out->width - 1) / 2;
            double from_x = map[0] * dx + map[1] * dy + map[2] + middle_x;
            double from_y = map[3] * dx + map[4] * dy + map[5] + middle_y;
            for (int64_t c = 0; c < out->channels; c++) {
                double value =
                    map[6] != 0 ? blend(in, c, from_y, from_x, fill)
                                : pixel(in, c, (int64_t)nearbyint(from_y), (int64_t)nearbyint(from_x), fill);
                void *row = nnl_frame_row(out, c, y);
                if (out->dtype == NNL_FLOAT32)
                    ((float *)row)[x] = (float)value;
                else
                    ((uint8_t *)row)[x] = (uint8_t)(value + 0.5);
            }
        }
    }
}

// ---- holes (Zhong et al., "Random erasing data augmentation", 2017): probability, share of the picture (2),
// height over width (2), value

static nnl_status plan_erase(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                             nnl_plan *plan) {
    const double *n = step->number;
    (void)ctx;
    if (nnl_draw_double(draw, 0, 1) >= n[0]) return NNL_OK;
    for (int i = 0; i < 10; i++) {
        double area = nnl_draw_double(draw, n[1], n[2]) * (double)(in->height * in->width);
        double ratio = exp(nnl_draw_double(draw, log(n[3]), log(n[4])));
        int64_t height = (int64_t)nearbyint(sqrt(area * ratio)),
                width = (int64_t)nearbyint(sqrt(area / ratio));
        if (height >= in->height || width >= in->width) continue;
        nnl_plan_work(plan, in->dtype, in->channels, in->height, in->width);
        plan->number[TOP] = (double)nnl_draw_below(draw, in->height - height + 1);
        plan->number[LEFT] = (double)nnl_draw_below(draw, in->width - width + 1);
        plan->number[HEIGHT] = (double)height;
        plan->number[WIDTH] = (double)width;
        plan->number[VALUE] = n[5];
        return NNL_OK;
    }
    return NNL_OK;
}

static void apply_erase(const nnl_plan *plan, const nnl_frame *in, const nnl_frame *out, void *scratch) {
    size_t bytes = (size_t)in->width * nnl_frame_element(in);
    int64_t top = (int64_t)plan->number[TOP], bottom = top + (int64_t)plan->number[HEIGHT];
    int64_t left = (int64_t)plan->number[LEFT], right = left + (int64_t)plan->number[WIDTH];
    (void)scratch;
    for (int64_t c = 0; c < in->channels; c++) {
        for (int64_t y = 0; y < in->height; y++) {
            void *row = nnl_frame_row(out, c, y);
            memcpy(row, nnl_frame_row(in, c, y), bytes);
            if (y >= top && y < bottom) fill_row(out, row, left, right, plan->number[VALUE]);
        }
    }
}

const nnl_step_class nnl_steps_of_place[] = {
    {"crop", 4, plan_crop, apply_window},
    {"center_crop", 2, plan_center, apply_window},
    {"pad", 6, plan_pad, apply_window},
    {"random_crop", 8, plan_random_crop, apply_window},
    {"flip", 2, plan_flip, apply_flip},
    {"affine", 11, plan_affine, apply_affine},
    {"random_erasing", 6, plan_erase, apply_erase},
    {NULL, 0, NULL, NULL},
};
