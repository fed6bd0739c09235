/* The passes of kernels/loss/loss.c and kernels/loss/compare.c over pixels, on the GPU. Formulas are those of
 * quad_pixel.h and compare_pixel.h in f32, and the comparison methods' passes are compare_pass.inc
 * itself, a pixel at a time.
 *
 * A block takes KN_CU_LOSS_PX pixels of one image, a thread every 256th of them, and adds what it
 * sums in f32 over its few pixels, then in f64: over the warp by shuffles, over the warps in order.
 * A second kernel adds an image's blocks in order. So the sums have one order, whatever runs when,
 * and come out per image; fold.cu folds these in double as the host folds the CPU's. Numbers that
 * a pass needs of an earlier one it reads where fold.cu left them: the host sees none of them. */
#include "kernels/loss/compare_fold.h"
#include "kernels/cuda/loss.h"

#include "kernels/cuda/lang.cuh"

#define QP_REAL float
#define QP(name) qp_##name##_f32
#define QP_EXP(x) expf(x)
#define QP_LOG1P(x) log1pf(x)
#define QP_SQRT(x) sqrtf(x)
#include "kernels/loss/quad_pixel.h"

#define QP_REAL float
#define QP(name) qp_##name##_f32
#define QP_EXP(x) expf(x)
#define QP_LOG1P(x) log1pf(x)
#define QP_LOG(x) logf(x)
#define QP_SQRT(x) sqrtf(x)
#include "kernels/loss/compare_pixel.h"

#define CP_REAL float
#define CP(name) qp_##name##_f32
#define CP_EXP(x) expf(x)
#define CP_SQRT(x) sqrtf(x)
#define CP_FN __device__ static inline
#define CP_PASS __device__ static inline
#include "kernels/loss/compare_pass.inc"

enum { BLOCK = 256, WARPS = BLOCK / 32, SUMS_MAX = KN_CU_LOSS_SUMS };

struct span {
    int64_t first; /* pixel of the batch */
    int n;
    int image;
};

/* The pixels of block `block`. */
__device__ static inline span span_of(int64_t block, int64_t image_px)
{
    int64_t per_image = kn_div_up(image_px, KN_CU_LOSS_PX), in = block % per_image * KN_CU_LOSS_PX;
    int64_t left = image_px - in;
    span s;
    s.image = (int)(block / per_image);
    s.first = s.image * image_px + in;
    s.n = left < KN_CU_LOSS_PX ? (int)left : (int)KN_CU_LOSS_PX;
    return s;
}

/* The block's sums to parts (blocks, n_sums). All threads. */
template <int N, class S>
__device__ static inline void store_sums(const S *mine, int n_sums, double *parts)
{
    KN_SHARED(double, of_warp, WARPS *N);
    int t = (int)threadIdx.x, lane = t % 32, warp = t / 32;
    for (int s = 0; s < n_sums; s++) {
        double v = (double)mine[s];
        for (int by = 16; by > 0; by /= 2)
            v += kn_shuffle_down(v, by);
        if (lane == 0)
            of_warp[warp * N + s] = v;
    }
    __syncthreads();
    for (int s = t; s < n_sums; s += BLOCK) {
        double sum = 0;
        for (int w = 0; w < WARPS; w++)
            sum += of_warp[w * N + s];
        parts[(int64_t)blockIdx.x * n_sums + s] = sum;
    }
}

/* sums (images, n_sums) = those of each image's blocks, in order; one warp a sum. */
__global__ void add_blocks(const double *parts, int per_image, int n_sums, double *sums)
{
    int lane = (int)threadIdx.x % 32, s = (int)(blockIdx.y * (BLOCK / 32) + threadIdx.x / 32);
    double sum = 0;
    for (int b = lane; b < per_image && s < n_sums; b += 32)
        sum += parts[((int64_t)blockIdx.x * per_image + b) * n_sums + s];
    for (int by = 16; by > 0; by /= 2)
        sum += kn_shuffle_down(sum, by);
    if (lane == 0 && s < n_sums)
        sums[(int64_t)blockIdx.x * n_sums + s] = sum;
}

__device__ static inline bool kept(const uint8_t *exclude, int64_t i)
{
    return !exclude || exclude[i] != QS_CLASS_IGNORE;
}

/* NC: the number of classes when it is known, else 0 and n says it. */
template <int NC> struct classes {
    static constexpr int most = NC ? NC : QS_CLASSES_MAX;
};
#define N_OF(NC, t) ((NC) ? (NC) : (t).c)

template <int NC> __device__ static inline void load_z(const kn_tensor &z, int64_t i, float *out)
{
    const float *p = (const float *)z.data + i * z.ldc;
    for (int c = 0; c < N_OF(NC, z); c++)
        out[c] = p[c];
}

template <int NC>
__device__ static inline void store_dz(const kn_tensor &dz, int64_t i, const float *g,
                                       bool accumulate)
{
    float *p = (float *)dz.data + i * dz.ldc;
    for (int c = 0; c < N_OF(NC, dz); c++)
        p[c] = accumulate ? p[c] + g[c] : g[c];
}

/* ---- pass 1: sums conf, prob, count, above of each class
 * ------------------------------------------ */
template <int NC> __global__ void reference(kn_cu_ref a, int64_t image_px, double *parts)
{
    enum { M = classes<NC>::most };
    int n = N_OF(NC, a.z);
    span s = span_of(blockIdx.x, image_px);
    float sums[4 * M] = {};
    for (int k = (int)threadIdx.x; k < s.n; k += BLOCK) {
        int64_t i = s.first + k;
        float z[M], p[M];
        load_z<NC>(a.z, i, z);
        int y = qp_argmax_f32(z, n);
        qp_softmax_f32(z, n, y, p);
        float conf = qp_confidence_f32(a.confidence, p, n, y);
        a.y[i] = (uint8_t)y;
        a.conf[i] = conf;
        if (!kept(a.exclude, i))
            continue;
        for (int c = 0; c < n; c++) {
            bool is = c == y;
            sums[c] += is ? conf : 0.0f;
            sums[n + c] += a.with_prob ? p[c] : 0.0f;
            sums[2 * n + c] += is ? 1.0f : 0.0f;
            sums[3 * n + c] += is && a.above_tau > 0 && conf > a.above_tau ? 1.0f : 0.0f;
        }
    }
    store_sums<4 * M>(sums, 4 * n, parts);
}

/* ---- pass 2: sums px, right, truth, ce of each region; UC's background px, ce; inter, target,
 * pred of each class
 * ---------------------------------------------------------------------------------- */
template <int NC> __global__ void partition(kn_cu_quad a, int64_t image_px, double *parts)
{
    enum { M = classes<NC>::most, R = KN_N_REGIONS, BACK = 4 * R, CLASS = BACK + 2 };
    int n = N_OF(NC, a.z);
    span s = span_of(blockIdx.x, image_px);
    float sums[CLASS + 3 * M] = {};
    for (int k = (int)threadIdx.x; k < s.n; k += BLOCK) {
        int64_t i = s.first + k;
        int target = a.labelled ? a.label[i] : a.ref_y[i];
        if (target >= n || !kept(a.exclude, i)) {
            a.region[i] = KN_REGION_EXCLUDED;
            continue;
        }
        float z[M], p[M], z_target = 0;
        load_z<NC>(a.z, i, z);
        int y = qp_argmax_f32(z, n), region = KN_REGION_UC;
        float zmax = z[y], rest = qp_softmax_f32(z, n, y, p);
        for (int c = 0; c < n; c++)
            z_target = c == target ? z[c] : z_target;
        if (a.ref_y) {
            int compared = a.compare ? a.compare[i] : a.labelled ? target : y;
            int by = a.ref_y[i];
            float gamma = a.gamma_at ? (float)a.gamma_at[by] : a.gamma[by], conf = a.ref_conf[i];
            region = qp_region(a.ref_y[i] == compared,
                               conf > gamma || (a.gamma_inclusive && conf == gamma));
        }
        a.region[i] = (uint8_t)region;
        float w = a.weights_at ? (float)a.weights_at[region] : a.weights[region];
        float ce = qp_cross_entropy_f32(zmax, z_target, rest);
        bool has_truth = a.truth && a.truth[i] < n;
        for (int r = 0; r < R; r++) {
            bool is = r == region;
            sums[r] += is ? 1.0f : 0.0f;
            sums[R + r] += is && has_truth && a.truth[i] == a.ref_y[i] ? 1.0f : 0.0f;
            sums[2 * R + r] += is && has_truth ? 1.0f : 0.0f;
            sums[3 * R + r] += is ? ce : 0.0f;
        }
        bool back = a.uc != KN_UC_WHOLE && region == KN_REGION_UC && target == 0;
        sums[BACK] += back ? 1.0f : 0.0f;
        sums[BACK + 1] += back ? ce : 0.0f;
        for (int c = 0; c < n; c++) {
            sums[CLASS + c] += c == target ? w * p[c] : 0.0f;
            sums[CLASS + n + c] += c == target ? w : 0.0f;
            sums[CLASS + 2 * n + c] += a.dice == KN_DICE_SQUARE ? w * p[c] * p[c] : w * p[c];
        }
    }
    store_sums<CLASS + 3 * M>(sums, CLASS + 3 * n, parts);
}

/* ---- pass 3
 * ---------------------------------------------------------------------------------------- */
template <int NC> __global__ void gradient(kn_cu_grad a, int64_t image_px)
{
    enum { M = classes<NC>::most };
    int n = N_OF(NC, a.z);
    int64_t pixels = (int64_t)a.z.n * image_px;
    for (int64_t i = KN_THREAD; i < pixels; i += KN_THREADS) {
        float z[M], p[M], g[M], dot = 0;
        int region = a.region[i], target = a.target[i];
        if (region == KN_REGION_EXCLUDED) {
            for (int c = 0; c < n; c++)
                g[c] = 0;
            if (!a.accumulate)
                store_dz<NC>(a.dz, i, g, false);
            continue;
        }
        bool background = region == KN_REGION_UC && target == 0;
        float scale = a.ce_scale[i / image_px];
        float w_ce = scale * (background ? a.by->ce_uc_background : a.by->ce_weights[region]);
        float w_dice = a.by->weights[region];
        load_z<NC>(a.z, i, z);
        qp_softmax_f32(z, n, qp_argmax_f32(z, n), p);
        for (int c = 0; c < n; c++) {
            g[c] = qp_dice_grad_p_f32(a.dice, w_dice, a.by->dice_a[c], a.by->dice_b[c], p[c],
                                      c == target);
            dot += g[c] * p[c];
        }
        for (int c = 0; c < n; c++)
            g[c] = qp_ce_grad_f32(w_ce, p[c], c == target) + qp_softmax_grad_f32(p[c], g[c], dot);
        store_dz<NC>(a.dz, i, g, a.accumulate);
    }
}

/* ---- Mean Teacher: sums the squared distance
 * -------------------------------------------------------- */
template <int NC> __global__ void mse(kn_cu_mse a, int64_t image_px, double *parts)
{
    enum { M = classes<NC>::most };
    int n = N_OF(NC, a.z);
    span s = span_of(blockIdx.x, image_px);
    float sums[1] = {}, grad_scale = (float)cf_per(a.scale * 2.0, *a.count * n);
    for (int k = (int)threadIdx.x; k < s.n; k += BLOCK) {
        int64_t i = s.first + k;
        float z[M], p[M], r[M], dot = 0, square = 0;
        load_z<NC>(a.z, i, z);
        qp_softmax_f32(z, n, qp_argmax_f32(z, n), p);
        load_z<NC>(a.z_ref, i, z);
        qp_softmax_f32(z, n, qp_argmax_f32(z, n), r);
        for (int c = 0; c < n; c++) {
            r[c] = p[c] - r[c];
            dot += r[c] * p[c];
            square += r[c] * r[c];
        }
        bool counts = kept(a.exclude, i);
        sums[0] += counts ? square : 0.0f;
        if (!a.dz.data || (!counts && a.accumulate))
            continue;
        for (int c = 0; c < n; c++)
            r[c] = counts ? grad_scale * qp_softmax_grad_f32(p[c], r[c], dot) : 0.0f;
        store_dz<NC>(a.dz, i, r, a.accumulate);
    }
    store_sums<1>(sums, 1, parts);
}

__global__ void softmax(kn_tensor z, float *prob)
{
    int64_t pixels = (int64_t)z.n * z.h * z.w;
    for (int64_t i = KN_THREAD; i < pixels; i += KN_THREADS) {
        float v[QS_CLASSES_MAX];
        load_z<0>(z, i, v);
        qp_softmax_f32(v, z.c, qp_argmax_f32(v, z.c), v);
        for (int c = 0; c < z.c; c++)
            prob[i * z.c + c] = v[c];
    }
}

__global__ void argmax(kn_tensor z, uint8_t *y)
{
    int64_t pixels = (int64_t)z.n * z.h * z.w;
    for (int64_t i = KN_THREAD; i < pixels; i += KN_THREADS)
        y[i] = (uint8_t)qp_argmax_f32((const float *)z.data + i * z.ldc, z.c);
}

__global__ void clear(kn_tensor dz)
{
    int64_t n = (int64_t)dz.n * dz.h * dz.w * dz.c;
    for (int64_t e = KN_THREAD; e < n; e += KN_THREADS)
        ((float *)dz.data)[e / dz.c * dz.ldc + e % dz.c] = 0;
}

__global__ void sdcl_labels(const uint8_t *known, const uint8_t *exclude, int64_t n, uint8_t *label,
                            uint8_t *pseudo)
{
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS)
        cf_sdcl_label(known[i], exclude[i], &label[i], &pseudo[i]);
}

/* Sums the pixels that count. */
__global__ void count_kept(const uint8_t *exclude, int64_t image_px, double *parts)
{
    span s = span_of(blockIdx.x, image_px);
    float sums[1] = {};
    for (int k = (int)threadIdx.x; k < s.n; k += BLOCK)
        sums[0] += kept(exclude, s.first + k) ? 1.0f : 0.0f;
    store_sums<1>(sums, 1, parts);
}

/* ---- the comparison methods: compare_pass.inc, one place at a time
 * --------------------------------- */

/* The tensors that a pass's arguments point to, in the order in which `each` meets them: on the way
 * to the GPU they travel by value beside the arguments, there the pointers are set to them. */
struct tensors {
    kn_tensor t[2 * KN_SCALES_MAX];
};

template <class F> __host__ __device__ static inline void each(kn_kl_args &a, F f)
{
    f(a.z1), f(a.z2), f(a.dz1), f(a.dz2);
}
template <class F> __host__ __device__ static inline void each(kn_prob_args &a, F f)
{
    f(a.z), f(a.prob);
}
template <class F> __host__ __device__ static inline void each(kn_uncertainty_args &a, F f)
{
    f(a.prob);
}
template <class F> __host__ __device__ static inline void each(kn_cosine_args &a, F f)
{
    f(a.f1), f(a.f2), f(a.df1), f(a.df2);
}
template <class F> __host__ __device__ static inline void each(kn_attention_args &a, F f)
{
    f(a.f), f(a.f_ref), f(a.df);
}
template <class F> __host__ __device__ static inline void each(kn_dcnet_args &a, F f)
{
    f(a.z1), f(a.z2), f(a.dz1), f(a.dz2);
}
template <class F> __host__ __device__ static inline void each(kn_rank_args &a, F f)
{
    f(a.z), f(a.dz);
}
template <class F> __host__ __device__ static inline void each(kn_sdcl_args &a, F f)
{
    f(a.z), f(a.dz);
}

struct take { /* host: tensors out of the pointers */
    tensors *to;
    int *n;
    __host__ __device__ void operator()(const kn_tensor *&p) const
    {
        kn_tensor none = {};
        to->t[(*n)++] = p ? *p : none;
    }
};

struct give { /* device: pointers to the tensors, NULL where there was none */
    const tensors *from;
    int *n;
    __host__ __device__ void operator()(const kn_tensor *&p) const
    {
        const kn_tensor *t = &from->t[(*n)++];
        p = t->data ? t : nullptr;
    }
};

template <class A> static void pack(A &a, tensors *t)
{
    int n = 0;
    each(a, take{t, &n});
}
static void pack(kn_urpc_args &a, tensors *t)
{
    kn_tensor none = {};
    for (int s = 0; s < a.n_scales; s++) {
        t->t[s] = *a.z[s];
        t->t[KN_SCALES_MAX + s] = a.dz[s] ? *a.dz[s] : none;
    }
}

/* A pass's scales once the numbers are there: those of its pixels' count and of earlier sums. */
struct numbers {
    const double *count, *kept;
};
template <class A> __device__ static inline void settle(A &, const numbers &, int) {}
__device__ static inline void settle(kn_kl_args &a, const numbers &by, int)
{
    a.grad_scale = cf_per(a.grad_scale, *by.count);
}
__device__ static inline void settle(kn_cosine_args &a, const numbers &by, int)
{
    a.grad_scale = cf_per(a.grad_scale, *by.count);
}
__device__ static inline void settle(kn_urpc_args &a, const numbers &by, int)
{
    a.by = {};
    cf_urpc(by.kept, *by.count, a.n_scales, a.z[0]->c, a.scale, &a.by);
}
__device__ static inline void settle(kn_attention_args &a, const numbers &by, int image)
{
    cf_attention(by.kept + image * KN_COMPARE_SUMS, &a);
}
__device__ static inline void settle(kn_dcnet_args &a, const numbers &by, int)
{
    a.threshold = *a.threshold_at;
    a.decoupled_scale = cf_per(a.decoupled_scale, *by.count * a.z1->c);
    a.direct_scale = cf_per(a.direct_scale, *by.count);
}
__device__ static inline void settle(kn_sdcl_args &a, const numbers &by, int)
{
    a.mse_scale = cf_per(a.mse_scale, by.kept[2]);
    a.kl_scale = cf_per(a.kl_scale, by.kept[3]);
}

/* Arguments as a thread sees them. */
template <class A> struct bound {
    A a;
    __device__ bound(const A &from, const tensors *t) : a(from)
    {
        int n = 0;
        each(a, give{t, &n});
    }
};
template <> struct bound<kn_urpc_args> {
    kn_urpc_args a;
    const kn_tensor *z[KN_SCALES_MAX], *dz[KN_SCALES_MAX];
    __device__ bound(const kn_urpc_args &from, const tensors *t) : a(from)
    {
        for (int s = 0; s < KN_SCALES_MAX; s++) {
            z[s] = &t->t[s];
            dz[s] = t->t[KN_SCALES_MAX + s].data ? &t->t[KN_SCALES_MAX + s] : nullptr;
        }
        a.z = z;
        a.dz = dz;
    }
};

#define PASS(name, type)                                                                           \
    struct name##_pass {                                                                           \
        typedef type args;                                                                         \
        __device__ static inline void run(const type *a, int64_t i, double *sums)                  \
        {                                                                                          \
            cp_##name(a, i, 1, sums);                                                              \
        }                                                                                          \
    }
PASS(kl, kn_kl_args);
PASS(prob_add, kn_prob_args);
PASS(uncertainty, kn_uncertainty_args);
PASS(urpc_sums, kn_urpc_args);
PASS(urpc_grad, kn_urpc_args);
PASS(cosine, kn_cosine_args);
PASS(attention_sums, kn_attention_args);
PASS(attention_grad, kn_attention_args);
PASS(dcnet, kn_dcnet_args);
PASS(score, kn_rank_args);
PASS(rank, kn_rank_args);
PASS(sdcl_sums, kn_sdcl_args);
PASS(sdcl_grad, kn_sdcl_args);

template <class P>
__global__ void compare(typename P::args args, tensors t, int64_t image_px, int n_sums, int settles,
                        numbers by, double *parts)
{
    span s = span_of(blockIdx.x, image_px);
    bound<typename P::args> b(args, &t);
    double sums[KN_COMPARE_SUMS] = {};
    if (settles)
        settle(b.a, by, s.image);
    for (int k = (int)threadIdx.x; k < s.n; k += BLOCK)
        P::run(&b.a, s.first + k, sums);
    store_sums<KN_COMPARE_SUMS>(sums, n_sums, parts);
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

static int64_t blocks_of(int n_images, int64_t image_px)
{
    return n_images * kn_div_up(image_px, KN_CU_LOSS_PX);
}

size_t kn_cu_loss_parts_bytes(int n_images, int64_t image_px)
{
    return (size_t)blocks_of(n_images, image_px) * KN_CU_LOSS_SUMS * sizeof(double);
}

static void add(kn_device *device, int n_images, int64_t image_px, int n_sums, kn_cu_sums out)
{
    if (n_sums > 0)
        KN_LAUNCH(device, add_blocks, KN_GRID(n_images, kn_div_up(n_sums, BLOCK / 32)), BLOCK,
                  out.parts, (int)kn_div_up(image_px, KN_CU_LOSS_PX), n_sums, out.sums);
}

/* Two classes, as most cohorts have, get a kernel of their own. */
#define BY_CLASSES(kernel, n_classes, grid, ...)                                                   \
    do {                                                                                           \
        if ((n_classes) == 2)                                                                      \
            KN_LAUNCH(device, (kernel<2>), grid, BLOCK, __VA_ARGS__);                              \
        else                                                                                       \
            KN_LAUNCH(device, (kernel<0>), grid, BLOCK, __VA_ARGS__);                              \
    } while (0)

void kn_cu_loss_reference(kn_device *device, kn_cu_ref a, kn_cu_sums out)
{
    int64_t px = (int64_t)a.z.h * a.z.w;
    BY_CLASSES(reference, a.z.c, blocks_of(a.z.n, px), a, px, out.parts);
    add(device, a.z.n, px, 4 * a.z.c, out);
}

void kn_cu_loss_partition(kn_device *device, kn_cu_quad a, kn_cu_sums out)
{
    int64_t px = (int64_t)a.z.h * a.z.w;
    BY_CLASSES(partition, a.z.c, blocks_of(a.z.n, px), a, px, out.parts);
    add(device, a.z.n, px, 4 * KN_N_REGIONS + 2 + 3 * a.z.c, out);
}

void kn_cu_loss_gradient(kn_device *device, kn_cu_grad a)
{
    int64_t px = (int64_t)a.z.h * a.z.w;
    BY_CLASSES(gradient, a.z.c, kn_grid(a.z.n * px, BLOCK, 1 << 20), a, px);
}

void kn_cu_loss_mse(kn_device *device, kn_cu_mse a, kn_cu_sums out)
{
    int64_t px = (int64_t)a.z.h * a.z.w;
    BY_CLASSES(mse, a.z.c, blocks_of(a.z.n, px), a, px, out.parts);
    add(device, a.z.n, px, 1, out);
}

void kn_cu_loss_count(kn_device *device, const uint8_t *exclude, int64_t n, kn_cu_sums out)
{
    KN_LAUNCH(device, count_kept, blocks_of(1, n), BLOCK, exclude, n, out.parts);
    kn_cu_sums to = out;
    to.sums = out.count;
    add(device, 1, n, 1, to);
}

void kn_cu_softmax(kn_device *device, kn_tensor z, float *prob)
{
    KN_LAUNCH(device, softmax, kn_grid((int64_t)z.n * z.h * z.w, BLOCK, 1 << 20), BLOCK, z, prob);
}

void kn_cu_argmax(kn_device *device, kn_tensor z, uint8_t *y)
{
    KN_LAUNCH(device, argmax, kn_grid((int64_t)z.n * z.h * z.w, BLOCK, 1 << 20), BLOCK, z, y);
}

void kn_cu_clear(kn_device *device, kn_tensor dz)
{
    KN_LAUNCH(device, clear, kn_grid((int64_t)dz.n * dz.h * dz.w * dz.c, BLOCK, 1 << 20), BLOCK,
              dz);
}

template <class P>
static void start_compare(kn_device *device, const void *args, int n_images, int64_t image_px,
                          int n_sums, int settles, kn_cu_sums out)
{
    typename P::args a = *(const typename P::args *)args;
    tensors t = {};
    pack(a, &t);
    numbers by = {out.count, out.kept};
    KN_LAUNCH(device, (compare<P>), blocks_of(n_images, image_px), BLOCK, a, t, image_px, n_sums,
              settles, by, out.parts);
    add(device, n_images, image_px, n_sums, out);
}

/* In the order of kn_compare_ops. */
static void (*const compares[])(kn_device *, const void *, int, int64_t, int, int, kn_cu_sums) = {
    start_compare<kl_pass>,
    start_compare<prob_add_pass>,
    start_compare<uncertainty_pass>,
    start_compare<urpc_sums_pass>,
    start_compare<urpc_grad_pass>,
    start_compare<cosine_pass>,
    start_compare<attention_sums_pass>,
    start_compare<attention_grad_pass>,
    start_compare<dcnet_pass>,
    start_compare<score_pass>,
    start_compare<rank_pass>,
    start_compare<sdcl_sums_pass>,
    start_compare<sdcl_grad_pass>,
};

void kn_cu_loss_compare(kn_device *device, int which, const void *args, int n_images,
                        int64_t image_px, int n_sums, int settle, kn_cu_sums out)
{
    compares[which](device, args, n_images, image_px, n_sums, settle, out);
}

void kn_cu_sdcl_labels(kn_device *device, const uint8_t *known, const uint8_t *exclude, int64_t n,
                       uint8_t *label, uint8_t *pseudo)
{
    KN_LAUNCH(device, sdcl_labels, kn_grid(n, BLOCK, 1 << 20), BLOCK, known, exclude, n, label,
              pseudo);
}
