/* Batches made on the emulated GPU beside the loader's functions: every byte of views and planes,
 * every number of inputs, over odd sizes, all eight geometries, padding, each operation of the
 * strong view alone and all together, mixing, noise, f32 and bf16, three orders of threads; what
 * the kernels do not write keeps its mark. */
#include "base/error.h"
#include "kernels/engine/augment_pixel.h"
#include "kernels/engine/bf16.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/launch.h"
#include "kernels/engine/engine_priv.h"
#include "model/model.h"
#include "train/data/mix.h"
#include "train/data/noise.h"
#include "train/data/strong.h"

#include <math.h>
#include <string.h>

enum { N = 8, N_L = 3, N_U = N - N_L, ITEMS = 11, VIEWS = 6, MARK = 0xA5, MARGIN = 64 };

static const int sizes[] = {1, 2, 3, 7, 16, 17, 33, 48};

/* A block of the device's and its copy here; the margin behind it must stay as it was marked. */
typedef struct {
    kn_block block;
    uint8_t *host;
    size_t bytes;
} mirror;

typedef struct {
    kn_engine *engine;
    int size;
    size_t px;
    uint8_t *rgb, *label; /* ITEMS patches */
    tr_item items[ITEMS];
    uint32_t of[N]; /* patch of each image */
    tr_augment augment[N];
    tr_strong strength[N];
    mirror patches, weak, strong, tables, views; /* sent */
    mirror out_rgb, out_strong, label_out, truth, exclude, blurred, sums;
    kn_images images;
} rig;

static void mirror_open(rig *r, mirror *m, size_t bytes)
{
    GError *error = NULL;
    m->bytes = bytes;
    m->host = g_malloc(bytes + MARGIN);
    memset(m->host, MARK, bytes + MARGIN);
    kn_engine_alloc(r->engine, &m->block, bytes + MARGIN, "a test", &error);
    g_assert_no_error(error);
    kn_engine_upload(r->engine, m->block.data, m->host, bytes + MARGIN);
}

static void mirror_send(const rig *r, const mirror *m)
{
    kn_engine_upload(r->engine, m->block.data, m->host, m->bytes);
}

static const uint8_t *mirror_fetch(const rig *r, mirror *m)
{
    kn_engine_download(r->engine, m->host, m->block.data, m->bytes + MARGIN);
    for (int i = 0; i < MARGIN; i++)
        g_assert_cmpint(m->host[m->bytes + (size_t)i], ==, MARK);
    return m->host;
}

static void mirror_close(const rig *r, mirror *m)
{
    kn_engine_free(r->engine, &m->block);
    g_free(m->host);
}

static void spec_of(model_spec *spec)
{
    *spec = (model_spec){.mean = {.7, .5, .6}, .std = {.2, .25, .3}};
}

static void fill_tables(kn_image_tables *t)
{
    model_spec spec;
    spec_of(&spec);
    tr_augment_densities(t->density);
    tr_augment_limits(t->limit);
    for (int v = 0; v < 256; v++) {
        uint8_t pixel[3] = {(uint8_t)v, (uint8_t)v, (uint8_t)v};
        float of[3];
        model_normalise(&spec, pixel, 1, of);
        for (int c = 0; c < 3; c++)
            t->input[c][v] = of[c];
    }
}

/* Image j is turned in way j of eight; items have padding, no label, or neither. */
static void draw(rig *r, const tr_strong_options *strong, uint64_t seed)
{
    qs_rng rng;
    qs_rng_init(&rng, seed, (uint64_t)r->size);
    for (size_t i = 0; i < ITEMS * r->px * 3; i++)
        r->rgb[i] = (uint8_t)qs_rng_below(&rng, 256);
    for (size_t i = 0; i < ITEMS * r->px; i++)
        r->label[i] = (uint8_t)(qs_rng_below(&rng, 5) == 0 ? 255 : qs_rng_below(&rng, 3));
    for (int i = 0; i < ITEMS; i++)
        r->items[i] = (tr_item){.has_label = i % 4 != 3,
                                .valid_w = i % 3 == 1 ? (r->size + 1) / 2 : 0,
                                .valid_h = i % 3 ? (2 * r->size + 2) / 3 : 0};
    kn_weak *weak = (kn_weak *)(void *)r->weak.host;
    kn_strong *packed = (kn_strong *)(void *)r->strong.host;
    for (int j = 0; j < N; j++) {
        r->of[j] = (uint32_t)((j * 7 + 3) % ITEMS);
        const tr_item *item = &r->items[r->of[j]];
        tr_augment_draw(&r->augment[j], &rng, j % 3 == 2 ? 0 : 0.4, j % 3 == 2 ? 0 : 0.5);
        r->augment[j].flip_x = j & 1;
        r->augment[j].flip_y = false;
        r->augment[j].quarter_turns = j / 2;
        tr_strong_draw(&r->strength[j], &rng, strong);
        weak[j] = (kn_weak){.item = r->of[j],
                            .valid_w = item->valid_w > 0 ? item->valid_w : r->size,
                            .valid_h = item->valid_h > 0 ? item->valid_h : r->size,
                            .has_label = item->has_label};
        tr_augment_weak(&r->augment[j], r->size, &weak[j]);
        tr_strong_pack(&r->strength[j], &packed[j]);
    }
}

static void rig_open(rig *r, int size, const tr_strong_options *strong, uint64_t seed)
{
    GError *error = NULL;
    const kn_engine_options eo = {.backend = "cuda", .n_threads = 1};
    size_t px = (size_t)size * (size_t)size;
    *r = (rig){.engine = kn_engine_create(&eo, &error), .size = size, .px = px};
    g_assert_no_error(error);
    mirror_open(r, &r->patches, ITEMS * px * 4);
    mirror_open(r, &r->weak, N * sizeof(kn_weak));
    mirror_open(r, &r->strong, N * sizeof(kn_strong));
    mirror_open(r, &r->tables, sizeof(kn_image_tables));
    mirror_open(r, &r->views, VIEWS * sizeof(kn_view));
    mirror_open(r, &r->out_rgb, N * px * 3);
    mirror_open(r, &r->out_strong, N * px * 3);
    mirror_open(r, &r->label_out, N_L * px);
    mirror_open(r, &r->truth, N_U * px);
    mirror_open(r, &r->exclude, N_U * px);
    mirror_open(r, &r->blurred, N * px * 3 * sizeof(float));
    mirror_open(r, &r->sums, (size_t)N * KN_GREY_PARTS * 3 * sizeof(uint32_t));
    r->rgb = r->patches.host;
    r->label = r->rgb + ITEMS * px * 3;
    draw(r, strong, seed);
    fill_tables((kn_image_tables *)(void *)r->tables.host);
    mirror_send(r, &r->patches);
    mirror_send(r, &r->weak);
    mirror_send(r, &r->strong);
    mirror_send(r, &r->tables);
    const uint8_t *patches = r->patches.block.data;
    r->images = (kn_images){.n = N,
                            .n_labelled = N_L,
                            .n_held = 2,
                            .size = size,
                            .patch_rgb = patches,
                            .patch_label = patches + ITEMS * px * 3,
                            .weak = r->weak.block.data,
                            .strong = r->strong.block.data,
                            .tables = r->tables.block.data,
                            .rgb = r->out_rgb.block.data,
                            .strong_rgb = r->out_strong.block.data,
                            .label = r->label_out.block.data,
                            .truth = r->truth.block.data,
                            .exclude = r->exclude.block.data,
                            .blurred = r->blurred.block.data,
                            .sums = r->sums.block.data};
    kn_engine_ops(r->engine)->images_weak(r->engine, &r->images);
    kn_engine_ops(r->engine)->images_strong(r->engine, &r->images);
}

static void rig_close(rig *r)
{
    mirror *all[] = {&r->patches, &r->weak,    &r->strong,     &r->tables,
                     &r->views,   &r->out_rgb, &r->out_strong, &r->label_out,
                     &r->truth,   &r->exclude, &r->blurred,    &r->sums};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        mirror_close(r, all[i]);
    kn_engine_destroy(r->engine);
}

/* As train/data/loader.c has it. */
static void weak_by_host(const rig *r, int j, uint8_t *rgb, uint8_t *label, uint8_t *exclude)
{
    const tr_item *item = &r->items[r->of[j]];
    g_autofree uint8_t *of = g_malloc(r->px), *out = g_malloc0(r->px);
    memcpy(of, r->label + r->of[j] * r->px, r->px);
    if (!item->has_label)
        memset(of, 255, r->px);
    for (int y = 0; y < r->size; y++)
        for (int x = 0; x < r->size; x++)
            if ((item->valid_w > 0 && x >= item->valid_w) ||
                (item->valid_h > 0 && y >= item->valid_h))
                of[y * r->size + x] = out[y * r->size + x] = 255;
    tr_augment_geometry(&r->augment[j], r->rgb + r->of[j] * r->px * 3, r->size, 3, rgb);
    tr_augment_colour(&r->augment[j], rgb, (int64_t)r->px);
    tr_augment_geometry(&r->augment[j], of, r->size, 1, label);
    tr_augment_geometry(&r->augment[j], out, r->size, 1, exclude);
}

static void check_weak(rig *r)
{
    size_t px = r->px;
    g_autofree uint8_t *rgb = g_malloc(px * 3), *label = g_malloc(px), *exclude = g_malloc(px);
    const uint8_t *out = mirror_fetch(r, &r->out_rgb), *labels = mirror_fetch(r, &r->label_out);
    const uint8_t *truth = mirror_fetch(r, &r->truth), *excluded = mirror_fetch(r, &r->exclude);
    for (int j = 0; j < N; j++) {
        size_t u = (size_t)(j - N_L) * px;
        weak_by_host(r, j, rgb, label, exclude);
        g_assert_cmpmem(out + (size_t)j * px * 3, px * 3, rgb, px * 3);
        g_assert_cmpmem(j < N_L ? labels + (size_t)j * px : truth + u, px, label, px);
        if (j >= N_L)
            g_assert_cmpmem(excluded + u, px, exclude, px);
    }
}

/* From the weak views that are there already. */
static void check_strong(rig *r, bool changes)
{
    size_t bytes = r->px * 3;
    g_autofree uint8_t *rgb = g_malloc(bytes);
    g_autofree float *scratch = g_new(float, bytes);
    const uint8_t *weak = mirror_fetch(r, &r->out_rgb), *out = mirror_fetch(r, &r->out_strong);
    bool changed = false;
    for (int j = 0; j < N; j++) {
        memcpy(rgb, weak + (size_t)j * bytes, bytes);
        tr_strong_apply(&r->strength[j], rgb, r->size, scratch);
        g_assert_cmpmem(out + (size_t)j * bytes, bytes, rgb, bytes);
        changed = changed || memcmp(weak + (size_t)j * bytes, rgb, bytes) != 0;
    }
    g_assert_true(changed == changes || r->size < 7);
}

static const tr_strong_options all_of = {.jitter_p = 0.7,
                                         .brightness = 0.4,
                                         .contrast = 0.6,
                                         .saturation = 0.7,
                                         .hue = 0.3,
                                         .stain_p = 0.6,
                                         .stain = 0.4,
                                         .blur_p = 0.6,
                                         .blur_max = 5,
                                         .noise_p = 0.6,
                                         .noise_max = 0.3};

static void test_views(void)
{
    for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++)
        for (int order = 0; order < 3; order++) {
            rig r;
            kn_emu_set_order(order, 4);
            rig_open(&r, sizes[s], &all_of, 11 + s);
            check_weak(&r);
            check_strong(&r, true);
            rig_close(&r);
        }
    kn_emu_set_order(0, 0);
}

/* Each operation alone, and none. */
static void test_each(void)
{
    for (int which = 0; which < 5; which++) {
        tr_strong_options one = all_of;
        one.jitter_p = which == 0;
        one.stain_p = which == 1;
        one.blur_p = which == 2;
        one.noise_p = which == 3;
        for (int size = 16; size <= 17; size++) {
            rig r;
            rig_open(&r, size, &one, 21);
            check_strong(&r, which < 4);
            rig_close(&r);
        }
    }
}

/* The byte of a density from limits is the one from expf: at every limit, a few floats around it,
 * and anywhere. */
static void test_limits(void)
{
    float limit[256];
    qs_rng rng;
    tr_augment_limits(limit);
    qs_rng_init(&rng, 1, 2);
    for (int k = 0; k < 255; k++) {
        float at = limit[k];
        g_assert_true(k == 0 || at < limit[k - 1]);
        for (int i = 0; i < 400; i++)
            at = nextafterf(at, -INFINITY);
        for (int i = 0; i < 800; i++, at = nextafterf(at, INFINITY))
            g_assert_cmpint(kn_byte_by_limits(limit, at), ==, kn_byte_of_density(at));
        g_assert_cmpint(kn_byte_of_density(limit[k]), ==, k);
    }
    for (int i = 0; i < 2000000; i++) {
        float at = (float)qs_rng_range(&rng, -3, 12);
        g_assert_cmpint(kn_byte_by_limits(limit, at), ==, kn_byte_of_density(at));
    }
}

static const kn_view mixed_of[VIEWS] = {
    {0, 0, {0}, {0}},          {3, 4, {1, 0, 3, 2}, {0}}, {7, 3, {0, 1, 9, 7}, {2, 2, 5, 4}},
    {1, 6, {2, 2, 4, 5}, {0}}, {5, 5, {0}, {0, 0, 4, 4}}, {6, 2, {0, 0, 100, 100}, {0}},
};

static void check_input(rig *r, const uint8_t *bytes, double sigma, kn_dtype dtype)
{
    size_t n = r->px * 3, element = dtype == KN_BF16 ? 2 : 4;
    model_spec spec;
    mirror out;
    tr_image images[VIEWS];
    g_autofree float *normal = g_new(float, N *n), *want = g_new(float, VIEWS *n);
    kn_tensor dst = {.dtype = dtype, .n = VIEWS, .h = r->size, .w = r->size, .c = 3, .ldc = 3};
    kn_tensor host = dst;
    spec_of(&spec);
    model_normalise(&spec, bytes, (int64_t)(N * r->px), normal);
    for (int i = 0; i < VIEWS; i++)
        images[i] = (tr_image){normal + (size_t)mixed_of[i].outer * n,
                               normal + (size_t)mixed_of[i].inner * n, mixed_of[i].box,
                               mixed_of[i].hole, (uint64_t)mixed_of[i].outer};
    host.dtype = KN_F32;
    host.data = want;
    tr_input_fill(&host, images, sigma, 31, 5);
    mirror_open(r, &out, VIEWS * n * element);
    dst.data = out.block.data;
    kn_engine_ops(r->engine)->images_input(
        r->engine, &r->images, bytes == r->out_strong.host ? r->images.strong_rgb : r->images.rgb,
        r->views.block.data, sigma, 31, 5, &dst);
    const uint8_t *got = mirror_fetch(r, &out);
    for (size_t i = 0; i < VIEWS * n; i++) {
        kn_bf16 rounded = kn_bf16_from_f32(want[i]);
        if (dtype == KN_BF16)
            g_assert_cmpmem(got + 2 * i, 2, &rounded, 2);
        else
            g_assert_cmpmem(got + 4 * i, 4, &want[i], 4);
    }
    mirror_close(r, &out);
}

static void check_planes(rig *r)
{
    size_t n = VIEWS * r->px;
    mirror there[6];
    uint8_t *host[6];
    g_autofree uint8_t *held = g_malloc(N_U * r->px);
    const uint8_t *truth = mirror_fetch(r, &r->truth);
    memset(held, 255, N_U * r->px);
    memcpy(held, truth, 2 * r->px);
    for (int i = 0; i < 6; i++) {
        mirror_open(r, &there[i], n);
        host[i] = g_malloc0(n);
    }
    kn_planes to = {there[0].block.data, there[1].block.data, there[2].block.data,
                    there[3].block.data, there[4].block.data, there[5].block.data};
    kn_planes want = {host[0], host[1], host[2], host[3], host[4], host[5]};
    tr_batch batch = {.n = N,
                      .n_labelled = N_L,
                      .patch_px = r->size,
                      .label = mirror_fetch(r, &r->label_out),
                      .truth = truth,
                      .exclude = mirror_fetch(r, &r->exclude)};
    kn_engine_ops(r->engine)->images_mixed(r->engine, &r->images, r->views.block.data, VIEWS, &to);
    for (int i = 0; i < VIEWS; i++)
        tr_planes_fill(&want, &batch, held, &mixed_of[i], i);
    for (int i = 0; i < 6; i++) {
        g_assert_cmpmem(mirror_fetch(r, &there[i]), n, host[i], n);
        mirror_close(r, &there[i]);
        g_free(host[i]);
    }
}

static void check_whole(rig *r)
{
    mirror both, held;
    mirror_open(r, &both, N * r->px);
    mirror_open(r, &held, N_U * r->px);
    kn_engine_ops(r->engine)->images_whole(r->engine, &r->images, both.block.data, held.block.data);
    const uint8_t *b = mirror_fetch(r, &both), *h = mirror_fetch(r, &held);
    for (size_t i = 0; i < N * r->px; i++) {
        size_t u = i - N_L * r->px;
        if (i < N_L * r->px) {
            g_assert_cmpint(b[i], ==, r->label_out.host[i] == 255 ? 255 : 0);
            continue;
        }
        g_assert_cmpint(b[i], ==, r->exclude.host[u]);
        g_assert_cmpint(h[u], ==, u < 2 * r->px ? r->truth.host[u] : 255);
    }
    mirror_close(r, &both);
    mirror_close(r, &held);
}

static void test_mixed(void)
{
    for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++) {
        rig r;
        kn_emu_set_order((int)(s % 3), 7);
        rig_open(&r, sizes[s], &all_of, 3);
        memcpy(r.views.host, mixed_of, sizeof mixed_of);
        mirror_send(&r, &r.views);
        mirror_fetch(&r, &r.out_rgb);
        mirror_fetch(&r, &r.out_strong);
        check_input(&r, r.out_rgb.host, 0, KN_F32);
        check_input(&r, r.out_strong.host, 0, KN_BF16);
        check_input(&r, r.out_strong.host, 0.1, KN_F32);
        check_input(&r, r.out_rgb.host, 0.1, KN_BF16);
        check_planes(&r);
        check_whole(&r);
        rig_close(&r);
    }
    kn_emu_set_order(0, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    kn_cuda_register();
    g_test_add_func("/cuda-augment/limits", test_limits);
    g_test_add_func("/cuda-augment/views", test_views);
    g_test_add_func("/cuda-augment/each", test_each);
    g_test_add_func("/cuda-augment/mixed", test_mixed);
    return g_test_run();
}
