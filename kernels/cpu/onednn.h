/* oneDNN 2.x behind a small door: one object is one direction of one convolution. dnnl.h appears in
 * onednn.c only, so another version, or another library, is a matter of that file. */
#ifndef QS_KERNELS_CPU_ONEDNN_H
#define QS_KERNELS_CPU_ONEDNN_H

#include "kernels/engine/engine_priv.h"

typedef struct kn_dnnl kn_dnnl; /* engine and stream */
typedef struct kn_prim kn_prim; /* a primitive with its memory objects */

typedef enum { KN_FWD, KN_BWD_DATA, KN_BWD_WEIGHTS } kn_direction;
extern const char *const kn_direction_names[3];

kn_dnnl *kn_dnnl_open(GError **error);
void kn_dnnl_close(kn_dnnl *dnnl);
/* "oneDNN 2.6.3, AVX-512": the version and the instruction set that it will use. Borrowed. */
const char *kn_dnnl_describe(const kn_dnnl *dnnl);
/* Does it have Winograd kernels here (AVX-512 only, blocks of 16 channels only)? */
bool kn_dnnl_has_winograd(void);
/* Does it compute convolutions of bf16 with instructions made for it? */
bool kn_dnnl_has_bf16(void);

/* The primitive with user scratchpad, for sources and destinations of the types in `spec`; what the
 * direction reads must be of one type, what it writes may be f32 beside that. NULL without an error
 * when oneDNN has no optimised one: its reference implementation, a thousand times slower, is never
 * taken. */
kn_prim *kn_prim_create(kn_dnnl *dnnl, const kn_conv_spec *spec, kn_direction direction,
                        bool winograd, GError **error);
void kn_prim_destroy(kn_prim *prim);
const char *kn_prim_implementation(const kn_prim *prim);
size_t kn_prim_scratch_bytes(const kn_prim *prim);
size_t kn_prim_weight_bytes(const kn_prim *prim); /* in the primitive's own layout */
/* (oc,ic,k,k) to the primitive's layout, and back for gradients. */
bool kn_prim_pack(kn_prim *prim, const float *oihw, void *packed, GError **error);
bool kn_prim_unpack(kn_prim *prim, const void *packed, float *oihw, GError **error);
/* fwd: src, weights, bias -> dst. bwd_data: dst (its gradient), weights -> src. bwd_weights: src,
 * dst
 * -> weights, bias. bias may be NULL where the spec has none. */
bool kn_prim_run(kn_prim *prim, const void *src, const void *weights, const void *bias,
                 const void *dst, void *scratch, GError **error);

#endif
