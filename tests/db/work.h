/* A small life of a store, with everything that writes: creation, slides, two packs written in
 * turns, a pack with stray bytes that a writer cuts off, runs and metrics, close and reopen, the
 * end. It can be run again after any interruption and goes on where it was. */
#ifndef QS_TESTS_DB_WORK_H
#define QS_TESTS_DB_WORK_H

#include "tests/db/fixture.h"

enum { WORK_CELLS = 12 }; /* of each of two slides */

/* What the store had reported as committed. */
typedef struct {
    int created, slides, cells[2], metrics;
} work_promise;

int64_t work_pack(const work_promise *p); /* as a number for disk_mark */
work_promise work_unpack(int64_t mark);   /* -1: nothing was promised */

/* Runs the life in `dir`; *promise grows with every success. False with *error at the first
 * failure. */
bool work_run(const char *dir, work_promise *promise, GError **error);
/* NULL when the store in `dir` keeps the promise, checks clean and can be written on (it is). */
char *work_verify(const char *dir, const work_promise *promise);

#endif
