/* The loss's f32 passes against the f64 reference over odd shapes, class counts, channel strides
 * and hostile values; the same bits from every instruction set and any number of threads; exp and
 * log1p against libm over their whole range. */
#include "base/rng.h"
#include "kernels/cpu/loss_math.h"
#include "kernels/loss/loss_priv.h"
#include "tests/kernels/loss_fixture.h"

#include <math.h>
#include <string.h>

typedef enum { FILL_NORMAL, FILL_ZERO, FILL_HUGE, FILL_MIXED, FILL_ENORMOUS, N_FILLS } fill;

/* Values that are the same in float and in double. */
static double *filled(fill kind, int64_t n, qs_rng *rng)
{
    double *v = g_new(double, n);
    for (int64_t i = 0; i < n; i++) {
        double x = qs_rng_normal(rng);
        fill k = kind == FILL_MIXED ? (fill)qs_rng_below(rng, 3) : kind;
        v[i] = (float)(k == FILL_ZERO     ? 0.0
                       : k == FILL_HUGE   ? 1e4 * x
                       : k == FILL_NORMAL ? 3 * x
                                          : 1e30 * x);
    }
    return v;
}

static uint8_t *random_bytes(int64_t n, uint32_t below, int one_in_255, qs_rng *rng)
{
    uint8_t *v = g_malloc((size_t)n);
    for (int64_t i = 0; i < n; i++)
        v[i] = qs_rng_below(rng, (uint32_t)one_in_255) ? (uint8_t)qs_rng_below(rng, below) : 255;
    return v;
}

static double largest(const double *v, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(v[i]));
    return most;
}

/* Regions may differ only where the confidence is within 1e-6 of γ; -1 when one differs elsewhere,
 * else how many differ. */
static int64_t compare_regions(const lf_case *c, const lf_out *ref, const lf_out *cpu)
{
    int64_t differ = 0;
    for (int64_t i = 0; i < (int64_t)c->n * c->h * c->w; i++) {
        if (ref->region[i] == cpu->region[i])
            continue;
        if (!(fabs(ref->conf[i] - c->config.gamma[ref->ref.y[i]]) <= 1e-6))
            return -1;
        differ++;
    }
    return differ;
}

/* True when sums and gradients agree to what f32 costs; losses on their own scale. */
static bool sums_agree(const lf_case *c, const lf_out *ref, const lf_out *cpu)
{
    const double tol = 4e-6; /* 2e-6 of the golden examples, twice for sums of products */
    int64_t n = (int64_t)c->n * c->h * c->w * c->c;
    double scale = largest(ref->grad, n);
    return lf_near(cpu->result.loss, ref->result.loss, tol, tol) &&
           lf_near(cpu->result.z, ref->result.z, 0, 1e-12) &&
           lf_first_far(cpu->result.region_loss, ref->result.region_loss, KN_N_REGIONS, tol, tol) <
               0 &&
           lf_first_far(cpu->result.dice_n, ref->result.dice_n, c->c, tol, tol) < 0 &&
           lf_first_far(cpu->result.dice_d, ref->result.dice_d, c->c, tol, tol) < 0 &&
           memcmp(cpu->result.region_px, ref->result.region_px, sizeof ref->result.region_px) ==
               0 &&
           lf_first_far(cpu->grad, ref->grad, n, tol * scale + 1e-37, tol) < 0; /* f32's floor */
}

typedef struct {
    int n, h, w, c;
} shape;

static const shape shapes[] = {{1, 1, 1, 2},    {2, 7, 33, 2},  {1, 16, 16, 3}, {3, 33, 7, 5},
                               {1, 97, 101, 2}, {2, 91, 93, 3}, {1, 31, 17, 16}};

/* One random case; counts in *compared when no region was in doubt. */
static void check_case(const shape *s, fill kind, int variant, uint64_t seed, int *compared)
{
    const lf_side *sides = lf_sides();
    qs_rng rng;
    qs_rng_init(&rng, seed, 2);
    int64_t n_px = (int64_t)s->n * s->h * s->w;
    g_autofree double *z_ref = filled(kind, n_px * s->c, &rng),
                      *z = filled(kind, n_px * s->c, &rng);
    g_autofree uint8_t *label = random_bytes(n_px, (uint32_t)s->c, 8, &rng);
    g_autofree uint8_t *exclude = random_bytes(n_px, 200, 8, &rng);
    lf_case c;
    lf_case_init(&c, s->n, s->h, s->w, s->c, z_ref, z);
    c.ldc = variant & 1 ? s->c : s->c + 3;
    c.config.labelled = variant & 2;
    c.label = c.config.labelled ? label : NULL;
    c.exclude = variant & 4 ? exclude : NULL;
    c.confidence = (kn_confidence)(seed % 4);
    c.config.z_scope = (kn_z_scope)(seed % 2);
    c.config.norm = seed % 2 ? KN_CE_Z : (kn_ce_norm)(seed / 2 % 3);
    c.config.uc = (kn_uc)(seed / 3 % 3);
    c.config.gamma_inclusive = seed / 5 % 2;
    c.config.compare = seed % 7 == 0 ? label : NULL;
    c.config.dice = c.config.labelled ? (kn_dice)(seed % 3) : KN_DICE_NONE;
    for (int k = 0; k < s->c; k++)
        c.config.gamma[k] = kn_gamma_start(c.confidence, s->c) + 0.21 * qs_rng_unit(&rng);
    kn_region_weights((kn_phi)(seed / 2 % 4), 3, 0.45, KN_PARTITION_QUAD, c.config.labelled,
                      c.config.weights);
    lf_out ref = lf_run(sides[LF_REF].engine, &c), cpu = lf_run(sides[LF_CPU].engine, &c);
    g_assert_true(memcmp(ref.ref.y, cpu.ref.y, (size_t)n_px) == 0);
    g_assert_true(memcmp(ref.ref.count, cpu.ref.count, sizeof cpu.ref.count) == 0);
    int64_t differ = compare_regions(&c, &ref, &cpu);
    if (differ < 0 || (differ == 0 && !sums_agree(&c, &ref, &cpu))) {
        g_test_message("(%d,%d,%d,%d) values %d variant %d seed %d: loss ref %.9g cpu %.9g", s->n,
                       s->h, s->w, s->c, (int)kind, variant, (int)seed, ref.result.loss,
                       cpu.result.loss);
        g_test_fail();
    }
    *compared += differ == 0;
    if (n_px > 9 && differ == 0) { /* the comparison must see one wrong gradient and one NaN */
        cpu.grad[n_px / 2] += 1e-3 * largest(ref.grad, n_px * s->c) + 1e-30;
        g_assert_false(sums_agree(&c, &ref, &cpu));
        cpu.grad[n_px / 2] = NAN;
        g_assert_false(sums_agree(&c, &ref, &cpu));
    }
    lf_out_clear(&ref);
    lf_out_clear(&cpu);
}

static void test_against_reference(void)
{
    int compared = 0, cases = 0;
    for (size_t s = 0; s < G_N_ELEMENTS(shapes); s++)
        for (int kind = 0; kind < N_FILLS; kind++)
            for (int variant = 0; variant < 8; variant++) {
                uint64_t seed = (uint64_t)(s * 100 + (size_t)kind * 13 + (size_t)variant);
                check_case(&shapes[s], (fill)kind, variant, seed, &compared);
                cases++;
            }
    g_test_message("%d of %d cases compared to the last sum", compared, cases);
    g_assert_cmpint(compared, >=, cases * 9 / 10);
}

static void test_softmax_argmax(void)
{
    for (size_t s = 0; s < G_N_ELEMENTS(shapes); s++) {
        qs_rng rng;
        qs_rng_init(&rng, 5, s);
        int64_t n_px = (int64_t)shapes[s].n * shapes[s].h * shapes[s].w, n = n_px * shapes[s].c;
        g_autofree double *z = filled(FILL_NORMAL, n, &rng);
        g_autofree float *prob[LF_N_SIDES] = {0};
        g_autofree uint8_t *y[LF_N_SIDES] = {0};
        for (int i = 0; i < LF_N_SIDES; i++) {
            kn_engine *engine = lf_sides()[i].engine;
            kn_tensor t = lf_tensor(engine, shapes[s].n, shapes[s].h, shapes[s].w, shapes[s].c,
                                    shapes[s].c + (int)(s % 2));
            lf_from_planar(&t, z);
            prob[i] = g_new(float, n);
            y[i] = g_malloc((size_t)n_px);
            kn_softmax(engine, &t, prob[i]);
            kn_argmax(engine, &t, y[i]);
            lf_tensor_free(&t);
        }
        g_assert_true(memcmp(y[0], y[1], (size_t)n_px) == 0);
        for (int64_t i = 0; i < n; i++)
            g_assert_true(lf_near((double)prob[1][i], (double)prob[0][i], 3e-7, 0));
        g_free(prob[1]);
        g_free(y[1]);
    }
}

/* ---- the same bits -------------------------------------------------------------------------- */
typedef struct {
    kn_ref_sums reference;
    kn_quad_sums quad;
    double mse;
    uint8_t y[1000], y2[1000], region[1000];
    float conf[1000], dz[2000 * 2], dmse[2000 * 2], prob[2000 * 2];
} table_bits;

static void run_table(const kn_loss_ops *ops, const kn_tensor *z, const kn_tensor *z_ref,
                      const kn_quad_config *config, const uint8_t *label, table_bits *out)
{
    kn_tensor dz = *z, dmse = *z;
    dz.data = out->dz;
    dmse.data = out->dmse;
    kn_ref_args ref = {.z = z_ref,
                       .confidence = KN_CONF_STD,
                       .y = out->y,
                       .conf = out->conf,
                       .with_prob = true,
                       .above_tau = 0.2};
    ops->reference(&ref, 0, 1000, &out->reference);
    kn_quad_args quad = {.z = z,
                         .label = label,
                         .truth = label,
                         .ref_y = out->y,
                         .ref_conf = out->conf,
                         .config = config,
                         .region = out->region};
    ops->partition(&quad, 0, 1000, &out->quad);
    kn_grad_args grad = {.z = z,
                         .dz = &dz,
                         .target = label,
                         .region = out->region,
                         .dice = config->dice,
                         .dice_scale = 1.5};
    memcpy(grad.weights, config->weights, sizeof grad.weights);
    memcpy(grad.ce_weights, config->weights, sizeof grad.ce_weights);
    grad.ce_uc_background = 0.7;
    for (int c = 0; c < z->c; c++) {
        grad.dice_a[c] = -0.013 * (c + 1);
        grad.dice_b[c] = 0.007 * (c + 2);
    }
    ops->gradient(&grad, 0, 1000, 0.01);
    kn_mse_args mse = {.z = z, .z_ref = z_ref, .dz = &dmse, .grad_scale = 0.3};
    ops->mse(&mse, 0, 1000, &out->mse);
    ops->softmax(z, 0, 1000, out->prob);
    ops->argmax(z, 0, 1000, out->y2);
}

static void test_instruction_sets(void)
{
    int n_tables = 0;
    while (kn_cpu_loss_ops_at(n_tables))
        n_tables++;
    g_test_message("%d tables run here, the last is %s", n_tables, kn_cpu_loss_ops()->name);
    g_assert_true(kn_cpu_loss_ops() == kn_cpu_loss_ops_at(n_tables - 1));
    for (int n_classes = 2; n_classes <= 4; n_classes++) {
        qs_rng rng;
        qs_rng_init(&rng, 9, (uint64_t)n_classes);
        kn_engine *engine = lf_sides()[LF_CPU].engine;
        kn_tensor z = lf_tensor(engine, 1, 10, 100, n_classes, n_classes), z_ref = z;
        z_ref = lf_tensor(engine, 1, 10, 100, n_classes, n_classes);
        g_autofree double *v = filled(FILL_NORMAL, 1000 * n_classes, &rng);
        g_autofree double *v_ref = filled(FILL_NORMAL, 1000 * n_classes, &rng);
        g_autofree uint8_t *label = random_bytes(1000, (uint32_t)n_classes, 9, &rng);
        lf_from_planar(&z, v);
        lf_from_planar(&z_ref, v_ref);
        kn_quad_config config = {.labelled = true,
                                 .dice = KN_DICE_SQUARE,
                                 .dice_eps = 1e-5,
                                 .norm = KN_CE_REGION_MEAN,
                                 .uc = KN_UC_SPLIT};
        kn_region_weights(KN_PHI_GAUSS, 3, 0.3, KN_PARTITION_QUAD, true, config.weights);
        for (int c = 0; c < n_classes; c++)
            config.gamma[c] = 0.2;
        g_autofree table_bits *plain = g_new0(table_bits, 1);
        run_table(kn_cpu_loss_ops_at(0), &z, &z_ref, &config, label, plain);
        g_assert_cmpint(plain->quad.px[KN_REGION_DS], >, 0);
        for (int t = 1; t < n_tables; t++) {
            g_autofree table_bits *fast = g_new0(table_bits, 1);
            run_table(kn_cpu_loss_ops_at(t), &z, &z_ref, &config, label, fast);
            g_assert_true(memcmp(plain, fast, sizeof *plain) == 0);
        }
        lf_tensor_free(&z);
        lf_tensor_free(&z_ref);
    }
}

static void test_thread_counts(void)
{
    static const int counts[] = {1, 2, 5};
    qs_rng rng;
    qs_rng_init(&rng, 3, 3);
    int64_t n_px = 5 * 131 * 127; /* three units an image */
    g_autofree double *z = filled(FILL_NORMAL, n_px * 2, &rng),
                      *z_ref = filled(FILL_NORMAL, n_px * 2, &rng);
    g_autofree uint8_t *label = random_bytes(n_px, 2, 9, &rng);
    lf_out first = {0};
    for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
        g_autoptr(GError) error = NULL;
        kn_engine_options options = {.backend = "cpu", .n_threads = counts[i]};
        kn_engine *engine = kn_engine_create(&options, &error);
        g_assert_no_error(error);
        lf_case c;
        lf_case_init(&c, 5, 131, 127, 2, z_ref, z);
        c.label = label;
        c.config.labelled = true;
        c.config.dice = KN_DICE_LINEAR;
        lf_out out = lf_run(engine, &c);
        kn_engine_destroy(engine);
        if (i == 0) {
            first = out;
            continue;
        }
        g_assert_true(memcmp(&first.result, &out.result, sizeof out.result) == 0);
        g_assert_true(memcmp(first.ref.sum_conf, out.ref.sum_conf, sizeof out.ref.sum_conf) == 0);
        g_assert_true(memcmp(first.grad, out.grad, sizeof(double) * (size_t)(2 * n_px)) == 0);
        lf_out_clear(&out);
    }
    lf_out_clear(&first);
}

/* ---- exp, log1p ----------------------------------------------------------------------------- */
static void test_exp(void)
{
    double worst = 0;
    for (uint32_t bits = 0; bits <= 0x42AEA8F5u; bits += 53) { /* 0 .. 87.33 */
        double x = -(double)kn_bits_f32(bits), want = exp(x);
        double error = fabs((double)kn_expf_neg((float)x) - want) / want;
        worst = error <= worst ? worst : error;
    }
    g_test_message("exp: %.3g", worst);
    g_assert_true(worst <= 1e-7);
    g_assert_true(kn_expf_neg(0.0f) == 1.0f && kn_expf_neg(-87.34f) == 0.0f &&
                  kn_expf_neg(-INFINITY) == 0.0f && isnan(kn_expf_neg(NAN)));
}

static void test_log1p(void)
{
    double worst = 0;
    for (uint32_t bits = 0x00800000u; bits <= 0x41800000u; bits += 53) { /* smallest normal .. 16 */
        double x = (double)kn_bits_f32(bits), want = log1p(x);
        double error = fabs((double)kn_log1pf((float)x) - want) / want;
        worst = error <= worst ? worst : error;
    }
    g_test_message("log1p: %.3g", worst);
    g_assert_true(worst <= 1e-7);
    g_assert_true(kn_log1pf(0.0f) == 0.0f && isnan(kn_log1pf(NAN)));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/loss-cpu/against-reference", test_against_reference);
    g_test_add_func("/loss-cpu/softmax-argmax", test_softmax_argmax);
    g_test_add_func("/loss-cpu/instruction-sets", test_instruction_sets);
    g_test_add_func("/loss-cpu/thread-counts", test_thread_counts);
    g_test_add_func("/loss-cpu/exp", test_exp);
    g_test_add_func("/loss-cpu/log1p", test_log1p);
    int status = g_test_run();
    lf_close();
    return status;
}
