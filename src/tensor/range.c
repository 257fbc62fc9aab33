// range.c: what new tensors are filled with: rows of numbers at equal distances, each computed from its
// index, so that no error adds up; random numbers for the shorter dtypes.
#include "tensor/apply.h"

#include <string.h>

static void fill_integers(nnl_tensor *dst, int64_t from, int64_t step) {
    int64_t n = nnl_tensor_numel(dst), *data = nnl_tensor_data(dst);
    uint64_t start = (uint64_t)from, distance = (uint64_t)step; // which may go round at the ends
    for (int64_t i = 0; i < n; i++) data[i] = (int64_t)(start + (uint64_t)i * distance);
}

static void write_from(nnl_tensor *dst, int64_t i, nnl_number value) {
    nnl_element_write(dst->dtype, (char *)nnl_tensor_data(dst) + (size_t)i * nnl_dtype_size(dst->dtype),
                      value);
}

void nnl_apply_range(nnl_tensor *dst, nnl_number from, nnl_number step) {
    int64_t n = nnl_tensor_numel(dst);
    bool whole = from.is_int && step.is_int;
    if (whole && dst->dtype == NNL_INT64) {
        fill_integers(dst, from.i, step.i);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint64_t integer = (uint64_t)from.i + (uint64_t)i * (uint64_t)step.i;
        write_from(dst, i,
                   whole ? nnl_number_int((int64_t)integer) : nnl_number_float(from.d + (double)i * step.d));
    }
}

// From both ends to the middle, so that both are exact.
void nnl_apply_linspace(nnl_tensor *dst, double from, double to) {
    int64_t n = nnl_tensor_numel(dst);
    double step = n > 1 ? (to - from) / (double)(n - 1) : 0;
    for (int64_t i = 0; i < n; i++) {
        bool first_half = i < n / 2 || n == 1;
        write_from(dst, i,
                   nnl_number_float(first_half ? from + (double)i * step : to - (double)(n - 1 - i) * step));
    }
}

void nnl_apply_shorten(nnl_tensor *t, nnl_dtype dtype) {
    uint32_t kept = dtype == NNL_BFLOAT16 ? 0xFFFF0000u : 0xFFFFE000u, bits;
    char *data = nnl_tensor_data(t);
    for (int64_t i = 0, n = nnl_tensor_numel(t); i < n; i++, data += sizeof bits) {
        memcpy(&bits, data, sizeof bits);
        bits &= kept;
        memcpy(data, &bits, sizeof bits);
    }
}
