/* Augmentation: patches as bytes become views, label planes and inputs (kernels/engine/augment.h). A
 * thread takes four neighbouring pixels or elements, so that bytes are written in words where an
 * image's size allows it. Compiled without contraction to FMA: the results are the loader's. */
#include "kernels/engine/augment_pixel.h"
#include "kernels/cuda/lang.cuh"

enum { BLOCK = 256, FOUR = 4 };

/* n bytes of an image to `to`, of which `left` are left. */
template <int N>
__device__ static inline void put(uint8_t *to, const uint8_t (&bytes)[N], int64_t left, bool words)
{
    if (words)
        KN_UNROLL
    for (int i = 0; i < N / FOUR; i++)
        *((kn_vec<uint8_t, FOUR> *)to + i) = *((const kn_vec<uint8_t, FOUR> *)bytes + i);
    else for (int i = 0; i < N && i < left; i++) to[i] = bytes[i];
}

/* ---- weak -------------------------------------------------------------------------------------
 */

__device__ static inline void weak_colour(const kn_weak &w, const kn_image_tables &t,
                                          const uint8_t *from, uint8_t *to)
{
    if (!w.jitter) {
        for (int c = 0; c < 3; c++)
            to[c] = from[c];
        return;
    }
    float r = t.density[from[0]], g = t.density[from[1]], b = t.density[from[2]];
    for (int c = 0; c < 3; c++)
        to[c] = kn_byte_by_limits(t.limit, kn_affine(w.colour[c], w.offset[c], r, g, b));
}

/* grid.y: the image. */
__global__ void weak(kn_images im)
{
    int64_t px = (int64_t)im.size * im.size, image = blockIdx.y;
    const kn_weak &w = im.weak[image];
    const uint8_t *rgb = im.patch_rgb + w.item * px * 3, *label = im.patch_label + w.item * px;
    int64_t u = image - im.n_labelled;
    uint8_t *to_label = u < 0 ? im.label + image * px : im.truth + u * px;
    bool words = px % FOUR == 0;
    for (int64_t p = KN_THREAD * FOUR; p < px; p += KN_THREADS * FOUR) {
        alignas(FOUR) uint8_t colour[3 * FOUR] = {0}, of[FOUR] = {0}, out[FOUR] = {0};
        KN_UNROLL
        for (int k = 0; k < FOUR; k++) {
            if (p + k >= px)
                continue;
            int x = (int)((p + k) % im.size), y = (int)((p + k) / im.size);
            int from = w.first + x * w.step_x + y * w.step_y;
            bool padding = from % im.size >= w.valid_w || from / im.size >= w.valid_h;
            weak_colour(w, *im.tables, rgb + (int64_t)from * 3, colour + 3 * k);
            of[k] = padding || !w.has_label ? 255 : label[from];
            out[k] = padding ? 255 : 0;
        }
        put(im.rgb + (image * px + p) * 3, colour, (px - p) * 3, words);
        put(to_label + p, of, px - p, words);
        if (u >= 0)
            put(im.exclude + u * px + p, out, px - p, words);
    }
}

/* ---- strong -----------------------------------------------------------------------------------
 */

/* sums[image][part]: of the three channels. grid: (parts, images). */
__global__ void grey_sums(kn_images im)
{
    KN_SHARED(uint32_t, all, 3 * BLOCK);
    int64_t px = (int64_t)im.size * im.size, image = blockIdx.y;
    const uint8_t *rgb = im.rgb + image * px * 3;
    uint32_t sum[3] = {0, 0, 0};
    int t = (int)threadIdx.x;
    if (im.strong[image].jitter)
        for (int64_t p = KN_THREAD; p < px; p += KN_THREADS)
            for (int c = 0; c < 3; c++)
                sum[c] += rgb[3 * p + c];
    for (int c = 0; c < 3; c++)
        all[3 * t + c] = sum[c];
    for (int n = BLOCK / 2; n > 0; n /= 2) {
        __syncthreads();
        for (int c = 0; c < 3 && t < n; c++)
            all[3 * t + c] += all[3 * (t + n) + c];
    }
    if (t == 0)
        for (int c = 0; c < 3; c++)
            im.sums[(image * KN_GREY_PARTS + blockIdx.x) * 3 + c] = all[c];
}

__device__ static inline float shift_of(const kn_images &im, int64_t image)
{
    int64_t sum[3] = {0, 0, 0};
    for (int i = 0; i < KN_GREY_PARTS; i++)
        for (int c = 0; c < 3; c++)
            sum[c] += im.sums[(image * KN_GREY_PARTS + i) * 3 + c];
    double mean = kn_mean_grey(sum[0], sum[1], sum[2], (int64_t)im.size * im.size);
    return (float)(im.strong[image].shift * mean);
}

/* Photometric and stain jitter of every pixel. grid.y: the image. */
__global__ void strong_colours(kn_images im)
{
    int64_t px = (int64_t)im.size * im.size, image = blockIdx.y;
    const kn_strong &s = im.strong[image];
    const kn_image_tables &t = *im.tables;
    float shift = s.jitter ? shift_of(im, image) : 0;
    bool words = px % FOUR == 0;
    for (int64_t p = KN_THREAD * FOUR; p < px; p += KN_THREADS * FOUR) {
        alignas(FOUR) uint8_t v[3 * FOUR] = {0};
        const uint8_t *from = im.rgb + (image * px + p) * 3;
        KN_UNROLL
        for (int k = 0; k < FOUR; k++) {
            if (p + k >= px)
                continue;
            uint8_t *to = v + 3 * k, was[3] = {from[3 * k], from[3 * k + 1], from[3 * k + 2]};
            for (int c = 0; c < 3; c++)
                to[c] = s.jitter ? kn_to_byte(kn_affine(s.map[c], shift, was[0], was[1], was[2]))
                                 : was[c];
            if (!s.stain)
                continue;
            float r = t.density[to[0]], g = t.density[to[1]], b = t.density[to[2]];
            for (int c = 0; c < 3; c++)
                to[c] = kn_byte_by_limits(t.limit, kn_affine(s.colour[c], s.offset[c], r, g, b));
        }
        put(im.strong_rgb + (image * px + p) * 3, v, (px - p) * 3, words);
    }
}

__device__ static inline int clamped(int at, int size)
{
    return at < 0 ? 0 : at >= size ? size - 1 : at;
}

/* Along rows, of the images that are blurred. grid.y: the image. */
__global__ void blur_rows(kn_images im)
{
    int64_t px = (int64_t)im.size * im.size, image = blockIdx.y;
    const kn_strong &s = im.strong[image];
    const uint8_t *rgb = im.strong_rgb + image * px * 3;
    float *to = im.blurred + image * px * 3;
    for (int64_t p = s.radius > 0 ? KN_THREAD : px; p < px; p += KN_THREADS) {
        int x = (int)(p % im.size);
        const uint8_t *row = rgb + (p - x) * 3;
        float sum[3] = {0, 0, 0};
        for (int k = -s.radius; k <= s.radius; k++)
            for (int c = 0; c < 3; c++)
                sum[c] += s.weights[k + s.radius] * row[3 * clamped(x + k, im.size) + c];
        for (int c = 0; c < 3; c++)
            to[3 * p + c] = sum[c];
    }
}

/* Along columns, and noise: four bytes are one block of normal numbers. grid.y: the image. */
__global__ void blur_columns_and_noise(kn_images im)
{
    int64_t row = 3 * (int64_t)im.size, n = row * im.size, image = blockIdx.y;
    const kn_strong &s = im.strong[image];
    uint8_t *rgb = im.strong_rgb + image * n;
    const float *rows = im.blurred + image * n;
    bool any = s.radius > 0 || s.noise;
    for (int64_t i = any ? KN_THREAD * FOUR : n; i < n; i += KN_THREADS * FOUR) {
        float normal[FOUR] = {0, 0, 0, 0};
        if (s.noise)
            kn_normals4(s.noise_seed, (uint64_t)(i / FOUR), 0, normal);
        KN_UNROLL
        for (int k = 0; k < FOUR; k++) {
            if (i + k >= n)
                continue;
            int y = (int)((i + k) / row);
            int64_t at = (i + k) % row;
            float sum = 0;
            for (int d = -s.radius; d <= s.radius && s.radius > 0; d++)
                sum += s.weights[d + s.radius] * rows[clamped(y + d, im.size) * row + at];
            uint8_t v = s.radius > 0 ? kn_to_byte(sum) : rgb[i + k];
            rgb[i + k] = s.noise ? kn_to_byte((float)v + s.noise_scale * normal[k]) : v;
        }
    }
}

/* ---- inputs and planes ------------------------------------------------------------------------
 */

/* Elements of an image in groups of four that begin where a block of noise does. */
typedef struct {
    int64_t first, groups;
} kn_groups;

__device__ static inline kn_groups groups_of(int64_t image, int64_t n)
{
    kn_groups g = {image * n / FOUR, 0};
    g.groups = (image * n + n - 1) / FOUR - g.first + 1;
    return g;
}

/* dst (views,h,w,3) from the bytes of a view. grid.y: the image of dst. */
__global__ void input(kn_images im, const uint8_t *rgb, const kn_view *views, float sigma,
                      uint64_t seed, uint64_t stream, kn_tensor dst)
{
    int64_t n = (int64_t)im.size * im.size * 3, image = blockIdx.y;
    kn_view v = views[image];
    kn_groups g = groups_of(v.outer, n);
    int64_t first = (int64_t)v.outer * n;
    const uint8_t *outer = rgb + v.outer * n, *inner = rgb + v.inner * n;
    for (int64_t i = KN_THREAD; i < g.groups; i += KN_THREADS) {
        float normal[FOUR] = {0, 0, 0, 0};
        if (sigma > 0)
            kn_normals4(seed, (uint64_t)(g.first + i), stream, normal);
        KN_UNROLL
        for (int k = 0; k < FOUR; k++) {
            int64_t e = (g.first + i) * FOUR + k - first;
            if (e < 0 || e >= n)
                continue;
            int64_t p = e / 3;
            int c = (int)(e % 3), x = (int)(p % im.size), y = (int)(p / im.size);
            uint8_t byte = kn_in_box(v.box, x, y) ? inner[e] : outer[e];
            float value = kn_in_box(v.hole, x, y) ? 0 : im.tables->input[c][byte];
            if (sigma > 0)
                value += kn_input_noise(sigma, normal[k]);
            kn_store_any(dst, (image * (n / 3) + p) * dst.ldc + c, value);
        }
    }
}

/* grid.y: the image of the planes. */
__global__ void mixed_planes(kn_images im, const kn_view *views, kn_planes to)
{
    int64_t px = (int64_t)im.size * im.size, image = blockIdx.y;
    kn_view v = views[image];
    for (int64_t p = KN_THREAD; p < px; p += KN_THREADS) {
        int x = (int)(p % im.size), y = (int)(p / im.size);
        bool in = kn_in_box(v.box, x, y);
        int from = in ? v.inner : v.outer, u = from - im.n_labelled;
        int64_t at = image * px + p;
        uint8_t truth = u < 0 ? im.label[from * px + p] : im.truth[u * px + p];
        to.label[at] = u < 0 ? truth : 255;
        to.exclude[at] = u < 0 || kn_in_box(v.hole, x, y) ? 255 : im.exclude[u * px + p];
        to.truth[at] = truth;
        to.held[at] = u >= 0 && u < im.n_held ? truth : 255;
        to.outer[at] = in ? 255 : 0;
        to.inner[at] = in ? 0 : 255;
    }
}

/* both (n,h,w): 255 where neither half says anything, else 0; held (n-n_labelled,h,w): truth of the
 * held-back images. Either may be NULL. */
__global__ void whole_planes(kn_images im, uint8_t *both, uint8_t *held)
{
    int64_t px = (int64_t)im.size * im.size, n = im.n * px, n_l = im.n_labelled * px;
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS) {
        int64_t u = i - n_l;
        if (both)
            both[i] = u >= 0 ? im.exclude[u] : im.label[i] == 255 ? 255 : 0;
        if (held && u >= 0)
            held[u] = u < im.n_held * px ? im.truth[u] : 255;
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

static kn_grid_size per_four(const kn_images &im, int64_t elements)
{
    return KN_GRID(kn_grid(kn_div_up(elements, FOUR), BLOCK, 1 << 16), im.n);
}

void kn_cu_weak(kn_device *device, kn_images im)
{
    KN_LAUNCH(device, weak, per_four(im, (int64_t)im.size * im.size), BLOCK, im);
}

void kn_cu_strong(kn_device *device, kn_images im)
{
    int64_t px = (int64_t)im.size * im.size;
    KN_LAUNCH(device, grey_sums, KN_GRID(KN_GREY_PARTS, im.n), BLOCK, im);
    KN_LAUNCH(device, strong_colours, per_four(im, px), BLOCK, im);
    KN_LAUNCH(device, blur_rows, KN_GRID(kn_grid(px, BLOCK, 1 << 16), im.n), BLOCK, im);
    KN_LAUNCH(device, blur_columns_and_noise, per_four(im, 3 * px), BLOCK, im);
}

void kn_cu_input(kn_device *device, kn_images im, const uint8_t *rgb, const kn_view *views,
                 float sigma, uint64_t seed, uint64_t stream, kn_tensor dst)
{
    int64_t groups = kn_div_up((int64_t)im.size * im.size * 3, FOUR) + 1;
    KN_LAUNCH(device, input, KN_GRID(kn_grid(groups, BLOCK, 1 << 16), dst.n), BLOCK, im, rgb, views,
              sigma, seed, stream, dst);
}

void kn_cu_mixed_planes(kn_device *device, kn_images im, const kn_view *views, int n, kn_planes to)
{
    int64_t px = (int64_t)im.size * im.size;
    KN_LAUNCH(device, mixed_planes, KN_GRID(kn_grid(px, BLOCK, 1 << 16), n), BLOCK, im, views, to);
}

void kn_cu_whole_planes(kn_device *device, kn_images im, uint8_t *both, uint8_t *held)
{
    int64_t n = (int64_t)im.n * im.size * im.size;
    KN_LAUNCH(device, whole_planes, kn_grid(n, BLOCK, 1 << 20), BLOCK, im, both, held);
}
