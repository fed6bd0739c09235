/* Writes safetensors files. */
#include "model/safetensors.h"

#include "base/error.h"
#include "base/file.h"

#include <json-glib/json-glib.h>
#include <stdlib.h>
#include <string.h>

static size_t tensor_bytes(const st_tensor *tensor)
{
    return (size_t)st_elements(tensor) * st_dtype_bytes(tensor->dtype);
}

/* Indices with wide elements first, so that each tensor starts aligned to its element. */
static size_t *aligned_order(const st_tensor *tensors, size_t n)
{
    size_t *order = g_new(size_t, n), at = 0;
    for (size_t bytes = 8; bytes > 0; bytes /= 2)
        for (size_t i = 0; i < n; i++)
            if (st_dtype_bytes(tensors[i].dtype) == bytes)
                order[at++] = i;
    g_assert(at == n);
    return order;
}

static void add_metadata(JsonObject *root, GHashTable *metadata, const char *checksum)
{
    JsonObject *object = json_object_new();
    g_autoptr(GList) keys =
        metadata ? g_list_sort(g_hash_table_get_keys(metadata), (GCompareFunc)strcmp) : NULL;
    for (GList *k = keys; k; k = k->next)
        json_object_set_string_member(object, k->data, g_hash_table_lookup(metadata, k->data));
    json_object_set_string_member(object, ST_CHECKSUM_KEY, checksum);
    json_object_set_object_member(root, "__metadata__", object);
}

static void add_tensor(JsonObject *root, const st_tensor *tensor, size_t begin)
{
    g_assert(!json_object_has_member(root, tensor->name));
    JsonObject *object = json_object_new();
    JsonArray *shape = json_array_new(), *offsets = json_array_new();
    for (int d = 0; d < tensor->n_dims; d++)
        json_array_add_int_element(shape, tensor->shape[d]);
    json_array_add_int_element(offsets, (gint64)begin);
    json_array_add_int_element(offsets, (gint64)(begin + tensor_bytes(tensor)));
    json_object_set_string_member(object, "dtype", st_dtype_name(tensor->dtype));
    json_object_set_array_member(object, "shape", shape);
    json_object_set_array_member(object, "data_offsets", offsets);
    json_object_set_object_member(root, tensor->name, object);
}

/* The header's JSON padded with spaces; the data follows in the order of `order`. */
static char *header_text(const st_tensor *tensors, const size_t *order, size_t n,
                         GHashTable *metadata, size_t *header_bytes)
{
    JsonObject *root = json_object_new();
    g_autofree const st_tensor **in_order = g_new(const st_tensor *, n);
    for (size_t i = 0; i < n; i++)
        in_order[i] = &tensors[order[i]];
    g_autofree char *checksum = st_checksum(in_order, n, metadata);
    add_metadata(root, metadata, checksum);
    size_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        add_tensor(root, &tensors[order[i]], begin);
        begin += tensor_bytes(&tensors[order[i]]);
    }
    g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), root);
    json_object_unref(root);
    g_autofree char *json = json_to_string(node, FALSE);
    size_t length = strlen(json);
    *header_bytes = (length + 7) / 8 * 8;
    return g_strdup_printf("%-*s", (int)*header_bytes, json);
}

bool st_write(const char *path, const st_tensor *tensors, size_t n, GHashTable *metadata,
              GError **error)
{
    G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN);
    size_t header_bytes, data_bytes = 0;
    g_autofree size_t *order = aligned_order(tensors, n);
    g_autofree char *header = header_text(tensors, order, n, metadata, &header_bytes);
    for (size_t i = 0; i < n; i++)
        data_bytes += tensor_bytes(&tensors[i]);
    size_t total = 8 + header_bytes + data_bytes;
    g_autofree char *file = g_try_malloc(total);
    if (!file) {
        g_set_error(error, QS_ERROR, QS_ERROR_MEMORY, "%s: no memory for its %zu bytes", path,
                    total);
        return false;
    }
    uint64_t length = header_bytes;
    memcpy(file, &length, 8);
    memcpy(file + 8, header, header_bytes);
    char *at = file + 8 + header_bytes;
    for (size_t i = 0; i < n; i++) {
        size_t bytes = tensor_bytes(&tensors[order[i]]);
        if (bytes > 0)
            memcpy(at, tensors[order[i]].data, bytes);
        at += bytes;
    }
    return qs_file_replace(path, file, total, error);
}
