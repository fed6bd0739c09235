#include "kernels/engine/fold.h"

#include "kernels/engine/ops.h"

#include <math.h>

static double get(kn_dtype dtype, const void *array, int64_t i)
{
    return dtype == KN_F64 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

static void put(kn_dtype dtype, void *array, int64_t i, double value)
{
    if (dtype == KN_F64)
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

void kn_fold_bn(kn_dtype dtype, int oc, int64_t per_oc, const kn_fold *from, void *weight,
                void *bias)
{
    for (int o = 0; o < oc; o++) {
        double s = get(dtype, from->gamma, o) / sqrt(get(dtype, from->running_var, o) + KN_BN_EPS);
        for (int64_t i = o * per_oc; i < (o + 1) * per_oc; i++)
            put(dtype, weight, i, s * get(dtype, from->weight, i));
        double b = get(dtype, from->bias, o) - get(dtype, from->running_mean, o);
        put(dtype, bias, o, s * b + get(dtype, from->beta, o));
    }
}
