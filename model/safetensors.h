/* safetensors: 8 bytes little-endian header length, JSON header, raw tensors. Written atomically;
 * read with every offset and size checked, so that a damaged or hostile file is an error that
 * names the file and the tensor, never a read out of bounds.
 *
 *   | u64 n | n bytes JSON, spaces to a multiple of 8 | tensors, wide elements first |
 *
 * So every tensor written here is aligned to its element; where a foreign file's is not, the reader
 * copies it. A st_file may be read by any number of threads. */
#ifndef QS_MODEL_SAFETENSORS_H
#define QS_MODEL_SAFETENSORS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { ST_F32, ST_F64, ST_I64, ST_U8, ST_U64 } st_dtype;

enum { ST_DIMS_MAX = 4 };

typedef struct {
    const char *name;
    st_dtype dtype;
    int n_dims; /* 0: a scalar */
    int64_t shape[ST_DIMS_MAX];
    const void *data;
} st_tensor;

typedef struct st_file st_file;

/* In __metadata__ of what is written here: 16 hex digits of XXH3-64 over the names, dtypes and shapes
 * of all tensors, the other metadata and the data. */
#define ST_CHECKSUM_KEY "xxh3"

/* metadata: string → string, may be NULL. Names are unique (asserted). On error `path` keeps its
 * old content. */
bool st_write(const char *path, const st_tensor *tensors, size_t n, GHashTable *metadata,
              GError **error);
/* Maps the whole file. QS_ERROR_IO, QS_ERROR_FORMAT (damaged), QS_ERROR_UNSUPPORTED (a dtype or a
 * number of dimensions that this program has no use for). */
st_file *st_open(const char *path, GError **error);
void st_close(st_file *file); /* NULL is accepted */
size_t st_n(const st_file *file);
const st_tensor *st_get(const st_file *file, size_t i);          /* borrowed until close */
const st_tensor *st_find(const st_file *file, const char *name); /* NULL when absent */
const char *st_metadata(const st_file *file, const char *key);   /* NULL when absent */
const char *st_path(const st_file *file);
/* True when the checksum is there and right, or not there (a foreign or an older file): *vouched says
 * which, NULL accepted. Reads all of the data. QS_ERROR_FORMAT when it is wrong. */
bool st_verify(const st_file *file, bool *vouched, GError **error);
/* Of tensors in the order of their data. Owned by the caller. */
char *st_checksum(const st_tensor *const *tensors, size_t n, GHashTable *metadata);

const char *st_dtype_name(st_dtype dtype); /* "F32" */
size_t st_dtype_bytes(st_dtype dtype);
int64_t st_elements(const st_tensor *tensor); /* product of the shape, 1 for a scalar */
/* "[16, 3, 3, 3]". Owned by the caller. */
char *st_shape_text(const int64_t *shape, int n_dims);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(st_file, st_close)

#endif
