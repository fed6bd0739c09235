/* Tensors: NHWC at every edge, optionally a channel slice of a wider buffer.
 * Plain values; they never own memory. */
#ifndef QS_KERNELS_TENSOR_H
#define QS_KERNELS_TENSOR_H

#include <stddef.h>
#include <stdint.h>

typedef enum { KN_F32, KN_F64, KN_BF16, KN_U8, KN_I32 } kn_dtype;

typedef struct {
    kn_dtype dtype;
    int n, h, w, c;
    int ldc; /* elements from one pixel to the next, >= c; > c: a slice of a concatenation buffer */
    void *data; /* element (n,h,w,c) at ((n*H + h)*W + w)*ldc + c */
    /* 0: NHWC as above. 16: inside a pass, where oneDNN's Winograd wants it: blocks of 16 channels,
     * element (n,h,w,c) at n*H*W*ldc + (c/16)*H*W*16 + (h*W + w)*16 + c%16; c divides by 16. For 16
     * dense channels the two are the same. */
    int block;
} kn_tensor;

size_t kn_dtype_bytes(kn_dtype dtype);
static inline int64_t kn_pixels(const kn_tensor *t)
{
    return (int64_t)t->n * t->h * t->w;
}
static inline float *kn_f32(const kn_tensor *t)
{
    return (float *)t->data;
}
static inline double *kn_f64(const kn_tensor *t)
{
    return (double *)t->data;
}
/* Images first … first+n-1 of t. */
kn_tensor kn_tensor_images(const kn_tensor *t, int first, int n);

#endif
