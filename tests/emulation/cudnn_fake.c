#include "tests/emulation/cudnn_fake.h"

#include "base/error.h"
#include "kernels/engine/bf16.h"

#include <math.h>
#include <string.h>

enum { WORKSPACE = 1000 };

const char *const fake_names[FAKE_N] = {"e1.k2=1", "e2", "e3", "e4.k1=0", "e5", "e6"};
unsigned fake_offered;
bool fake_absent;
int fake_runs, fake_alive;

/* ms of a run; our own forward takes 1 on the emulated clock. */
static const double TIMES[FAKE_N] = {0.5, 9, 0.1, 0.2, 0.3, 0.4};

struct kn_cudnn {
    kn_device *device;
};

struct kn_cudnn_plan {
    kn_cudnn_shape shape;
    kn_cudnn_direction direction;
    fake_kind kind;
};

kn_cudnn *kn_cudnn_open(kn_device *device, GError **error)
{
    if (fake_absent) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED, "cuDNN 9 was not found");
        return NULL;
    }
    kn_cudnn *c = g_new0(kn_cudnn, 1);
    c->device = device;
    return c;
}

void kn_cudnn_close(kn_cudnn *cudnn)
{
    g_free(cudnn);
}

int kn_cudnn_version(const kn_cudnn *cudnn)
{
    (void)cudnn;
    return 91203;
}

kn_cudnn_plan *kn_cudnn_plan_named(kn_cudnn *cudnn, const kn_cudnn_shape *shape,
                                   kn_cudnn_direction direction, const char *name)
{
    (void)cudnn;
    for (int k = 0; k < FAKE_N; k++)
        if (fake_offered >> k & 1 && g_str_equal(name, fake_names[k])) {
            kn_cudnn_plan *plan = g_new0(kn_cudnn_plan, 1);
            *plan = (kn_cudnn_plan){*shape, direction, (fake_kind)k};
            fake_alive++;
            return plan;
        }
    return NULL;
}

int kn_cudnn_plans(kn_cudnn *cudnn, const kn_cudnn_shape *shape, kn_cudnn_direction direction,
                   size_t workspace_most, kn_cudnn_plan **plans, int most)
{
    int n = 0;
    g_assert_cmpuint(workspace_most, >=, WORKSPACE);
    for (int k = 0; k < FAKE_N && n < most; k++)
        if (fake_offered >> k & 1)
            plans[n++] = kn_cudnn_plan_named(cudnn, shape, direction, fake_names[k]);
    return n;
}

void kn_cudnn_plan_destroy(kn_cudnn_plan *plan)
{
    fake_alive -= plan != NULL;
    g_free(plan);
}

const char *kn_cudnn_plan_name(const kn_cudnn_plan *plan)
{
    return fake_names[plan->kind];
}

size_t kn_cudnn_plan_workspace(const kn_cudnn_plan *plan)
{
    (void)plan;
    return WORKSPACE;
}

/* Places in x or dx (n,h,w,ic), y or dy (n,h,w,oc) and w or dw (oc,k,k,ic) of one product. */
typedef void (*product)(void *user, int64_t x, int64_t y, int64_t w);

static void each_product(const kn_cudnn_shape *s, product f, void *user)
{
    int r = s->k / 2;
    for (int n = 0; n < s->n; n++)
        for (int i = 0; i < s->h; i++)
            for (int j = 0; j < s->w; j++)
                for (int o = 0; o < s->oc; o++)
                    for (int u = MAX(0, r - i); u < MIN(s->k, s->h + r - i); u++)
                        for (int v = MAX(0, r - j); v < MIN(s->k, s->w + r - j); v++)
                            for (int c = 0; c < s->ic; c++) {
                                int64_t at = ((int64_t)n * s->h + i + u - r) * s->w + j + v - r;
                                f(user, at * s->ic + c,
                                  (((int64_t)n * s->h + i) * s->w + j) * s->oc + o,
                                  (((int64_t)o * s->k + u) * s->k + v) * s->ic + c);
                            }
}

typedef struct {
    const kn_bf16 *a, *b;
    double *sum;
} operands;

static double value(const kn_bf16 *p, int64_t i)
{
    return (double)kn_bf16_to_f32(p[i]);
}

static void add_fwd(void *user, int64_t x, int64_t y, int64_t w)
{
    operands *o = user;
    o->sum[y] += value(o->a, x) * value(o->b, w);
}

static void add_data(void *user, int64_t x, int64_t y, int64_t w)
{
    operands *o = user;
    o->sum[x] += value(o->a, y) * value(o->b, w);
}

static void add_weights(void *user, int64_t x, int64_t y, int64_t w)
{
    operands *o = user;
    o->sum[w] += value(o->a, x) * value(o->b, y);
}

static double epilogue(const kn_cudnn_plan *plan, double sum, const float *bias, int64_t i)
{
    double slope = plan->kind == FAKE_NO_SLOPE ? 0 : 0.01;
    double u = plan->shape.epilogue ? sum + (double)bias[i % plan->shape.oc] : sum;
    if (plan->kind == FAKE_NAN && i % 97 == 5)
        return NAN;
    return plan->shape.leaky && u < 0 ? slope * u : u;
}

static void compute(const kn_cudnn_plan *plan, const void *a, const void *b, const float *bias,
                    kn_bf16 *out)
{
    static const product products[] = {add_fwd, add_data, add_weights};
    const kn_cudnn_shape *s = &plan->shape;
    int64_t px = (int64_t)s->n * s->h * s->w;
    int64_t sizes[] = {px * s->oc, px * s->ic, (int64_t)s->oc * s->ic * s->k * s->k};
    int64_t n = sizes[plan->direction];
    g_autofree double *sum = g_new0(double, (gsize)n);
    operands o = {a, b, sum};
    each_product(s, products[plan->direction], &o);
    for (int64_t i = 0; i < n; i++)
        out[i] = kn_bf16_from_f32((float)epilogue(plan, sum[i], bias, i));
}

bool kn_cudnn_run(kn_cudnn *cudnn, const kn_cudnn_plan *plan, const void *a, const void *b,
                  const void *bias, void *out, void *workspace, GError **error)
{
    fake_runs++;
    g_assert_cmpuint((uintptr_t)workspace % 16, ==, 0);
    g_assert_true(plan->shape.epilogue == (bias != NULL));
    if (plan->kind == FAKE_FAILS) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED, "cuDNN: cudnnBackendExecute: made up");
        return false;
    }
    kn_emu_catch_up(cudnn->device);
    kn_emu_open_memory(cudnn->device);
    memset(workspace, 0xff, WORKSPACE);
    kn_emu_pass_time(cudnn->device, TIMES[plan->kind] - 1); /* 1 comes with the launch */
    if (plan->kind != FAKE_NOTHING)
        compute(plan, a, b, bias, out);
    kn_device_launched(cudnn->device, "fake");
    return true;
}
