/* One function a group of ops: runs it on the engine under test and on the reference and compares.
 * They return false with a message, and assert nothing, so that a planted fault can be looked for.
 */
#ifndef QS_TESTS_KERNELS_OPS_CASES_H
#define QS_TESTS_KERNELS_OPS_CASES_H

#include "tests/kernels/ops_check.h"

typedef struct {
    kn_engine *engine; /* under test */
    const kn_ops *ops; /* its table, or one with a planted fault */
    kn_engine *ref;
    uint64_t seed;
} bench_pair;

typedef struct {
    int n, h, w, ic, oc, k;
    bool bias, leaky;
    int block;
    double coefficient; /* of the tolerance: 4; more for Winograd, which rounds more */
} conv_case;

typedef struct {
    int n, h, w, c;
    int whole, first; /* the slice that y and dy are */
    double slope, dropout;
    int block;
} norm_case;

bool run_conv_case(const bench_pair *pair, const conv_case *c, fill_kind fill, GString *message);
/* A tensor at a pass's edge is NHWC and of the engine's type, whatever its activations' is. */
typedef enum { EDGE_NONE, EDGE_SRC, EDGE_DST } conv_edge;
bool run_conv_edge_case(const bench_pair *pair, const conv_case *c, conv_edge edge, fill_kind fill,
                        GString *message);
bool run_norm_case(const bench_pair *pair, const norm_case *c, fill_kind fill, GString *message);
/* norm_apply_pool and pool_bwd_sums; h and w are the pooled tensor's, dropout is 0. */
bool run_norm_pool_case(const bench_pair *pair, const norm_case *c, fill_kind fill,
                        GString *message);
bool run_pool_case(const bench_pair *pair, int n, int h, int w, int c, int block, fill_kind fill,
                   GString *message);
bool run_upsample_case(const bench_pair *pair, int n, int h, int w, int c, int block,
                       fill_kind fill, GString *message);
bool run_array_case(const bench_pair *pair, int64_t n, GString *message);

#endif
