/* safetensors: what is written is what the format says and comes back to the same bits; a damaged
 * file is an error that names the file and says what is wrong. Each case of damage is one line. */
#include "base/error.h"
#include "base/file.h"
#include "model/safetensors.h"

#include <glib/gstdio.h>
#include <string.h>

static char *dir;

static char *path_of(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static void test_round_trip(void)
{
    static const float f32[6] = {1.5f, -0.0f, 3e38f, 1e-45f, -7, 0.1f};
    static const double f64[2] = {1e300, -2};
    static const int64_t i64 = -42;
    static const uint64_t u64[1] = {UINT64_MAX};
    static const uint8_t u8[3] = {0, 128, 255};
    const st_tensor tensors[] = {
        {"small", ST_U8, 1, {3}, u8},        {"a.weight", ST_F32, 3, {1, 2, 3}, f32},
        {"a.tracked", ST_I64, 0, {0}, &i64}, {"γ \"quoted\"", ST_F64, 1, {2}, f64},
        {"big", ST_U64, 1, {1}, u64},        {"empty", ST_F32, 2, {0, 5}, f32},
    };
    g_autofree char *path = path_of("round.safetensors");
    g_autoptr(GError) error = NULL;
    g_autoptr(GHashTable) metadata = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_hash_table_insert(metadata, g_strdup("key"), g_strdup("value, \"quoted\"\nλ"));
    g_assert_true(st_write(path, tensors, G_N_ELEMENTS(tensors), metadata, &error));
    g_autoptr(st_file) file = st_open(path, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(st_n(file), ==, G_N_ELEMENTS(tensors));
    g_assert_cmpstr(st_metadata(file, "key"), ==, "value, \"quoted\"\nλ");
    g_assert_null(st_metadata(file, "other"));
    g_assert_null(st_find(file, "other"));
    for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++) {
        const st_tensor *want = &tensors[i], *got = st_find(file, want->name);
        g_assert_nonnull(got);
        g_assert_cmpint(got->dtype, ==, want->dtype);
        g_assert_cmpint(got->n_dims, ==, want->n_dims);
        for (int d = 0; d < want->n_dims; d++)
            g_assert_cmpint(got->shape[d], ==, want->shape[d]);
        size_t bytes = (size_t)st_elements(want) * st_dtype_bytes(want->dtype);
        g_assert_cmpuint((uintptr_t)got->data % st_dtype_bytes(got->dtype), ==, 0);
        g_assert_true(bytes == 0 || memcmp(got->data, want->data, bytes) == 0);
    }
}

/* The layout: length, JSON padded by spaces so that the data starts at a multiple of 8. */
static void test_layout(void)
{
    static const float one = 1;
    const st_tensor tensor = {"x", ST_F32, 1, {1}, &one};
    g_autofree char *path = path_of("layout.safetensors"), *bytes = NULL;
    gsize size;
    uint64_t header;
    g_assert_true(st_write(path, &tensor, 1, NULL, NULL));
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    memcpy(&header, bytes, 8);
    g_assert_cmpuint(header % 8, ==, 0);
    g_assert_cmpuint(size, ==, 8 + header + 4);
    const st_tensor *tensors[] = {&tensor};
    g_autofree char *sum = st_checksum(tensors, 1, NULL);
    g_autofree char *json =
        g_strdup_printf("{\"__metadata__\":{\"" ST_CHECKSUM_KEY "\":\"%s\"},"
                        "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                        sum);
    g_assert_true(strncmp(bytes + 8, json, strlen(json)) == 0);
    for (uint64_t i = strlen(json); i < header; i++)
        g_assert_cmpint(bytes[8 + i], ==, ' ');
}

/* Every single changed byte of the data, and a changed word of the metadata, is found; a file without a
 * checksum is read as before. */
static void test_checksum(void)
{
    static const float values[] = {1, -2, 0.5f};
    const st_tensor tensor = {"x", ST_F32, 1, {3}, values};
    g_autoptr(GHashTable) metadata = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_insert(metadata, (gpointer)(uintptr_t) "iteration", (gpointer)(uintptr_t) "40");
    g_autofree char *path = path_of("sum.safetensors"), *bytes = NULL;
    gsize size;
    GError *error = NULL;
    bool vouched;
    g_assert_true(st_write(path, &tensor, 1, metadata, NULL));
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    char *number = g_strstr_len(bytes + 8, (gssize)size - 8, "\"40\"");
    g_assert_nonnull(number);
    for (int i = -2; i < (int)sizeof values; i++) {
        char *at = i < 0 ? number + 1 : bytes + size - sizeof values + i, kept = *at;
        *at = i == -2 ? kept : i < 0 ? '9' : (char)(kept ^ 1);
        g_assert_true(g_file_set_contents(path, bytes, (gssize)size, NULL));
        st_file *file = st_open(path, &error);
        g_assert_no_error(error);
        g_assert_cmpint(st_verify(file, &vouched, i == -2 ? NULL : &error), ==, i == -2);
        g_assert_true(vouched);
        if (i > -2) {
            g_assert_nonnull(strstr(error->message, "its content is not what was written"));
            g_clear_error(&error);
        }
        st_close(file);
        *at = kept;
    }
}

/* A file from its header and `data_bytes` zeros; length < 0: the header's own. */
static char *write_raw(const char *header, size_t data_bytes, int64_t length)
{
    char *path = path_of("damaged.safetensors");
    size_t n = strlen(header);
    g_autofree char *file = g_malloc0(8 + n + data_bytes);
    uint64_t stated = length < 0 ? n : (uint64_t)length;
    memcpy(file, &stated, 8);
    memcpy(file + 8, header, n);
    g_assert_true(g_file_set_contents(path, file, (gssize)(8 + n + data_bytes), NULL));
    return path;
}

#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *name, *header;
    size_t data_bytes;
    int64_t length;
    qs_error_code code;
    const char *says;
} damage[] = {
    {"header-longer-than-file", "{}", 0, 3, QS_ERROR_FORMAT,
     "header would be 3 bytes in a file of 10"},
    {"header-huge", "{}", 64, INT64_MAX, QS_ERROR_FORMAT,
     "header would be 9223372036854775807 bytes"},
    {"header-empty", "", 8, 0, QS_ERROR_FORMAT, "does not begin with '{'"},
    {"header-not-json", "{\"x\":", 4, -1, QS_ERROR_FORMAT, "is not JSON"},
    {"header-array", "[1,2]", 0, -1, QS_ERROR_FORMAT, "does not begin with '{'"},
    {"header-not-utf8", "{\"\xff\":1}", 0, -1, QS_ERROR_FORMAT, "UTF-8"},
    {"header-deep", "{\"x\":[[[[[[1]]]]]]}", 0, -1, QS_ERROR_FORMAT, "nests too deep"},
    {"tensor-not-object", "{\"x\":4}", 0, -1, QS_ERROR_FORMAT, "tensor 'x' is not an object"},
    {"no-dtype", "{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, -1, QS_ERROR_FORMAT,
     "has no dtype"},
    {"dtype-unknown", "{\"x\":" ENTRY("BF16", "[2]", "[0,4]") "}", 4, -1, QS_ERROR_UNSUPPORTED,
     "has dtype BF16"},
    {"no-shape", "{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, -1, QS_ERROR_FORMAT,
     "no shape"},
    {"shape-negative", "{\"x\":" ENTRY("F32", "[-1]", "[0,4]") "}", 4, -1, QS_ERROR_FORMAT,
     "no shape of whole"},
    {"shape-fraction", "{\"x\":" ENTRY("F32", "[1.5]", "[0,4]") "}", 4, -1, QS_ERROR_FORMAT,
     "no shape of whole"},
    {"shape-overflow", "{\"x\":" ENTRY("F32", "[4294967296,4294967296,4]", "[0,4]") "}", 4, -1,
     QS_ERROR_FORMAT, "impossible shape [4294967296, 4294967296, 4]"},
    {"shape-5-dimensions", "{\"x\":" ENTRY("F32", "[1,1,1,1,1]", "[0,4]") "}", 4, -1,
     QS_ERROR_UNSUPPORTED, "has 5 dimensions"},
    {"size-wrong", "{\"x\":" ENTRY("F32", "[2]", "[0,4]") "}", 4, -1, QS_ERROR_FORMAT,
     "has 4 bytes instead of 8"},
    {"no-offsets", "{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, -1, QS_ERROR_FORMAT,
     "no two data_offsets"},
    {"offsets-three", "{\"x\":" ENTRY("F32", "[1]", "[0,4,8]") "}", 8, -1, QS_ERROR_FORMAT,
     "no two data_offsets"},
    {"offsets-backward", "{\"x\":" ENTRY("F32", "[1]", "[4,0]") "}", 4, -1, QS_ERROR_FORMAT,
     "lies at 4 to 0"},
    {"data-cut", "{\"x\":" ENTRY("F32", "[3]", "[0,12]") "}", 11, -1, QS_ERROR_FORMAT,
     "lies at 0 to 12 of 11 data bytes (is the file cut short?)"},
    {"overlap", "{\"x\":" ENTRY("F32", "[2]", "[0,8]") ",\"y\":" ENTRY("F32", "[1]", "[4,8]") "}",
     8, -1, QS_ERROR_FORMAT,
     "tensor 'y' begins at data byte 4 but the one before it ends at 8 (they overlap)"},
    {"hole", "{\"x\":" ENTRY("F32", "[1]", "[4,8]") "}", 8, -1, QS_ERROR_FORMAT, "(a hole)"},
    {"bytes-after", "{\"x\":" ENTRY("F32", "[1]", "[0,4]") "}", 7, -1, QS_ERROR_FORMAT,
     "3 bytes follow the last tensor"},
    {"metadata-not-object", "{\"__metadata__\":3}", 0, -1, QS_ERROR_FORMAT,
     "__metadata__ is not an object"},
    {"metadata-number", "{\"__metadata__\":{\"a\":3}}", 0, -1, QS_ERROR_FORMAT,
     "__metadata__ 'a' is not a string"},
};

static void test_damage(gconstpointer data)
{
    size_t i = GPOINTER_TO_SIZE(data);
    g_autoptr(GError) error = NULL;
    g_autofree char *path = write_raw(damage[i].header, damage[i].data_bytes, damage[i].length);
    g_autoptr(st_file) file = st_open(path, &error);
    g_assert_null(file);
    g_assert_error(error, QS_ERROR, (int)damage[i].code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, damage[i].says));
    g_assert_true(g_str_has_prefix(error->message, path));
}

static void test_no_file(void)
{
    g_autofree char *missing = path_of("missing"), *empty = path_of("empty");
    g_assert_true(g_file_set_contents(empty, "", 0, NULL));
    const struct {
        const char *path;
        qs_error_code code;
    } cases[] = {{missing, QS_ERROR_IO}, {empty, QS_ERROR_FORMAT}, {dir, QS_ERROR_IO}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(st_open(cases[i].path, &error));
        g_assert_error(error, QS_ERROR, (int)cases[i].code);
        g_assert_nonnull(strstr(error->message, cases[i].path));
    }
}

/* A sound file cut at every length is an error at every length. */
static void test_cut_anywhere(void)
{
    static const float v[4] = {1, 2, 3, 4};
    const st_tensor tensors[] = {{"x", ST_F32, 1, {3}, v}, {"y", ST_F32, 1, {1}, v + 3}};
    g_autofree char *path = path_of("whole.safetensors"), *cut = path_of("cut.safetensors");
    g_autofree char *bytes = NULL;
    gsize size;
    g_assert_true(st_write(path, tensors, 2, NULL, NULL));
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    for (gsize n = 0; n < size; n++) {
        g_autoptr(GError) error = NULL;
        g_assert_true(g_file_set_contents(cut, bytes, (gssize)n, NULL));
        g_assert_null(st_open(cut, &error));
        g_assert_error(error, QS_ERROR, QS_ERROR_FORMAT);
    }
}

/* Every byte of the header changed in turn: an error or a sound file, never a crash. */
static void test_any_byte_changed(void)
{
    static const float v[4] = {1, 2, 3, 4};
    const st_tensor tensors[] = {{"x", ST_F32, 2, {3, 1}, v}, {"y", ST_F32, 1, {1}, v + 3}};
    g_autofree char *path = path_of("sound.safetensors"), *changed = path_of("changed.safetensors");
    g_autofree char *bytes = NULL;
    static const char values[] = {0, 1, '9', '"', '{', ']', ',', '\\', (char)0xFF};
    gsize size;
    int errors = 0;
    g_assert_true(st_write(path, tensors, 2, NULL, NULL));
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    for (gsize at = 0; at < size - 16; at++)
        for (size_t i = 0; i < sizeof values; i++) {
            g_autoptr(GError) error = NULL;
            char kept = bytes[at];
            bytes[at] = values[i];
            g_assert_true(g_file_set_contents(changed, bytes, (gssize)size, NULL));
            bytes[at] = kept;
            g_autoptr(st_file) file = st_open(changed, &error);
            g_assert_true((file == NULL) == (error != NULL));
            for (size_t t = 0; file && t < st_n(file); t++)
                g_assert_cmpint(st_elements(st_get(file, t)), <=, 4);
            errors += error != NULL;
        }
    g_assert_cmpint(errors, >, 300);
}

/* Foreign files may have tensors that are not aligned to their elements. */
static void test_unaligned(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = write_raw(
        "{\"b\":" ENTRY("U8", "[1]", "[0,1]") ",\"x\":" ENTRY("F64", "[1]", "[1,9]") "}", 9, -1);
    g_autoptr(st_file) file = st_open(path, &error);
    g_assert_no_error(error);
    const st_tensor *x = st_find(file, "x");
    g_assert_cmpuint((uintptr_t)x->data % 8, ==, 0);
    g_assert_true(*(const double *)x->data == 0);
}

static int fail_writes(void *user, qs_io_kind kind, const char *path, const char *path2,
                       int64_t offset, const void *data, size_t n)
{
    (void)user, (void)path, (void)path2, (void)offset, (void)data, (void)n;
    return kind == QS_IO_WRITE ? ENOSPC : 0;
}

/* A full disk: an error, and the old file whole. */
static void test_atomic(void)
{
    static const float old = 1, new = 2;
    st_tensor tensor = {"x", ST_F32, 0, {0}, &old};
    g_autoptr(GError) error = NULL;
    g_autofree char *path = path_of("atomic.safetensors");
    g_assert_true(st_write(path, &tensor, 1, NULL, NULL));
    tensor.data = &new;
    qs_io_set_hook(fail_writes, NULL);
    bool ok = st_write(path, &tensor, 1, NULL, &error);
    qs_io_set_hook(NULL, NULL);
    g_assert_false(ok);
    g_assert_error(error, QS_ERROR, QS_ERROR_IO);
    g_autoptr(st_file) file = st_open(path, NULL);
    g_assert_true(*(const float *)st_find(file, "x")->data == 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("qs-safetensors-XXXXXX", NULL);
    g_test_add_func("/safetensors/round-trip", test_round_trip);
    g_test_add_func("/safetensors/layout", test_layout);
    g_test_add_func("/safetensors/checksum", test_checksum);
    g_test_add_func("/safetensors/no-file", test_no_file);
    g_test_add_func("/safetensors/cut-anywhere", test_cut_anywhere);
    g_test_add_func("/safetensors/any-byte-changed", test_any_byte_changed);
    g_test_add_func("/safetensors/unaligned", test_unaligned);
    g_test_add_func("/safetensors/atomic", test_atomic);
    for (size_t i = 0; i < G_N_ELEMENTS(damage); i++) {
        g_autofree char *name = g_strdup_printf("/safetensors/damaged/%s", damage[i].name);
        g_test_add_data_func(name, GSIZE_TO_POINTER(i), test_damage);
    }
    int status = g_test_run();
    const char *name;
    GDir *list = g_dir_open(dir, 0, NULL);
    while (list && (name = g_dir_read_name(list))) {
        g_autofree char *path = path_of(name);
        g_unlink(path);
    }
    g_clear_pointer(&list, g_dir_close);
    g_rmdir(dir);
    g_free(dir);
    return status;
}
