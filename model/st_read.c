/* Reads safetensors files, trusting nothing in them. What the format promises is checked: the
 * header fits the file and is a JSON object, each tensor's bytes are its shape times its dtype, and
 * the tensors cover the data exactly, without overlap and without holes. */
#include "model/safetensors.h"

#include "base/error.h"

#include <json-glib/json-glib.h>
#include <string.h>

/* The format's own limit for a header; ours is some kB. */
enum { HEADER_BYTES_MAX = 100000000, JSON_DEPTH_MAX = 4 };

struct st_file {
    char *path;
    GMappedFile *map;
    GArray *tensors;      /* st_tensor, in the file's order of data */
    GPtrArray *copies;    /* of tensors that are not aligned in the file */
    GHashTable *by_name;  /* name (owned) → index + 1 */
    GHashTable *metadata; /* string → string, owned */
};

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
    [ST_F32] = {"F32", 4}, [ST_F64] = {"F64", 8}, [ST_I64] = {"I64", 8},
    [ST_U8] = {"U8", 1},   [ST_U64] = {"U64", 8},
};

const char *st_dtype_name(st_dtype dtype)
{
    return dtypes[dtype].name;
}

size_t st_dtype_bytes(st_dtype dtype)
{
    return dtypes[dtype].bytes;
}

int64_t st_elements(const st_tensor *tensor)
{
    int64_t n = 1;
    for (int d = 0; d < tensor->n_dims; d++)
        n *= tensor->shape[d];
    return n;
}

char *st_shape_text(const int64_t *shape, int n_dims)
{
    GString *text = g_string_new("[");
    for (int d = 0; d < n_dims; d++)
        g_string_append_printf(text, "%s%" G_GINT64_FORMAT, d ? ", " : "", shape[d]);
    g_string_append_c(text, ']');
    return g_string_free(text, FALSE);
}

static bool damaged(const st_file *file, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static bool damaged(const st_file *file, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: not a sound safetensors file: %s",
                file->path, text);
    return false;
}

/* ---- one tensor's entry -------------------------------------------------------------------- */
static bool read_dtype(const st_file *file, JsonObject *entry, st_tensor *tensor, GError **error)
{
    JsonNode *node = json_object_get_member(entry, "dtype");
    const char *name = node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
    if (!name)
        return damaged(file, error, "tensor '%s' has no dtype", tensor->name);
    for (size_t i = 0; i < G_N_ELEMENTS(dtypes); i++)
        if (g_str_equal(dtypes[i].name, name)) {
            tensor->dtype = (st_dtype)i;
            return true;
        }
    g_set_error(
        error, QS_ERROR, QS_ERROR_UNSUPPORTED,
        "%s: tensor '%s' has dtype %s; quadslide reads F32, F64, I64, U64 and U8 (convert it "
        "in PyTorch with .float())",
        file->path, tensor->name, name);
    return false;
}

/* The integers of array member `key`, all >= 0, at most `max`; -1 when it is not such an array. */
static int read_ints(JsonObject *entry, const char *key, int64_t *out, int max, guint *length)
{
    JsonNode *node = json_object_get_member(entry, key);
    if (!node || !JSON_NODE_HOLDS_ARRAY(node))
        return -1;
    JsonArray *array = json_node_get_array(node);
    *length = json_array_get_length(array);
    for (guint i = 0; i < *length && (int)i < max; i++) {
        JsonNode *item = json_array_get_element(array, i);
        if (!JSON_NODE_HOLDS_VALUE(item) || json_node_get_value_type(item) != G_TYPE_INT64)
            return -1;
        out[i] = json_node_get_int(item);
        if (out[i] < 0)
            return -1;
    }
    return (int)MIN(*length, (guint)max);
}

static bool read_shape(const st_file *file, JsonObject *entry, st_tensor *tensor, uint64_t *bytes,
                       GError **error)
{
    guint length = 0;
    tensor->n_dims = read_ints(entry, "shape", tensor->shape, ST_DIMS_MAX, &length);
    if (tensor->n_dims < 0)
        return damaged(file, error, "tensor '%s' has no shape of whole numbers", tensor->name);
    if (length > ST_DIMS_MAX) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: tensor '%s' has %u dimensions; quadslide reads up to %d", file->path,
                    tensor->name, length, ST_DIMS_MAX);
        return false;
    }
    *bytes = st_dtype_bytes(tensor->dtype);
    for (int d = 0; d < tensor->n_dims; d++)
        if (!g_uint64_checked_mul(bytes, *bytes, (uint64_t)tensor->shape[d]) ||
            *bytes > (uint64_t)G_MAXINT64) {
            g_autofree char *text = st_shape_text(tensor->shape, tensor->n_dims);
            return damaged(file, error, "tensor '%s' has the impossible shape %s", tensor->name,
                           text);
        }
    return true;
}

/* Sets all but data's address, which is left as the offset into the data. */
static bool read_entry(const st_file *file, JsonNode *node, uint64_t data_bytes, st_tensor *tensor,
                       int64_t offsets[2], GError **error)
{
    uint64_t bytes = 0;
    guint length = 0;
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return damaged(file, error, "tensor '%s' is not an object", tensor->name);
    JsonObject *entry = json_node_get_object(node);
    if (!read_dtype(file, entry, tensor, error) || !read_shape(file, entry, tensor, &bytes, error))
        return false;
    if (read_ints(entry, "data_offsets", offsets, 2, &length) != 2 || length != 2)
        return damaged(file, error, "tensor '%s' has no two data_offsets", tensor->name);
    if (offsets[0] > offsets[1] || (uint64_t)offsets[1] > data_bytes)
        return damaged(file, error,
                       "tensor '%s' lies at %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT
                       " of %" G_GUINT64_FORMAT " data bytes (is the file cut short?)",
                       tensor->name, offsets[0], offsets[1], data_bytes);
    if ((uint64_t)(offsets[1] - offsets[0]) != bytes) {
        g_autofree char *text = st_shape_text(tensor->shape, tensor->n_dims);
        return damaged(file, error,
                       "tensor '%s' of shape %s and dtype %s has %" G_GINT64_FORMAT
                       " bytes instead of %" G_GUINT64_FORMAT,
                       tensor->name, text, st_dtype_name(tensor->dtype), offsets[1] - offsets[0],
                       bytes);
    }
    return true;
}

/* ---- the header ---------------------------------------------------------------------------- */
static bool read_metadata(st_file *file, JsonNode *node, GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return damaged(file, error, "__metadata__ is not an object");
    JsonObject *object = json_node_get_object(node);
    g_autoptr(GList) keys = json_object_get_members(object);
    for (GList *k = keys; k; k = k->next) {
        JsonNode *value = json_object_get_member(object, k->data);
        if (!JSON_NODE_HOLDS_VALUE(value) || json_node_get_value_type(value) != G_TYPE_STRING)
            return damaged(file, error, "__metadata__ '%s' is not a string", (char *)k->data);
        g_hash_table_insert(file->metadata, g_strdup(k->data), json_node_dup_string(value));
    }
    return true;
}

typedef struct {
    st_tensor tensor;
    int64_t offsets[2];
} located;

static int by_offset(const void *a, const void *b)
{
    const located *x = a, *y = b;
    if (x->offsets[0] != y->offsets[0])
        return x->offsets[0] < y->offsets[0] ? -1 : 1;
    return x->offsets[1] < y->offsets[1] ? -1 : x->offsets[1] > y->offsets[1];
}

static const void *aligned_data(st_file *file, const char *data, const located *at)
{
    size_t bytes = (size_t)(at->offsets[1] - at->offsets[0]);
    const char *from = data + at->offsets[0];
    if ((uintptr_t)from % st_dtype_bytes(at->tensor.dtype) == 0)
        return from;
    void *copy = g_memdup2(from, bytes);
    g_ptr_array_add(file->copies, copy);
    return copy;
}

/* Sorted by place, each must begin where the one before it ends, and the last end with the file. */
static bool place_tensors(st_file *file, GArray *found, const char *data, uint64_t data_bytes,
                          GError **error)
{
    int64_t end = 0;
    g_array_sort(found, by_offset);
    for (guint i = 0; i < found->len; i++) {
        located *at = &g_array_index(found, located, i);
        if (at->offsets[0] != end)
            return damaged(file, error,
                           "tensor '%s' begins at data byte %" G_GINT64_FORMAT
                           " but the one before it ends at %" G_GINT64_FORMAT " (%s)",
                           at->tensor.name, at->offsets[0], end,
                           at->offsets[0] < end ? "they overlap" : "a hole");
        end = at->offsets[1];
        char *name = g_strdup(at->tensor.name);
        at->tensor.name = name;
        at->tensor.data = aligned_data(file, data, at);
        g_array_append_val(file->tensors, at->tensor);
        g_hash_table_insert(file->by_name, name, GUINT_TO_POINTER(i + 1));
    }
    if ((uint64_t)end != data_bytes)
        return damaged(file, error, "%" G_GUINT64_FORMAT " bytes follow the last tensor",
                       data_bytes - (uint64_t)end);
    return true;
}

static bool read_root(st_file *file, JsonObject *root, const char *data, uint64_t data_bytes,
                      GError **error)
{
    g_autoptr(GArray) found = g_array_new(FALSE, TRUE, sizeof(located));
    g_autoptr(GList) names = json_object_get_members(root);
    for (GList *k = names; k; k = k->next) {
        JsonNode *node = json_object_get_member(root, k->data);
        if (g_str_equal(k->data, "__metadata__")) {
            if (!read_metadata(file, node, error))
                return false;
            continue;
        }
        located at = {.tensor.name = k->data};
        if (!read_entry(file, node, data_bytes, &at.tensor, at.offsets, error))
            return false;
        g_array_append_val(found, at);
    }
    return place_tensors(file, found, data, data_bytes, error);
}

/* The parser recurses; a header of a million brackets must not take the stack with it. */
static bool is_shallow(const char *json, size_t n)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = json[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return false;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return true;
}

static bool read_header(st_file *file, GError **error)
{
    const char *bytes = g_mapped_file_get_contents(file->map);
    size_t size = g_mapped_file_get_length(file->map);
    uint64_t length;
    if (size < 8)
        return damaged(file, error, "it has %zu bytes, too few for a header", size);
    memcpy(&length, bytes, 8);
    if (length > HEADER_BYTES_MAX || length > size - 8)
        return damaged(file, error,
                       "its header would be %" G_GUINT64_FORMAT " bytes in a file of %zu", length,
                       size);
    const char *json = bytes + 8;
    if (length < 2 || json[0] != '{')
        return damaged(file, error, "its header does not begin with '{'");
    if (!g_utf8_validate_len(json, length, NULL) || !is_shallow(json, length))
        return damaged(file, error, "its header is not UTF-8 or nests too deep");
    g_autoptr(GError) parse_error = NULL;
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    if (!json_parser_load_from_data(parser, json, (gssize)length, &parse_error))
        return damaged(file, error, "its header is not JSON: %s", parse_error->message);
    JsonNode *root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root))
        return damaged(file, error, "its header is not a JSON object");
    return read_root(file, json_node_get_object(root), json + length, size - 8 - length, error);
}

st_file *st_open(const char *path, GError **error)
{
    g_autoptr(GError) map_error = NULL;
    GMappedFile *map = g_mapped_file_new(path, FALSE, &map_error);
    if (!map) {
        g_set_error(error, QS_ERROR, QS_ERROR_IO, "%s: %s", path, map_error->message);
        return NULL;
    }
    st_file *file = g_new0(st_file, 1);
    file->path = g_strdup(path);
    file->map = map;
    file->tensors = g_array_new(FALSE, FALSE, sizeof(st_tensor));
    file->copies = g_ptr_array_new_with_free_func(g_free);
    file->by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    file->metadata = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    if (!read_header(file, error))
        g_clear_pointer(&file, st_close);
    return file;
}

void st_close(st_file *file)
{
    if (!file)
        return;
    g_array_unref(file->tensors);
    g_ptr_array_unref(file->copies);
    g_hash_table_destroy(file->by_name);
    g_hash_table_destroy(file->metadata);
    g_mapped_file_unref(file->map);
    g_free(file->path);
    g_free(file);
}

size_t st_n(const st_file *file)
{
    return file->tensors->len;
}

const st_tensor *st_get(const st_file *file, size_t i)
{
    return &g_array_index(file->tensors, st_tensor, i);
}

const st_tensor *st_find(const st_file *file, const char *name)
{
    guint index = GPOINTER_TO_UINT(g_hash_table_lookup(file->by_name, name));
    return index ? st_get(file, index - 1) : NULL;
}

const char *st_metadata(const st_file *file, const char *key)
{
    return g_hash_table_lookup(file->metadata, key);
}

const char *st_path(const st_file *file)
{
    return file->path;
}

bool st_verify(const st_file *file, bool *vouched, GError **error)
{
    const char *said = st_metadata(file, ST_CHECKSUM_KEY);
    if (vouched)
        *vouched = said != NULL;
    if (!said)
        return true;
    g_autofree const st_tensor **tensors = g_new(const st_tensor *, st_n(file));
    for (size_t i = 0; i < st_n(file); i++)
        tensors[i] = st_get(file, i);
    g_autofree char *is = st_checksum(tensors, st_n(file), file->metadata);
    if (!strcmp(said, is))
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "%s: its content is not what was written (checksum %s, now %s): take it from a copy. "
                "If it was changed on purpose, take \"" ST_CHECKSUM_KEY
                "\" out of its __metadata__",
                file->path, said, is);
    return false;
}
