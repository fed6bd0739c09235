/* Tensors: NHWC everywhere, optionally a channel slice of a wider buffer.
 * Plain values; they never own memory. */
#ifndef QS_KERNELS_TENSOR_H
#define QS_KERNELS_TENSOR_H

#include <stddef.h>
#include <stdint.h>

typedef enum { KN_F32, KN_F64, KN_BF16, KN_U8, KN_I32 } kn_dtype;

typedef struct {
    kn_dtype dtype;
    int n, h, w, c;
    int ldc;    /* elements from one pixel to the next, >= c; > c: a slice of a concatenation buffer */
    void *data; /* element (n,h,w,c) at ((n*H + h)*W + w)*ldc + c */
} kn_tensor;

size_t kn_dtype_bytes(kn_dtype dtype);
static inline int64_t kn_pixels(const kn_tensor *t)
{
    return (int64_t)t->n * t->h * t->w;
}
static inline float *kn_f32(const kn_tensor *t) { return (float *)t->data; }
static inline double *kn_f64(const kn_tensor *t) { return (double *)t->data; }
/* Images first … first+n-1 of t. */
kn_tensor kn_tensor_images(const kn_tensor *t, int first, int n);

#endif
