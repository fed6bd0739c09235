/* What the tests of the loss share: engines of both backends with their tolerances, one run of the
 * three passes over planar double arrays, and a comparison that a NaN cannot pass. */
#ifndef QS_TESTS_KERNELS_LOSS_FIXTURE_H
#define QS_TESTS_KERNELS_LOSS_FIXTURE_H

#include "kernels/loss/loss.h"

/* One backend under test. */
typedef struct {
    const char *name;
    kn_engine *engine;
    double atol, rtol; /* of the golden values in this backend's precision */
} lf_side;

enum { LF_REF, LF_CPU, LF_N_SIDES };
/* Opens both engines once, n_threads 2; lf_close at the end of main. */
const lf_side *lf_sides(void);
void lf_close(void);

/* NHWC tensor of the engine's dtype on the heap; lf_tensor_free. Padding channels (ldc > c) hold 7.
 */
kn_tensor lf_tensor(kn_engine *engine, int n, int h, int w, int c, int ldc);
void lf_tensor_free(kn_tensor *t);
/* Bytes that both the host and the engine's kernels see; for lf_free. */
void *lf_alloc(kn_engine *engine, size_t bytes);
void lf_free(void *p);
double lf_get(const kn_tensor *t, int64_t pixel, int c);
void lf_set(const kn_tensor *t, int64_t pixel, int c, double value);
/* From and to [n][c][h·w], the layout of the golden examples. */
void lf_from_planar(const kn_tensor *t, const double *planar);
void lf_to_planar(const kn_tensor *t, double *planar);

/* One whole loss. Arrays are borrowed; planar as above. */
typedef struct {
    int n, h, w, c;
    int ldc;             /* 0: c */
    const double *z_ref; /* NULL: plain */
    const double *z;
    const uint8_t *label;   /* (n,h·w) or NULL */
    const uint8_t *exclude; /* (n,h·w) or NULL */
    const uint8_t *truth;   /* (n,h·w) or NULL */
    kn_confidence confidence;
    kn_quad_config config;
    double scale; /* of the gradient */
} lf_case;

typedef struct {
    kn_reference ref; /* y owned; conf unset: see conf */
    double *conf;     /* (n,h·w) owned */
    uint8_t *region;  /* (n,h·w) owned */
    double *grad;     /* planar, owned */
    double *z_image;  /* n, owned */
    kn_quad_result result;
} lf_out;

/* weights 1, one γ for all classes, Z over the batch, linear Dice with ε = 1e-5, scales 1. */
void lf_case_init(lf_case *c, int n, int h, int w, int n_classes, const double *z_ref,
                  const double *z);
lf_out lf_run(kn_engine *engine, const lf_case *c);
void lf_out_clear(lf_out *out);

/* |got - want| <= atol + rtol·|want|; false when either is not finite, unless both are the same
 * infinity. */
bool lf_near(double got, double want, double atol, double rtol);
/* Index of the first element that is not near, -1 when all are. */
int64_t lf_first_far(const double *got, const double *want, int64_t n, double atol, double rtol);

/* Fails the test with name, index and both values. */
void lf_check(const lf_side *side, const char *what, double got, double want);
void lf_check_array(const lf_side *side, const char *what, const double *got, const double *want,
                    int64_t n);

#endif
