/* A convolution between two BatchNorms, with what it takes along of both, against the reference's
 * ops one by one. */
#ifndef QS_TESTS_KERNELS_BESIDE_CASE_H
#define QS_TESTS_KERNELS_BESIDE_CASE_H

#include "tests/kernels/ops_cases.h"

typedef struct {
    int n, h, w, ic, oc;
    double dropout[2];  /* of the BatchNorm before, after */
    double coefficient; /* as conv_case */
} beside_case;

enum { N_BESIDE_CASES = 7 };
extern const beside_case beside_cases[N_BESIDE_CASES];
/* By which an engine takes our own convolutions for all of them. Owned by the caller. */
char *beside_choices(void);

/* Forward, weight gradient and gradient of the source, each from the same operands on both sides;
 * made from the source of the BatchNorm before, and from its result: to the bit the same. The
 * engine's choices must take all of it along. */
bool run_beside_case(const bench_pair *pair, const beside_case *c, fill_kind fill,
                     GString *message);

#endif
