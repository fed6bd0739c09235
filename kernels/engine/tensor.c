#include "kernels/engine/tensor.h"

size_t kn_dtype_bytes(kn_dtype dtype)
{
    switch (dtype) {
    case KN_F32:
    case KN_I32:
        return 4;
    case KN_F64:
        return 8;
    case KN_BF16:
        return 2;
    case KN_U8:
        return 1;
    }
    return 0;
}

kn_tensor kn_tensor_images(const kn_tensor *t, int first, int n)
{
    kn_tensor part = *t;
    size_t image_bytes = (size_t)t->h * (size_t)t->w * (size_t)t->ldc * kn_dtype_bytes(t->dtype);
    part.n = n;
    part.data = (char *)t->data + (size_t)first * image_bytes;
    return part;
}
