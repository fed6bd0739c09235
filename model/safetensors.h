/* safetensors: 8 bytes little-endian header length, JSON header, raw tensors. Written atomically;
 * read with every offset and size checked. */
#ifndef QS_MODEL_SAFETENSORS_H
#define QS_MODEL_SAFETENSORS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { ST_F32, ST_F64, ST_I64, ST_U8, ST_U64 } st_dtype;

typedef struct {
    const char *name;
    st_dtype dtype;
    int n_dims;
    int64_t shape[4];
    const void *data;
} st_tensor;

typedef struct st_file st_file;

/* metadata: string → string, may be NULL. */
bool st_write(const char *path, const st_tensor *tensors, size_t n, GHashTable *metadata, GError **error);
st_file *st_open(const char *path, GError **error); /* maps the whole file */
void st_close(st_file *file);
size_t st_n(const st_file *file);
const st_tensor *st_get(const st_file *file, size_t i);             /* borrowed until close */
const st_tensor *st_find(const st_file *file, const char *name);    /* NULL when absent */
const char *st_metadata(const st_file *file, const char *key);      /* NULL when absent */

#endif
