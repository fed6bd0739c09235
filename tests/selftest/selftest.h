/* What `quadslide selftest` does: the op tests, golden examples and ten training steps, on the
 * user's own device, said line by line. Shares the cases of the test programs (tests/kernels), so
 * that what CI checks on its machine can be checked on any. */
#ifndef QS_TESTS_SELFTEST_SELFTEST_H
#define QS_TESTS_SELFTEST_SELFTEST_H

#include "kernels/engine/engine.h"

typedef struct {
    int n_passed, n_failed;
} selftest_result;

/* Takes one line at a time, without its end. */
typedef void (*selftest_say)(void *user, const char *line);

/* `device` as kn_engine_options.backend. False with an error when the engine cannot be made; what
 * fails afterwards is said and counted. */
bool selftest_run(const char *device, selftest_say say, void *user, selftest_result *result,
                  GError **error);

#endif
