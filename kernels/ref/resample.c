/* 2×2 maximum pooling and bilinear ×2 upsampling with align_corners=True, forward and transpose. */
#include "kernels/ref/ref_priv.h"

/* The pixel of the 2×2 window at (i,j) that wins channel c; the first in row order wins a tie. */
static void winner(const kn_tensor *x, int n, int i, int j, int c, int *wy, int *wx)
{
    *wy = 2 * i;
    *wx = 2 * j;
    for (int k = 1; k < 4; k++) {
        int y = 2 * i + k / 2, z = 2 * j + k % 2;
        if (ref_at(x, n, y, z)[c] > ref_at(x, n, *wy, *wx)[c]) {
            *wy = y;
            *wx = z;
        }
    }
}

void kn_ref_pool_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y,
                     const kn_tensor *copy)
{
    (void)engine;
    for (int n = 0; n < y->n; n++)
        for (int i = 0; i < y->h; i++)
            for (int j = 0; j < y->w; j++)
                for (int c = 0; c < y->c; c++) {
                    int wy, wx;
                    winner(x, n, i, j, c, &wy, &wx);
                    ref_at(y, n, i, j)[c] = ref_at(x, n, wy, wx)[c];
                }
    for (int64_t p = 0; copy && p < kn_pixels(x); p++)
        for (int c = 0; c < x->c; c++)
            kn_f64(copy)[p * copy->ldc + c] = kn_f64(x)[p * x->ldc + c];
}

void kn_ref_pool_bwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *dy,
                     const kn_tensor *dx)
{
    (void)engine;
    for (int n = 0; n < dy->n; n++)
        for (int i = 0; i < dy->h; i++)
            for (int j = 0; j < dy->w; j++)
                for (int c = 0; c < dy->c; c++) {
                    int wy, wx;
                    winner(x, n, i, j, c, &wy, &wx);
                    ref_at(dx, n, wy, wx)[c] += ref_at(dy, n, i, j)[c];
                }
}

/* Output o of 2·size lies at input position o·(size-1)/(2·size-1), between i and i+1. */
static void position(int o, int size, int *i, int *i1, double *t)
{
    double at = (double)o * (size - 1) / (2.0 * size - 1);
    *i = (int)at;
    *t = at - *i;
    *i1 = *i + 1 < size ? *i + 1 : *i;
}

void kn_ref_upsample_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y)
{
    (void)engine;
    for (int n = 0; n < y->n; n++)
        for (int i = 0; i < y->h; i++)
            for (int j = 0; j < y->w; j++) {
                int i0, i1, j0, j1;
                double u, v;
                position(i, x->h, &i0, &i1, &u);
                position(j, x->w, &j0, &j1, &v);
                for (int c = 0; c < x->c; c++)
                    ref_at(y, n, i, j)[c] =
                        (1 - u) *
                            ((1 - v) * ref_at(x, n, i0, j0)[c] + v * ref_at(x, n, i0, j1)[c]) +
                        u * ((1 - v) * ref_at(x, n, i1, j0)[c] + v * ref_at(x, n, i1, j1)[c]);
            }
}

void kn_ref_upsample_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx)
{
    kn_ref_zero(engine, dx->data, kn_pixels(dx) * dx->c);
    for (int n = 0; n < dy->n; n++)
        for (int i = 0; i < dy->h; i++)
            for (int j = 0; j < dy->w; j++) {
                int i0, i1, j0, j1;
                double u, v;
                position(i, dx->h, &i0, &i1, &u);
                position(j, dx->w, &j0, &j1, &v);
                for (int c = 0; c < dx->c; c++) {
                    double g = ref_at(dy, n, i, j)[c];
                    ref_at(dx, n, i0, j0)[c] += (1 - u) * (1 - v) * g;
                    ref_at(dx, n, i0, j1)[c] += (1 - u) * v * g;
                    ref_at(dx, n, i1, j0)[c] += u * (1 - v) * g;
                    ref_at(dx, n, i1, j1)[c] += u * v * g;
                }
            }
}
