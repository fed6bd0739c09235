/* The checksum of a safetensors file: one changed bit of a weight, a counter or a mean gives other
 * results without a word, so files written here carry XXH3-64 of all that they say. What the header's
 * JSON looks like (spaces, order of keys) is not part of it. Files without it are read as before. */
#include "model/safetensors.h"

#include "base/error.h"

#include <string.h>
#include <xxhash.h>

/* With its closing zero, so that "ab","c" is not "a","bc". */
static void add_text(XXH3_state_t *state, const char *text)
{
    XXH3_64bits_update(state, text, strlen(text) + 1);
}

static void add_metadata(XXH3_state_t *state, GHashTable *metadata)
{
    g_autoptr(GList) keys = g_list_sort(g_hash_table_get_keys(metadata), (GCompareFunc)strcmp);
    for (GList *k = keys; k; k = k->next)
        if (strcmp(k->data, ST_CHECKSUM_KEY) != 0) {
            add_text(state, k->data);
            add_text(state, g_hash_table_lookup(metadata, k->data));
        }
}

char *st_checksum(const st_tensor *const *tensors, size_t n, GHashTable *metadata)
{
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    if (metadata)
        add_metadata(state, metadata);
    for (size_t i = 0; i < n; i++) {
        const st_tensor *t = tensors[i];
        g_autofree char *shape = st_shape_text(t->shape, t->n_dims);
        add_text(state, t->name);
        add_text(state, st_dtype_name(t->dtype));
        add_text(state, shape);
        size_t bytes = (size_t)st_elements(t) * st_dtype_bytes(t->dtype);
        if (bytes > 0)
            XXH3_64bits_update(state, t->data, bytes);
    }
    guint64 sum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return g_strdup_printf("%016" G_GINT64_MODIFIER "x", sum);
}
