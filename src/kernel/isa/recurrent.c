// recurrent.c: the pointwise part of a step of recurrent cells and of its backward, one row of a batch at a
// time, and products of few rows with a matrix that is used again and again, packed once.
#include "kernel/isa/isa.h"
#include "kernel/vmath.h"

#include <string.h>

// ---- packed products. A panel is as many columns as ROWS rows of sums leave registers for.

#if defined(__AVX512F__)
#define WIDTH 16
#define ROWS 8
#elif defined(__AVX2__)
#define WIDTH 8
#define ROWS 4
#else
#define WIDTH 4
#define ROWS 4
#endif
#define PANEL (2 * WIDTH)

typedef float lanes __attribute__((vector_size(WIDTH * sizeof(float))));

NNL_INLINE lanes load(const float *x) {
    lanes v;
    memcpy(&v, x, sizeof v);
    return v;
}

NNL_INLINE void store(float *x, lanes v) { memcpy(x, &v, sizeof v); }

static void pack(size_t k, size_t n, void *out, const void *b, size_t row_step, size_t column_step) {
    float *to = out;
    const float *from = b;
    for (size_t first = 0; first < n; first += PANEL) {
        size_t columns = n - first < PANEL ? n - first : PANEL;
        for (size_t i = 0; i < k; i++, to += PANEL) {
            for (size_t j = 0; j < columns; j++) to[j] = from[i * row_step + (first + j) * column_step];
            for (size_t j = columns; j < PANEL; j++) to[j] = 0;
        }
    }
}

// c += a b for so many rows and one panel. Every sum is in the order of k, whatever the rows beside it.
NNL_INLINE void add_block(size_t rows, size_t k, float *c, size_t ldc, const float *a, size_t lda,
                          const float *panel) {
    lanes left[ROWS], right[ROWS];
    for (size_t r = 0; r < rows; r++) {
        left[r] = load(c + r * ldc);
        right[r] = load(c + r * ldc + WIDTH);
    }
    for (size_t i = 0; i < k; i++) {
        lanes b0 = load(panel + i * PANEL), b1 = load(panel + i * PANEL + WIDTH);
        for (size_t r = 0; r < rows; r++) {
            left[r] += a[r * lda + i] * b0;
            right[r] += a[r * lda + i] * b1;
        }
    }
    for (size_t r = 0; r < rows; r++) {
        store(c + r * ldc, left[r]);
        store(c + r * ldc + WIDTH, right[r]);
    }
}

static void add_panel(size_t m, size_t k, float *c, size_t ldc, const float *a, size_t lda,
                      const float *panel) {
    size_t r = 0;
    for (; r + ROWS <= m; r += ROWS) add_block(ROWS, k, c + r * ldc, ldc, a + r * lda, lda, panel);
    for (; r + 2 <= m; r += 2) add_block(2, k, c + r * ldc, ldc, a + r * lda, lda, panel);
    for (; r < m; r++) add_block(1, k, c + r * ldc, ldc, a + r * lda, lda, panel);
}

// A panel that reaches over the last column works on a copy, a few rows at a time.
static void add_last_panel(size_t m, size_t columns, size_t k, float *c, size_t ldc, const float *a,
                           size_t lda, const float *panel) {
    float copy[ROWS * PANEL] = {0};
    for (size_t r = 0; r < m; r += ROWS) {
        size_t rows = m - r < ROWS ? m - r : ROWS;
        for (size_t i = 0; i < rows; i++) memcpy(copy + i * PANEL, c + (r + i) * ldc, columns * sizeof *c);
        add_panel(rows, k, copy, PANEL, a + r * lda, lda, panel);
        for (size_t i = 0; i < rows; i++) memcpy(c + (r + i) * ldc, copy + i * PANEL, columns * sizeof *c);
    }
}

static void add_packed(size_t m, size_t n, size_t k, void *c, size_t ldc, const void *a, size_t lda,
                       const void *packed) {
    const float *panel = packed;
    size_t first = 0;
    for (; first + PANEL <= n; first += PANEL, panel += k * PANEL) {
        add_panel(m, k, (float *)c + first, ldc, a, lda, panel);
    }
    if (first < n) add_last_panel(m, n - first, k, (float *)c + first, ldc, a, lda, panel);
}

// ---- the plain cell (Elman 1990): h = tanh(x part + hidden part + bias), or relu

static void tanh_f32(size_t n, const nnl_cell_step *s) {
    const float *z = s->gates, *b = s->bias;
    float *h = s->h, *y = s->y;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) h[j] = y[j] = v_tanh(z[j] + b[j]);
}

static void tanh_f64(size_t n, const nnl_cell_step *s) {
    const double *z = s->gates, *b = s->bias;
    double *h = s->h, *y = s->y;
    for (size_t j = 0; j < n; j++) h[j] = y[j] = tanh(z[j] + b[j]);
}

static void relu_f32(size_t n, const nnl_cell_step *s) {
    const float *z = s->gates, *b = s->bias;
    float *h = s->h, *y = s->y;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) h[j] = y[j] = z[j] + b[j] < 0 ? 0 : z[j] + b[j];
}

static void relu_f64(size_t n, const nnl_cell_step *s) {
    const double *z = s->gates, *b = s->bias;
    double *h = s->h, *y = s->y;
    for (size_t j = 0; j < n; j++) h[j] = y[j] = z[j] + b[j] < 0 ? 0 : z[j] + b[j];
}

static void tanh_grad_f32(size_t n, const nnl_cell_back *s) {
    const float *y = s->y, *dy = s->dy;
    float *dh = s->dh, *dz = s->dgates;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) {
        dz[j] = (dh[j] + dy[j]) * (1 - y[j] * y[j]);
        dh[j] = 0;
    }
}

static void tanh_grad_f64(size_t n, const nnl_cell_back *s) {
    const double *y = s->y, *dy = s->dy;
    double *dh = s->dh, *dz = s->dgates;
    for (size_t j = 0; j < n; j++) {
        dz[j] = (dh[j] + dy[j]) * (1 - y[j] * y[j]);
        dh[j] = 0;
    }
}

static void relu_grad_f32(size_t n, const nnl_cell_back *s) {
    const float *y = s->y, *dy = s->dy;
    float *dh = s->dh, *dz = s->dgates;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) {
        dz[j] = y[j] > 0 ? dh[j] + dy[j] : 0;
        dh[j] = 0;
    }
}

static void relu_grad_f64(size_t n, const nnl_cell_back *s) {
    const double *y = s->y, *dy = s->dy;
    double *dh = s->dh, *dz = s->dgates;
    for (size_t j = 0; j < n; j++) {
        dz[j] = y[j] > 0 ? dh[j] + dy[j] : 0;
        dh[j] = 0;
    }
}

// ---- long short-term memory (Hochreiter and Schmidhuber 1997, with forget gates): c = f c + i g, h = o
// tanh(c)

static void lstm_f32(size_t n, const nnl_cell_step *s) {
    float *gi = s->gates, *gf = gi + n, *gg = gf + n, *go = gg + n;
    const float *bi = s->bias, *bf = bi + n, *bg = bf + n, *bo = bg + n;
    float *h = s->h, *c = s->c, *y = s->y, *kept = s->kept;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) {
        float i = v_sigmoid(gi[j] + bi[j]), f = v_sigmoid(gf[j] + bf[j]);
        float g = v_tanh(gg[j] + bg[j]), o = v_sigmoid(go[j] + bo[j]);
        float cell = f * c[j] + i * g;
        gi[j] = i, gf[j] = f, gg[j] = g, go[j] = o;
        c[j] = kept[j] = cell;
        h[j] = y[j] = o * v_tanh(cell);
    }
}

static void lstm_f64(size_t n, const nnl_cell_step *s) {
    double *gi = s->gates, *gf = gi + n, *gg = gf + n, *go = gg + n;
    const double *bi = s->bias, *bf = bi + n, *bg = bf + n, *bo = bg + n;
    double *h = s->h, *c = s->c, *y = s->y, *kept = s->kept;
    for (size_t j = 0; j < n; j++) {
        double i = v_sigmoid(gi[j] + bi[j]), f = v_sigmoid(gf[j] + bf[j]);
        double g = tanh(gg[j] + bg[j]), o = v_sigmoid(go[j] + bo[j]);
        double cell = f * c[j] + i * g;
        gi[j] = i, gf[j] = f, gg[j] = g, go[j] = o;
        c[j] = kept[j] = cell;
        h[j] = y[j] = o * tanh(cell);
    }
}

static void lstm_grad_f32(size_t n, const nnl_cell_back *s) {
    const float *gi = s->gates, *gf = gi + n, *gg = gf + n, *go = gg + n;
    const float *dy = s->dy, *kept = s->kept, *before = s->before;
    float *di = s->dgates, *df = di + n, *dg = df + n, *dz = dg + n, *dh = s->dh, *dc = s->dc;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) {
        float i = gi[j], f = gf[j], g = gg[j], o = go[j], t = v_tanh(kept[j]), d = dh[j] + dy[j];
        float dcell = dc[j] + d * o * (1 - t * t);
        dz[j] = d * t * o * (1 - o);
        di[j] = dcell * g * i * (1 - i);
        dg[j] = dcell * i * (1 - g * g);
        df[j] = dcell * before[j] * f * (1 - f);
        dc[j] = dcell * f;
        dh[j] = 0;
    }
}

static void lstm_grad_f64(size_t n, const nnl_cell_back *s) {
    const double *gi = s->gates, *gf = gi + n, *gg = gf + n, *go = gg + n;
    const double *dy = s->dy, *kept = s->kept, *before = s->before;
    double *di = s->dgates, *df = di + n, *dg = df + n, *dz = dg + n, *dh = s->dh, *dc = s->dc;
    for (size_t j = 0; j < n; j++) {
        double i = gi[j], f = gf[j], g = gg[j], o = go[j], t = tanh(kept[j]), d = dh[j] + dy[j];
        double dcell = dc[j] + d * o * (1 - t * t);
        dz[j] = d * t * o * (1 - o);
        di[j] = dcell * g * i * (1 - i);
        dg[j] = dcell * i * (1 - g * g);
        df[j] = dcell * before[j] * f * (1 - f);
        dc[j] = dcell * f;
        dh[j] = 0;
    }
}

// ---- gated recurrent unit (Cho et al. 2014, the reset gate behind the product): n = tanh(x part + r hidden
// part), h = n + z (h - n). The bias is that of r, of z, and both of n.

static void gru_f32(size_t n, const nnl_cell_step *s) {
    float *gr = s->gates, *gz = gr + n, *gn = gz + n, *h = s->h, *y = s->y, *kept = s->kept;
    const float *hr = s->hidden, *hz = hr + n, *hn = hz + n;
    const float *br = s->bias, *bz = br + n, *bx = bz + n, *bh = bx + n;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) {
        float r = v_sigmoid(gr[j] + hr[j] + br[j]), z = v_sigmoid(gz[j] + hz[j] + bz[j]);
        float part = hn[j] + bh[j], fresh = v_tanh(gn[j] + bx[j] + r * part);
        gr[j] = r, gz[j] = z, gn[j] = fresh;
        kept[j] = part;
        h[j] = y[j] = fresh + z * (h[j] - fresh);
    }
}

static void gru_f64(size_t n, const nnl_cell_step *s) {
    double *gr = s->gates, *gz = gr + n, *gn = gz + n, *h = s->h, *y = s->y, *kept = s->kept;
    const double *hr = s->hidden, *hz = hr + n, *hn = hz + n;
    const double *br = s->bias, *bz = br + n, *bx = bz + n, *bh = bx + n;
    for (size_t j = 0; j < n; j++) {
        double r = v_sigmoid(gr[j] + hr[j] + br[j]), z = v_sigmoid(gz[j] + hz[j] + bz[j]);
        double part = hn[j] + bh[j], fresh = tanh(gn[j] + bx[j] + r * part);
        gr[j] = r, gz[j] = z, gn[j] = fresh;
        kept[j] = part;
        h[j] = y[j] = fresh + z * (h[j] - fresh);
    }
}

static void gru_grad_f32(size_t n, const nnl_cell_back *s) {
    const float *gr = s->gates, *gz = gr + n, *gn = gz + n;
    const float *dy = s->dy, *kept = s->kept, *before = s->before;
    float *dr = s->dgates, *dz = dr + n, *dn = dz + n, *hr = s->dhidden, *hz = hr + n, *hn = hz + n;
    float *dh = s->dh;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) {
        float r = gr[j], z = gz[j], fresh = gn[j], d = dh[j] + dy[j];
        float dfresh = d * (1 - z) * (1 - fresh * fresh);
        dn[j] = dfresh;
        hn[j] = dfresh * r;
        dr[j] = hr[j] = dfresh * kept[j] * r * (1 - r);
        dz[j] = hz[j] = d * (before[j] - fresh) * z * (1 - z);
        dh[j] = d * z;
    }
}

static void gru_grad_f64(size_t n, const nnl_cell_back *s) {
    const double *gr = s->gates, *gz = gr + n, *gn = gz + n;
    const double *dy = s->dy, *kept = s->kept, *before = s->before;
    double *dr = s->dgates, *dz = dr + n, *dn = dz + n, *hr = s->dhidden, *hz = hr + n, *hn = hz + n;
    double *dh = s->dh;
    for (size_t j = 0; j < n; j++) {
        double r = gr[j], z = gz[j], fresh = gn[j], d = dh[j] + dy[j];
        double dfresh = d * (1 - z) * (1 - fresh * fresh);
        dn[j] = dfresh;
        hn[j] = dfresh * r;
        dr[j] = hr[j] = dfresh * kept[j] * r * (1 - r);
        dz[j] = hz[j] = d * (before[j] - fresh) * z * (1 - z);
        dh[j] = d * z;
    }
}

const nnl_recurrent_kernels NNL_ISA_NAME(nnl_recurrent) = {
    .step = {[NNL_CELL_TANH] = {tanh_f32, tanh_f64},
             [NNL_CELL_RELU] = {relu_f32, relu_f64},
             [NNL_CELL_LSTM] = {lstm_f32, lstm_f64},
             [NNL_CELL_GRU] = {gru_f32, gru_f64}},
    .back = {[NNL_CELL_TANH] = {tanh_grad_f32, tanh_grad_f64},
             [NNL_CELL_RELU] = {relu_grad_f32, relu_grad_f64},
             [NNL_CELL_LSTM] = {lstm_grad_f32, lstm_grad_f64},
             [NNL_CELL_GRU] = {gru_grad_f32, gru_grad_f64}},
    .panel = PANEL,
    .pack = pack,
    .add_packed = add_packed,
};
