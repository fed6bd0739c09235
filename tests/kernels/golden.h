/* Reads tests/golden/metassl_golden.json: values by the path of their keys. A missing key ends the
 * test program, so that a renamed group cannot pass by being absent. */
#ifndef QS_TESTS_KERNELS_GOLDEN_H
#define QS_TESTS_KERNELS_GOLDEN_H

#include <glib.h>
#include <stdint.h>

/* Numbers of the (nested) array, object or scalar under group → keys…, flattened, null as NaN. Keys
 * end with NULL. Cached: borrowed until golden_close. */
const double *golden_numbers(int64_t *n, const char *group, ...) G_GNUC_NULL_TERMINATED;
/* The keys of the object under group → keys…, NULL-terminated; free with g_strfreev. */
char **golden_keys(const char *group, ...) G_GNUC_NULL_TERMINATED;
void golden_close(void);

#define golden_array(...) golden_numbers(NULL, __VA_ARGS__, NULL)
#define golden_value(...) golden_numbers(NULL, __VA_ARGS__, NULL)[0]

#endif
