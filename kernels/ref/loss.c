/* The loss's passes, naive and in double: the oracle. One pixel after the other, as the equations
 * are written. */
#include "kernels/loss/compare_priv.h"
#include "kernels/loss/loss_priv.h"

#include <math.h>

#define QP_REAL double
#define QP(name) qp_##name##_f64
#define QP_EXP(x) exp(x)
#define QP_LOG1P(x) log1p(x)
#define QP_SQRT(x) sqrt(x)
#include "kernels/loss/quad_pixel.h"

#define QP_REAL double
#define QP(name) qp_##name##_f64
#define QP_EXP(x) exp(x)
#define QP_LOG1P(x) log1p(x)
#define QP_LOG(x) log(x)
#define QP_SQRT(x) sqrt(x)
#include "kernels/loss/compare_pixel.h"

#define CP_REAL double
#define CP(name) qp_##name##_f64
#define CP_EXP(x) exp(x)
#define CP_SQRT(x) sqrt(x)
#define CP_TABLE compare_ops
#include "kernels/loss/compare_pass.inc"

static const double *pixel(const kn_tensor *t, int64_t i)
{
    return kn_f64(t) + i * t->ldc;
}

static bool is_excluded(const uint8_t *exclude, int64_t i)
{
    return exclude && exclude[i] == QS_CLASS_IGNORE;
}

static void reference(const kn_ref_args *args, int64_t first, int n, kn_ref_sums *sums)
{
    int n_classes = args->z->c;
    double *conf = args->conf;
    for (int64_t i = first; i < first + n; i++) {
        const double *z = pixel(args->z, i);
        double p[QS_CLASSES_MAX];
        int y = qp_argmax_f64(z, n_classes);
        qp_softmax_f64(z, n_classes, y, p);
        args->y[i] = (uint8_t)y;
        conf[i] = qp_confidence_f64(args->confidence, p, n_classes, y);
        if (is_excluded(args->exclude, i))
            continue;
        sums->conf[y] += conf[i];
        sums->count[y]++;
        sums->above[y] += args->above_tau > 0 && conf[i] > args->above_tau;
        for (int c = 0; c < n_classes && args->with_prob; c++)
            sums->prob[c] += p[c];
    }
}

/* What eqs. (1)-(4) say of one pixel whose target is `target` and argmax is `y`. */
static int region_of(const kn_quad_args *args, int64_t i, int target, int y)
{
    if (!args->ref_y)
        return KN_REGION_UC;
    const kn_quad_config *config = args->config;
    double conf = ((const double *)args->ref_conf)[i];
    int y_ref = args->ref_y[i];
    int compared = config->compare ? config->compare[i] : config->labelled ? target : y;
    double gamma = config->gamma[y_ref];
    return qp_region(y_ref == compared, conf > gamma || (config->gamma_inclusive && conf == gamma));
}

static void partition(const kn_quad_args *args, int64_t first, int n, kn_quad_sums *sums)
{
    const kn_quad_config *config = args->config;
    int n_classes = args->z->c;
    for (int64_t i = first; i < first + n; i++) {
        const double *z = pixel(args->z, i);
        int target = config->labelled ? args->label[i] : args->ref_y[i];
        args->region[i] = KN_REGION_EXCLUDED;
        if (target >= n_classes || is_excluded(args->exclude, i))
            continue;
        double p[QS_CLASSES_MAX];
        int y = qp_argmax_f64(z, n_classes);
        double rest = qp_softmax_f64(z, n_classes, y, p);
        int region = region_of(args, i, target, y);
        double w = config->weights[region];
        args->region[i] = (uint8_t)region;
        double ce = qp_cross_entropy_f64(z[y], z[target], rest);
        sums->px[region]++;
        sums->ce[region] += ce;
        if (config->uc != KN_UC_WHOLE && region == KN_REGION_UC && target == 0) {
            sums->uc_background_px++;
            sums->uc_background_ce += ce;
        }
        if (args->truth && args->truth[i] < n_classes) {
            sums->truth[region]++;
            sums->right[region] += args->truth[i] == args->ref_y[i];
        }
        sums->inter[target] += w * p[target];
        sums->target[target] += w;
        for (int c = 0; c < n_classes; c++)
            sums->pred[c] += config->dice == KN_DICE_SQUARE ? w * p[c] * p[c] : w * p[c];
    }
}

static void put(double *dz, double value, bool accumulate)
{
    *dz = accumulate ? *dz + value : value;
}

static void gradient(const kn_grad_args *args, int64_t first, int n, double ce_scale)
{
    int n_classes = args->z->c;
    for (int64_t i = first; i < first + n; i++) {
        const double *z = pixel(args->z, i);
        double *dz = kn_f64(args->dz) + i * args->dz->ldc;
        double p[QS_CLASSES_MAX], g[QS_CLASSES_MAX], dot = 0;
        int region = args->region[i], target = args->target[i];
        if (region == KN_REGION_EXCLUDED) {
            for (int c = 0; c < n_classes; c++)
                put(&dz[c], 0.0, args->accumulate);
            continue;
        }
        bool background = region == KN_REGION_UC && target == 0;
        double w_ce = ce_scale * (background ? args->ce_uc_background : args->ce_weights[region]);
        double w_dice = args->weights[region] * args->dice_scale;
        qp_softmax_f64(z, n_classes, qp_argmax_f64(z, n_classes), p);
        for (int c = 0; c < n_classes; c++) {
            g[c] = qp_dice_grad_p_f64(args->dice, w_dice, args->dice_a[c], args->dice_b[c], p[c],
                                      c == target);
            dot += g[c] * p[c];
        }
        for (int c = 0; c < n_classes; c++)
            put(&dz[c],
                qp_ce_grad_f64(w_ce, p[c], c == target) + qp_softmax_grad_f64(p[c], g[c], dot),
                args->accumulate);
    }
}

static void mse(const kn_mse_args *args, int64_t first, int n, double *sum)
{
    int n_classes = args->z->c;
    for (int64_t i = first; i < first + n; i++) {
        const double *z = pixel(args->z, i), *zr = pixel(args->z_ref, i);
        double p[QS_CLASSES_MAX], pr[QS_CLASSES_MAX], dot = 0;
        bool kept = !is_excluded(args->exclude, i);
        qp_softmax_f64(z, n_classes, qp_argmax_f64(z, n_classes), p);
        qp_softmax_f64(zr, n_classes, qp_argmax_f64(zr, n_classes), pr);
        for (int c = 0; c < n_classes; c++) {
            double d = p[c] - pr[c];
            dot += d * p[c];
            *sum += kept ? d * d : 0.0;
        }
        if (!args->dz)
            continue;
        double *dz = kn_f64(args->dz) + i * args->dz->ldc;
        for (int c = 0; c < n_classes; c++) {
            double g = args->grad_scale * qp_softmax_grad_f64(p[c], p[c] - pr[c], dot);
            put(&dz[c], kept ? g : 0.0, args->accumulate);
        }
    }
}

static void softmax(const kn_tensor *z, int64_t first, int n, float *prob)
{
    for (int i = 0; i < n; i++) {
        const double *zi = pixel(z, first + i);
        double p[QS_CLASSES_MAX];
        qp_softmax_f64(zi, z->c, qp_argmax_f64(zi, z->c), p);
        for (int c = 0; c < z->c; c++)
            prob[(int64_t)i * z->c + c] = (float)p[c];
    }
}

static void argmax(const kn_tensor *z, int64_t first, int n, uint8_t *y)
{
    for (int i = 0; i < n; i++)
        y[i] = (uint8_t)qp_argmax_f64(pixel(z, first + i), z->c);
}

const kn_loss_ops kn_ref_loss_ops = {
    .name = "ref",
    .reference = reference,
    .partition = partition,
    .gradient = gradient,
    .mse = mse,
    .softmax = softmax,
    .argmax = argmax,
    .compare = &compare_ops,
};
