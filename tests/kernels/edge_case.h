/* The convolutions at a network's ends with a part of the BatchNorm beside them, against the
 * reference that runs op by op. */
#ifndef QS_TESTS_KERNELS_EDGE_CASE_H
#define QS_TESTS_KERNELS_EDGE_CASE_H

#include "tests/kernels/ops_cases.h"

/* The weight gradient of the first convolution with the backward of the BatchNorm after it: c is
 * that BatchNorm's, whose gradient is in blocks where c->block says so. */
bool run_stem_case(const bench_pair *pair, const norm_case *c, fill_kind fill, GString *message);
/* The head's gradient of its source with the sums of the BatchNorm before it, c, whose source is in
 * blocks where c->block says so; `classes` channels are the head's. */
bool run_head_case(const bench_pair *pair, const norm_case *c, int classes, fill_kind fill,
                   GString *message);

#endif
