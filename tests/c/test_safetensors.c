// test_safetensors.c: reading and writing safetensors files, good ones and bad ones.
#include "check.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "kernel/kernel.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static nnl_context *ctx;
static char folder[] = P_tmpdir "/nnlua_test_XXXXXX";

static const char *in_folder(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int files_in_folder(void) {
    int count = 0;
    DIR *dir = opendir(folder);
    if (!dir) return -1;
    for (struct dirent *item = readdir(dir); item; item = readdir(dir)) count += item->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void write_file(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!CHECK(file != NULL)) return;
    CHECK(fwrite(data, 1, size, file) == size);
    fclose(file);
}

// A tensor of 0, 1, 2, ... (modulo 2 for bool).
static nnl_tensor *counting(nnl_dtype dtype, nnl_shape shape) {
    nnl_tensor *t = nnl_tensor_new(ctx, dtype, &shape);
    char *data = nnl_tensor_data(t);
    for (int64_t i = 0; i < nnl_tensor_numel(t); i++)
        nnl_element_write(dtype, data + (size_t)i * nnl_dtype_size(dtype),
                          nnl_number_int(dtype == NNL_BOOL ? i % 2 : i));
    return t;
}

static double element(const nnl_tensor *t, int64_t i) {
    return nnl_element_read(t->dtype, (char *)nnl_tensor_data(t) + (size_t)i * nnl_dtype_size(t->dtype)).d;
}

#define SHAPE(...)                                                                                           \
    nnl_shape_of((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
#define SCALAR_SHAPE nnl_shape_of(0, NULL)

static nnl_named_tensor named(const char *name, nnl_tensor *t) {
    return (nnl_named_tensor){name, strlen(name), t};
}

static void release_all(nnl_named_tensor *tensors, size_t count) {
    for (size_t i = 0; i < count; i++) nnl_tensor_release(tensors[i].tensor);
}

static const nnl_named_tensor *find(const nnl_safetensors *set, const char *name) {
    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->tensors[i].name, name) == 0) return &set->tensors[i];
    }
    return NULL;
}

static void test_round_trip(void) {
    nnl_named_tensor tensors[NNL_DTYPE_COUNT + 2];
    char names[NNL_DTYPE_COUNT][16];
    for (int i = 0; i < NNL_DTYPE_COUNT; i++) {
        snprintf(names[i], sizeof names[i], "%s", nnl_dtype_get((nnl_dtype)i)->name);
        tensors[i] = named(names[i], counting((nnl_dtype)i, SHAPE(3, 5)));
    }
    tensors[NNL_DTYPE_COUNT] = named("scalar", counting(NNL_FLOAT64, SCALAR_SHAPE));
    tensors[NNL_DTYPE_COUNT + 1] = named("empty \xc3\xa9\"", counting(NNL_FLOAT32, SHAPE(4, 0)));
    nnl_metadata metadata = {"format", "nn\nlua", 6, 6};
    nnl_safetensors set = {
        .tensors = tensors, .count = NNL_DTYPE_COUNT + 2, .metadata = &metadata, .metadata_count = 1};
    const char *path = in_folder("all.safetensors");
    CHECK(nnl_safetensors_save(ctx, path, &set) == NNL_OK);
    nnl_safetensors back;
    if (!CHECK_MESSAGE(nnl_safetensors_load(ctx, path, true, &back) == NNL_OK, "%s", ctx->error)) return;
    CHECK_INT(back.count, set.count);
    CHECK(back.metadata_count == 1 && strcmp(back.metadata[0].value, "nn\nlua") == 0);
    for (size_t i = 0; i < set.count; i++) {
        const nnl_named_tensor *got = find(&back, tensors[i].name);
        if (!CHECK_MESSAGE(got != NULL, "%s is missing", tensors[i].name)) continue;
        CHECK_INT(got->tensor->dtype, tensors[i].tensor->dtype);
        CHECK(nnl_shape_equal(&got->tensor->shape, &tensors[i].tensor->shape));
        CHECK(got->name == back.tensors[i].name); // the order of the file
        for (int64_t k = 0; k < nnl_tensor_numel(got->tensor); k++)
            CHECK_NEAR(element(got->tensor, k), element(tensors[i].tensor, k), 0);
    }
    nnl_safetensors_free(&back);
    release_all(tensors, set.count);
    CHECK_INT(files_in_folder(), 1);
    unlink(path);
}

static void test_views_are_written_contiguous(void) {
    nnl_tensor *t = counting(NNL_FLOAT32, SHAPE(2, 3));
    nnl_shape turned = SHAPE(3, 2);
    nnl_tensor *view = nnl_tensor_alias(t, &turned, (int64_t[]){1, 3}, 0);
    nnl_named_tensor item = named("w", view);
    nnl_safetensors set = {.tensors = &item, .count = 1}, back;
    nnl_bytes out = {.ctx = ctx};
    CHECK(nnl_safetensors_write(ctx, &set, &out) == NNL_OK);
    uint64_t header;
    memcpy(&header, out.data, sizeof header);
    CHECK_INT(header % 8, 0);
    if (CHECK(nnl_safetensors_parse(ctx, out.data, out.length, &back) == NNL_OK)) {
        static const double expected[] = {0, 3, 1, 4, 2, 5};
        for (int i = 0; i < 6; i++) CHECK_NEAR(element(back.tensors[0].tensor, i), expected[i], 0);
        nnl_safetensors_free(&back);
    }
    nnl_bytes_free(&out);
    nnl_tensor_release(view);
    nnl_tensor_release(t);
}

static void test_mapping(void) {
    const char *path = in_folder("map.safetensors");
    nnl_named_tensor items[] = {named("a", counting(NNL_FLOAT32, SHAPE(4))),
                                named("b", counting(NNL_UINT8, SHAPE(3))),
                                named("c", counting(NNL_FLOAT64, SHAPE(2)))};
    nnl_safetensors set = {.tensors = items, .count = 3}, once, again;
    CHECK(nnl_safetensors_save(ctx, path, &set) == NNL_OK);
    CHECK(nnl_safetensors_load(ctx, path, true, &once) == NNL_OK);
    nnl_tensor *a = nnl_tensor_retain(once.tensors[0].tensor), *c = once.tensors[2].tensor;
    CHECK_MESSAGE(a->storage->release == nnl_mapping_release, "an aligned tensor was copied");
    CHECK_MESSAGE(c->storage->release == NULL, "a misaligned tensor was not copied");
    nnl_safetensors_free(&once);
    ((float *)nnl_tensor_data(a))[0] = 42;
    CHECK(nnl_safetensors_load(ctx, path, true, &again) == NNL_OK);
    CHECK_NEAR(element(again.tensors[0].tensor, 0), 0, 0);
    CHECK_NEAR(element(again.tensors[2].tensor, 1), 1, 0);
    items[0].tensor->shape.size[0] = 2; // another file in its place leaves the mapped one as it was
    CHECK(nnl_safetensors_save(ctx, path, &set) == NNL_OK);
    CHECK_NEAR(element(again.tensors[0].tensor, 3), 3, 0);
    CHECK_NEAR(element(a, 0), 42, 0);
    nnl_safetensors_free(&again);
    nnl_tensor_release(a);
    release_all(items, 3);
    unlink(path);
}

// A file from its header and so many bytes of data 1, 2, 3, ...
static nnl_status parse_made(const char *header, size_t data, nnl_safetensors *out) {
    nnl_bytes file = {.ctx = ctx};
    uint64_t length = strlen(header);
    nnl_bytes_add(&file, &length, sizeof length);
    nnl_bytes_add(&file, header, length);
    for (size_t i = 0; i < data; i++) nnl_bytes_add(&file, &(char){(char)(i + 1)}, 1);
    nnl_status status = nnl_safetensors_parse(ctx, file.data, file.length, out);
    nnl_bytes_free(&file);
    return status;
}

static void check_refused(const char *header, size_t data, const char *message) {
    nnl_safetensors out;
    nnl_status status = parse_made(header, data, &out);
    CHECK_MESSAGE(status == NNL_ERR_IO, "accepted: %s", header);
    CHECK_MESSAGE(status != NNL_OK && strstr(ctx->error, message), "%s: %s", header, ctx->error);
    if (status == NNL_OK) nnl_safetensors_free(&out);
}

#define TENSOR(name, dtype, shape, offsets)                                                                  \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_header_refusals(void) {
    check_refused("[]", 0, "'{' expected");
    check_refused(" {}", 0, "'{' expected");
    check_refused("{}x", 0, "text behind the value");
    check_refused("{}", 1, "1 bytes of data, of which the tensors fill 0");
    check_refused("{\"a\":1}", 0, "described by an object");
    check_refused("{\"a\":{}}", 0, "tensor 'a' has no dtype");
    check_refused("{\"a\":{\"dtype\":\"F32\"}}", 0, "has no shape");
    check_refused("{\"a\":{\"dtype\":\"F32\",\"x\":1}}", 0, "unknown key");
    check_refused("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "a key twice");
    check_refused("{\"a\":{\"dtype\":4}}", 0, "dtype is no string");
    check_refused("{" TENSOR("a", "F4", "[1]", "[0,1]") "}", 1, "dtype 'F4' is not supported");
    check_refused("{" TENSOR("a", "U64", "[17]", "[0,136]") "}", 136, "an integer is too large for int64");
    check_refused("{" TENSOR("a", "U8", "[-1]", "[0,1]") "}", 1, "shape is no array");
    check_refused("{" TENSOR("a", "U8", "[1.0]", "[0,1]") "}", 1, "shape is no array");
    check_refused("{" TENSOR("a", "U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1,
                  "at most 16 sizes");
    check_refused("{" TENSOR("a", "U8", "[1]", "[0]") "}", 1, "no pair of integers");
    check_refused("{" TENSOR("a", "U8", "[1]", "[0,1,2]") "}", 1, "no pair of integers");
    check_refused("{" TENSOR("a", "U8", "[1]", "[0,18446744073709551615]") "}", 1, "no pair of integers");
}

static void test_data_refusals(void) {
    check_refused("{" TENSOR("a", "U8", "[1]", "[1,0]") "}", 1, "bytes 1 to 0 are not within");
    check_refused("{" TENSOR("a", "U8", "[2]", "[0,2]") "}", 1, "bytes 0 to 2 are not within the 1 bytes");
    check_refused("{" TENSOR("a", "F32", "[2]", "[0,4]") "}", 4, "4 bytes do not make shape (2)");
    check_refused("{" TENSOR("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "do not make shape");
    check_refused("{" TENSOR("a", "F32", "[0,9223372036854775807,9]", "[0,0]") "}", 0, "do not make shape");
    check_refused("{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("b", "U8", "[1]", "[0,1]") "}", 1,
                  "tensor 'b' begins at byte 0 of the data instead of 1");
    check_refused("{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("b", "U8", "[1]", "[2,3]") "}", 3,
                  "begins at byte 2 of the data instead of 1");
    check_refused("{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("a", "U8", "[1]", "[1,2]") "}", 2,
                  "'a' is there twice");
    check_refused("{" TENSOR("a", "U8", "[1]", "[1,2]") "}", 2, "begins at byte 1");
    check_refused("{" TENSOR("a", "BOOL", "[2]", "[0,2]") "}", 2, "a bool is neither 0 nor 1");
}

static void test_metadata_refusals(void) {
    check_refused("{\"__metadata__\":[]}", 0, "__metadata__ is no object");
    check_refused("{\"__metadata__\":{\"a\":1}}", 0, "something else than strings");
    check_refused("{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, "has 'a' twice");
    check_refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ twice");
}

static void check_bytes_refused(const char *bytes, size_t size) {
    nnl_safetensors out;
    CHECK(nnl_safetensors_parse(ctx, bytes, size, &out) == NNL_ERR_IO);
    CHECK_MESSAGE(strstr(ctx->error, "no safetensors file") != NULL, "%s", ctx->error);
}

static void test_length_refusals(void) {
    check_bytes_refused("", 0);
    check_bytes_refused("\2\0\0\0\0\0\0", 7);
    check_bytes_refused("\0\0\0\0\0\0\0\0", 8);
    check_bytes_refused("\3\0\0\0\0\0\0\0{}", 10);
    check_bytes_refused("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    check_bytes_refused("\1\xe1\xf5\5\0\0\0\0{}", 10); // one more than 100 MB
}

static void test_widening(void) {
    nnl_safetensors out;
    static const char header[] =
        "{" TENSOR("a", "I8", "[2]", "[0,2]") "," TENSOR("b", "I16", "[1]", "[2,4]") "," TENSOR(
            "c", "U16", "[1]", "[4,6]") "," TENSOR("d", "U32", "[1]", "[6,10]") "}";
    if (!CHECK_MESSAGE(parse_made(header, 10, &out) == NNL_OK, "%s", ctx->error)) return;
    static const double expected[] = {1, 0x403, 0x605, 0x0a090807};
    for (int i = 0; i < 4; i++) {
        CHECK_INT(out.tensors[i].tensor->dtype, NNL_INT64);
        CHECK_NEAR(element(out.tensors[i].tensor, 0), expected[i], 0);
    }
    nnl_safetensors_free(&out);
}

static void test_odd_names(void) {
    nnl_safetensors out;
    if (!CHECK(
            parse_made("{" TENSOR("", "U8", "[1]", "[1,2]") "," TENSOR("\\u0000a", "U8", "[]", "[0,1]") "}  ",
                       2, &out) == NNL_OK))
        return;
    CHECK_INT(out.tensors[0].name_length, 2);
    CHECK_INT(out.tensors[1].name_length, 0);
    nnl_safetensors_free(&out);
}

static void test_missing_files(void) {
    nnl_safetensors out;
    CHECK(nnl_safetensors_load(ctx, in_folder("none"), true, &out) == NNL_ERR_IO);
    CHECK_MESSAGE(strstr(ctx->error, "/none: cannot open: No such file") != NULL, "%s", ctx->error);
    CHECK(nnl_safetensors_load(ctx, folder, true, &out) == NNL_ERR_IO);
    CHECK_MESSAGE(strstr(ctx->error, ": not a file") != NULL, "%s", ctx->error);
    write_file(in_folder("empty"), "", 0);
    CHECK(nnl_safetensors_load(ctx, in_folder("empty"), true, &out) == NNL_ERR_IO);
    CHECK_MESSAGE(strstr(ctx->error, "/empty: no safetensors file") != NULL, "%s", ctx->error);
    unlink(in_folder("empty"));
    nnl_safetensors nothing = {.count = 0};
    CHECK(nnl_safetensors_save(ctx, in_folder("no/such/folder"), &nothing) == NNL_ERR_IO);
    CHECK_INT(files_in_folder(), 0);
}

// The process may write 64 kB to a file: the disk is full, so to speak.
static void test_failed_writes(void) {
    const char *path = in_folder("old.safetensors");
    nnl_named_tensor small = named("w", counting(NNL_FLOAT32, SHAPE(4)));
    nnl_named_tensor large = named("w", counting(NNL_FLOAT32, SHAPE(100000)));
    nnl_safetensors set = {.tensors = &small, .count = 1}, back;
    CHECK(nnl_safetensors_save(ctx, path, &set) == NNL_OK);
    CHECK(chmod(path, 0640) == 0);
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){.rlim_cur = 65536, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    set.tensors = &large;
    CHECK(nnl_safetensors_save(ctx, path, &set) == NNL_ERR_IO);
    CHECK_MESSAGE(strstr(ctx->error, "old.safetensors: cannot write: ") != NULL, "%s", ctx->error);
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK_INT(files_in_folder(), 1);
    CHECK(nnl_safetensors_load(ctx, path, true, &back) == NNL_OK &&
          back.tensors[0].tensor->shape.size[0] == 4);
    nnl_safetensors_free(&back);
    CHECK(nnl_safetensors_save(ctx, path, &set) == NNL_OK);
    struct stat info;
    CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0640);
    nnl_tensor_release(small.tensor);
    nnl_tensor_release(large.tensor);
    unlink(path);
}

static void test_write_refusals(void) {
    nnl_tensor *t = counting(NNL_FLOAT32, SHAPE(1));
    nnl_named_tensor items[] = {named("a", t), named("b", t), named("a", t)};
    nnl_safetensors set = {.tensors = items, .count = 3};
    nnl_bytes out = {.ctx = ctx};
    CHECK(nnl_safetensors_write(ctx, &set, &out) == NNL_ERR_ARGUMENT);
    CHECK(strstr(ctx->error, "tensor 'a' is there twice") != NULL);
    items[2] = named("__metadata__", t);
    CHECK(nnl_safetensors_write(ctx, &set, &out) == NNL_ERR_ARGUMENT);
    items[2] = named("\xff", t);
    CHECK(nnl_safetensors_write(ctx, &set, &out) == NNL_ERR_ARGUMENT);
    CHECK(strstr(ctx->error, "not UTF-8") != NULL);
    CHECK_INT(out.length, 0);
    nnl_bytes_free(&out);
    nnl_tensor_release(t);
}

// Every allocation fails once, on the way out and on the way in.
static void test_out_of_memory(void) {
    const char *path = in_folder("memory.safetensors");
    nnl_named_tensor items[] = {named("a", counting(NNL_FLOAT32, SHAPE(4))),
                                named("b", counting(NNL_UINT8, SHAPE(3))),
                                named("c", counting(NNL_FLOAT64, SHAPE(2)))};
    nnl_metadata metadata = {"k", "v", 1, 1};
    nnl_safetensors set = {.tensors = items, .count = 3, .metadata = &metadata, .metadata_count = 1}, back;
    size_t live = ctx->allocator.stats.live;
    nnl_status saved = NNL_ERR_MEMORY, loaded = NNL_ERR_MEMORY;
    for (int k = 0; k < 100 && saved != NNL_OK; k++) {
        ctx->allocator.fail_after = k;
        saved = nnl_safetensors_save(ctx, path, &set);
        CHECK(saved == NNL_OK || saved == NNL_ERR_MEMORY);
        CHECK_INT(ctx->allocator.stats.live, live);
    }
    for (int k = 0; k < 100 && loaded != NNL_OK; k++) {
        ctx->allocator.fail_after = k;
        loaded = nnl_safetensors_load(ctx, path, true, &back);
        CHECK(loaded == NNL_OK || loaded == NNL_ERR_MEMORY);
        if (loaded != NNL_OK) CHECK_INT(ctx->allocator.stats.live, live);
    }
    ctx->allocator.fail_after = -1;
    CHECK(saved == NNL_OK && loaded == NNL_OK);
    nnl_safetensors_free(&back);
    release_all(items, 3);
    unlink(path);
}

int main(void) {
    ctx = nnl_context_new();
    ctx->kernels = nnl_kernels_best();
    if (!mkdtemp(folder)) return 1;
    check_that("tensors of every dtype and text come back as they were, in order");
    test_round_trip();
    check_that("views are written contiguous, and the data begins aligned");
    test_views_are_written_contiguous();
    check_that("loaded tensors are views of the file, and changing them does not change it");
    test_mapping();
    check_that("a header that is not as it should be is refused");
    test_header_refusals();
    check_that("a header that does not fit the data is refused");
    test_data_refusals();
    check_that("metadata that is not text by name is refused");
    test_metadata_refusals();
    check_that("a length that does not fit the file is refused");
    test_length_refusals();
    check_that("small integers that have no dtype here become int64");
    test_widening();
    check_that("names may be empty and hold zero bytes");
    test_odd_names();
    check_that("what cannot be opened is an error with path and reason");
    test_missing_files();
    check_that("a write that fails leaves the old file, and no other");
    test_failed_writes();
    check_that("names that no file can have are refused before anything is written");
    test_write_refusals();
    check_that("running out of memory is an error each time and leaks nothing");
    test_out_of_memory();
    check_that("no memory and no file is left");
    CHECK_INT(ctx->allocator.stats.live, 0);
    CHECK_INT(ctx->live_tensors, 0);
    CHECK_INT(files_in_folder(), 0);
    rmdir(folder);
    nnl_context_release(ctx);
    return check_end();
}
