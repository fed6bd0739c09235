/* The log that the recorder writes and the replay reads. */
#ifndef QS_TESTS_DB_DISK_PRIV_H
#define QS_TESTS_DB_DISK_PRIV_H

#include "tests/db/disk.h"

typedef enum {
    OP_CREATE,
    OP_WRITE,
    OP_TRUNCATE,
    OP_SYNC,
    OP_RENAME,
    OP_DELETE,
    OP_DIRSYNC,
    OP_MARK
} op_kind;

typedef struct {
    op_kind kind;
    char *path, *path2; /* relative to the root; "" is the root */
    int64_t offset;     /* of a write; size of a cut; value of a mark */
    size_t n;
    uint8_t *data;
} disk_op;

const GPtrArray *disk_log(void); /* of disk_op; NULL when nothing was recorded */

#endif
