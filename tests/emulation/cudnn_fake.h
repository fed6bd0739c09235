/* A cuDNN for the tests: cudnn_plan.h by naive loops on the emulated device's memory, with plans
 * whose faults are known. It shows that layouts, workspaces and the choice are right, and nothing
 * of cuDNN itself. */
#ifndef QS_TESTS_CUDNN_FAKE_H
#define QS_TESTS_CUDNN_FAKE_H

#include "kernels/cuda/cudnn_plan.h"

typedef enum {
    FAKE_RIGHT,
    FAKE_SLOW,     /* right, and slower than our own */
    FAKE_NOTHING,  /* writes nothing: the fastest of all */
    FAKE_NO_SLOPE, /* ReLU for LeakyReLU; right where there is none */
    FAKE_NAN,
    FAKE_FAILS, /* an error when it is run */
    FAKE_N,
} fake_kind;
extern const char *const fake_names[FAKE_N];

/* Bit k: plans of kind k are offered. */
extern unsigned fake_offered;
extern bool fake_absent;          /* kn_cudnn_open fails */
extern int fake_runs, fake_alive; /* runs so far; plans that exist */

#endif
