/* Synthetic slides: known bytes, independence of threads, blocks and seeds, the promises on tumour
 * and annotations, files that OpenSlide opens, DigestPath's layout, stopping and going on. */
#include "base/file.h"
#include "tests/wsi/helpers.h"
#include "wsi/cohort/cohort.h"
#include "wsi/annot/mask.h"
#include "wsi/slide/slide.h"
#include "wsi/synth/site_priv.h"
#include "wsi/synth/synth.h"
#include "wsi/synth/synth_priv.h"

#include <math.h>
#include <openslide.h>

#include <stdlib.h>

static void remove_tree(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_tree(child);
    }
    if (dir)
        g_dir_close(dir);
    g_remove(path);
}

/* ---- rendering ---- */

typedef struct {
    int w, h;
    uint8_t *rgb, *truth, *annotation;
} picture;

static picture render(const synth_slide *slide, int64_t x0, int64_t y0, int w, int h, int block)
{
    picture p = {w, h, g_malloc((gsize)(w * h * 3)), g_malloc((gsize)(w * h)),
                 g_malloc((gsize)(w * h))};
    synth_scratch *scratch = wsi_synth_scratch_new(slide->mpp);
    for (int y = 0; y < h; y += block)
        for (int x = 0; x < w; x += block) {
            size_t at = (size_t)(y * w + x);
            wsi_synth_render(slide, scratch, x0 + x, y0 + y, MIN(block, w - x), MIN(block, h - y),
                             p.rgb + 3 * at, (size_t)(3 * w), p.truth + at, p.annotation + at,
                             (size_t)w);
        }
    wsi_synth_scratch_free(scratch);
    return p;
}

static void picture_clear(picture *p)
{
    g_free(p->rgb);
    g_free(p->truth);
    g_free(p->annotation);
}

static synth_slide *new_slide(uint64_t seed, uint32_t index, int px, double mpp, double noise,
                              bool tumour)
{
    synth_slide *slide = g_new(synth_slide, 1);
    wsi_synth_slide_init(slide, seed, index, px, px, mpp, noise, tumour);
    return slide;
}

/* The pixels before JPEG, the truth and the annotation of three slides, as one hash each, noted
 * when WSI_SYNTH_VERSION was 1. They are the same on every machine; a change of the generator that
 * changes them must raise the version. */
static void test_known(void)
{
    static const struct {
        uint64_t seed;
        uint32_t index;
        double mpp;
        const char *sha256;
    } known[] = {
        {1, 0, 0.5, "ec74d99ca5f7109a90224598b5859ef05028ed38443965ec724f381339d309ca"},
        {7, 3, 0.475, "be119a6f4e9091a2e562c70652ac704ad175acc812d8947b8779f4abcc5dbea5"},
        {123456789012345, 9, 1.0,
         "c24c2d55546d48bd7e4023ff817a5a190f364b09df7e6986f0cbd22f1aaa937b"},
    };
    g_assert_cmpint(WSI_SYNTH_VERSION, ==, 1);
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autofree synth_slide *slide =
            new_slide(known[i].seed, known[i].index, 700, known[i].mpp, 1, true);
        picture p = render(slide, 0, 0, 700, 700, SYNTH_BLOCK);
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
        g_checksum_update(sum, p.rgb, 700 * 700 * 3);
        g_checksum_update(sum, p.truth, 700 * 700);
        g_checksum_update(sum, p.annotation, 700 * 700);
        g_assert_cmpstr(g_checksum_get_string(sum), ==, known[i].sha256);
        picture_clear(&p);
    }
}

/* A rectangle is the same whatever rectangle it is cut from. */
static void test_blocks(void)
{
    g_autofree synth_slide *slide = new_slide(5, 1, 1000, 0.5, 1, true);
    picture whole = render(slide, 100, 60, 600, 500, SYNTH_BLOCK);
    picture part = render(slide, 100 + 217, 60 + 133, 301, 203, 97);
    for (int y = 0; y < part.h; y++)
        for (int x = 0; x < part.w; x++) {
            size_t a = (size_t)((y + 133) * whole.w + x + 217), b = (size_t)(y * part.w + x);
            g_assert_cmpmem(whole.rgb + 3 * a, 3, part.rgb + 3 * b, 3);
            g_assert_cmpint(whole.truth[a], ==, part.truth[b]);
            g_assert_cmpint(whole.annotation[a], ==, part.annotation[b]);
        }
    picture_clear(&whole);
    picture_clear(&part);
}

/* A slide of a site is as seamless; its quality is known before it is made. */
static void test_site_blocks(void)
{
    for (int site = 0; site < 4; site++) {
        g_autofree synth_slide *slide = new_slide(5, 1, 1000, 0.5, 1, true);
        wsi_synth_site_apply(slide, 5, site);
        picture whole = render(slide, 100, 60, 300, 300, SYNTH_BLOCK);
        picture part = render(slide, 100 + 57, 60 + 33, 201, 203, 97);
        for (int y = 0; y < part.h; y++) {
            size_t a = (size_t)((y + 33) * whole.w + 57), b = (size_t)(y * part.w);
            g_assert_cmpmem(whole.rgb + 3 * a, 3 * (size_t)part.w, part.rgb + 3 * b,
                            3 * (size_t)part.w);
        }
        picture_clear(&whole);
        picture_clear(&part);
        int quality = wsi_synth_site_quality(5, site);
        g_assert_true(quality >= 40 && quality < 95);
    }
}

/* Sites move a slide by what they are, whichever slide it is, and each otherwise. */
static void test_sites(void)
{
    float moved[2][3] = {{0}};
    for (uint32_t index = 0; index < 6; index++)
        for (int site = 0; site < 2; site++) {
            g_autofree synth_slide *own = new_slide(9, index, 64, 0.5, 0, false);
            g_autofree synth_slide *slide = new_slide(9, index, 64, 0.5, 0, false);
            wsi_synth_site_apply(slide, 9, site);
            const float by[3] = {slide->haematoxylin[0] - own->haematoxylin[0],
                                 slide->gain_e / own->gain_e, slide->nest_pitch / own->nest_pitch};
            for (int k = 0; k < 3; k++) {
                if (index > 0)
                    g_assert_cmpfloat_with_epsilon(by[k], moved[site][k], 1e-5F);
                moved[site][k] = by[k];
            }
        }
    for (int k = 0; k < 3; k++)
        g_assert_cmpfloat(fabsf(moved[0][k] - moved[1][k]), >, 0.01F);
}

static void test_seeds(void)
{
    g_autoptr(GHashTable) keys = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (uint64_t seed = 0; seed < 12; seed++)
        for (uint32_t index = 0; index < 12; index++) {
            g_autofree synth_slide *slide = new_slide(seed, index, 64, 0.5, 0, false);
            gint64 *key = g_new(gint64, 1);
            *key = (gint64)slide->key;
            g_assert_true(g_hash_table_add(keys, key));
        }
}

/* Shares of tumour in tissue and of tissue in the slide, from the slow fields alone. */
static void shares(const synth_slide *slide, double *tumour, double *tissue, double *overlap)
{
    enum { N = 120 };
    int n_tissue = 0, n_tumour = 0, n_annotated = 0, n_both = 0;
    for (int i = 0; i < N * N; i++) {
        synth_macro m = wsi_synth_macro_at(slide, ((float)(i % N) + 0.3f) * slide->w / N,
                                           ((float)(i / N) + 0.6f) * slide->h / N);
        bool in = m.tissue > 0, t = in && m.tumour > 0, a = in && m.annotation > 0;
        n_tissue += in;
        n_tumour += t;
        n_annotated += a;
        n_both += t && a;
    }
    *tumour = (double)n_tumour / MAX(n_tissue, 1);
    *tissue = (double)n_tissue / (N * N);
    *overlap = n_tumour + n_annotated ? 2.0 * n_both / (n_tumour + n_annotated) : 1;
}

/* 10-60 % of the tissue is tumour, on every slide and at every size. */
static void test_shares(void)
{
    double tumour, tissue, overlap;
    for (uint32_t i = 0; i < 30; i++) {
        int px = i % 3 == 0 ? 1500 : i % 3 == 1 ? 3000 : 12000;
        g_autofree synth_slide *slide = new_slide(3, i, px, 0.5, 0, true);
        shares(slide, &tumour, &tissue, &overlap);
        g_test_message("slide %u: tissue %.3f, tumour %.3f of it", i, tissue, tumour);
        g_assert_true(tumour >= 0.10 && tumour <= 0.60);
        g_assert_true(tissue >= 0.40 && tissue <= 0.90);
        g_assert_true(overlap == 1); /* no noise: the annotation is the truth */
    }
    g_autofree synth_slide *negative = new_slide(3, 0, 1500, 0.5, 0, false);
    shares(negative, &tumour, &tissue, &overlap);
    g_assert_true(tumour == 0 && tissue > 0.4);
}

/* More noise, less agreement of annotation and truth, on average; never nonsense. */
static void test_noise(void)
{
    double mean[3] = {0};
    for (uint32_t i = 0; i < 20; i++)
        for (int k = 0; k < 3; k++) {
            double tumour, tissue, overlap;
            g_autofree synth_slide *slide = new_slide(8, i, 3000, 0.5,
                                                      k == 0   ? 0.3
                                                      : k == 1 ? 1
                                                               : 3,
                                                      true);
            shares(slide, &tumour, &tissue, &overlap);
            mean[k] += overlap / 20;
        }
    g_test_message("DSC of annotation and truth: %.3f %.3f %.3f", mean[0], mean[1], mean[2]);
    g_assert_true(mean[0] < 1 && mean[0] > 0.93);
    g_assert_true(mean[1] < mean[0] && mean[1] > 0.8);
    g_assert_true(mean[2] < mean[1] && mean[2] > 0.5);
}

/* ---- cohorts on disk ---- */

static wsi_synth_options small(const char *dir)
{
    wsi_synth_options o;
    wsi_synth_options_init(&o);
    o.out_dir = dir;
    o.n_train = 2;
    o.n_val = 1;
    o.n_test = 1;
    o.n_labelled = 1;
    o.w = 1111;
    o.h = 777;
    o.noise = 1;
    o.n_threads = 1;
    return o;
}

static char *content(const char *dir, const char *name, gsize *n)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    char *data = NULL;
    g_assert_true(g_file_get_contents(path, &data, n, NULL));
    return data;
}

static void expect_same(const char *a, const char *b, const char *name)
{
    gsize n, m;
    g_autofree char *x = content(a, name, &n), *y = content(b, name, &m);
    g_assert_cmpmem(x, n, y, m);
}

static const char *const files[] = {
    "cohort.csv",          "slides/slide_01.tif", "masks/slide_01.tif", "truth/slide_01.tif",
    "slides/slide_04.tif", "masks/slide_04.tif",  "truth/slide_04.tif"};

static void test_threads(void)
{
    GError *error = NULL;
    g_autofree char *a = temp_path("one"), *b = temp_path("many");
    wsi_synth_options o = small(a);
    g_assert_true(wsi_synth_run(&o, NULL, &error));
    g_assert_no_error(error);
    o.out_dir = b;
    o.n_threads = 3;
    g_assert_true(wsi_synth_run(&o, NULL, &error));
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
        expect_same(a, b, files[i]);
    remove_tree(a);
    remove_tree(b);
}

static void check_slide(const wsi_cohort_row *row)
{
    GError *error = NULL;
    openslide_t *peer = openslide_open(row->slide);
    g_assert_nonnull(peer);
    g_assert_cmpint(openslide_get_level_count(peer), ==, 2); /* 1111, 555 */
    openslide_close(peer);
    wsi_slide *slide = wsi_slide_open(row->slide, 0, &error);
    g_assert_no_error(error);
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    g_assert_cmpfloat_with_epsilon(info->mpp, 0.5, 1e-6);
    qs_classes classes;
    qs_classes_init_binary(&classes, "tumour");
    wsi_mask *mask = wsi_mask_open(row->truth, 1111, 777, &classes, &error);
    g_assert_no_error(error);
    const wsi_mask_info *m = wsi_mask_get_info(mask);
    g_assert_cmpint(m->kind, ==, WSI_MASK_LABELS);
    g_assert_cmpint(m->factor, ==, 1);
    wsi_mask_close(mask);
    wsi_slide_close(slide);
}

static void test_cohort(void)
{
    GError *error = NULL;
    g_autofree char *dir = temp_path("cohort"), *path = g_build_filename(dir, "cohort.csv", NULL);
    wsi_synth_options o = small(dir);
    g_assert_true(wsi_synth_run(&o, NULL, &error));
    wsi_cohort *cohort = wsi_cohort_read(path, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(cohort->rows->len, ==, 4);
    static const wsi_split splits[] = {WSI_SPLIT_TRAIN, WSI_SPLIT_TRAIN, WSI_SPLIT_VAL,
                                       WSI_SPLIT_TEST};
    for (guint i = 0; i < 4; i++) {
        const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
        g_assert_cmpint(row->split, ==, splits[i]);
        g_assert_cmpint(row->labelled, ==, i != 1);
        g_assert_cmpfloat(row->mpp, ==, 0.5);
        check_slide(row);
    }
    wsi_cohort_destroy(cohort);
    remove_tree(dir);
}

/* Labelled slides are of the first half of the sites, the rest of each in turn, and a folder with
 * other sites is refused. */
static void test_site_cohort(void)
{
    GError *error = NULL;
    g_autofree char *dir = temp_path("sites"), *path = g_build_filename(dir, "cohort.csv", NULL);
    wsi_synth_options o = small(dir);
    o.w = o.h = 64;
    o.n_train = 6;
    o.n_labelled = 3;
    o.n_val = 4;
    o.n_test = 5;
    o.n_sites = 4;
    g_assert_true(wsi_synth_run(&o, NULL, &error));
    wsi_cohort *cohort = wsi_cohort_read(path, &error);
    g_assert_no_error(error);
    static const char sites[] = "121412123412341";
    for (guint i = 0; i < cohort->rows->len; i++) {
        g_autofree char *wanted = g_strdup_printf("site%c_case_%02u", sites[i], i + 1);
        g_assert_cmpstr(wsi_cohort_get(cohort, i)->case_id, ==, wanted);
    }
    g_assert_cmpuint(cohort->rows->len, ==, sizeof sites - 1);
    wsi_cohort_destroy(cohort);
    o.n_sites = 3;
    g_assert_false(wsi_synth_run(&o, NULL, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_MISMATCH, "synth.txt", "other options", NULL);
    remove_tree(dir);
}

static int n_updates;

static void stop_soon(void *user, const char *stage, int64_t done, int64_t total,
                      const char *detail)
{
    (void)user, (void)stage, (void)done, (void)total, (void)detail;
    if (++n_updates == 6) /* four bands a slide: inside the second */
        qs_stop_request();
}

/* Stopped inside the second slide: nothing half-made stays; the next run ends with the same bytes
 * and keeps what was whole. */
static void test_stop_and_go_on(void)
{
    GError *error = NULL;
    g_autofree char *a = temp_path("straight"), *b = temp_path("stopped");
    wsi_synth_options o = small(a);
    g_assert_true(wsi_synth_run(&o, NULL, &error));
    o.out_dir = b;
    n_updates = 0;
    qs_progress progress = {.update = stop_soon};
    g_assert_false(wsi_synth_run(&o, &progress, &error));
    qs_stop_clear();
    expect_error(g_steal_pointer(&error), QS_ERROR_STOPPED, NULL);
    g_autofree char *slides = g_build_filename(b, "slides", NULL);
    GDir *dir = g_dir_open(slides, 0, NULL);
    g_assert_cmpstr(g_dir_read_name(dir), ==, "slide_01.tif");
    g_assert_null(g_dir_read_name(dir));
    g_dir_close(dir);
    g_autofree char *first = g_build_filename(slides, "slide_01.tif", NULL);
    GStatBuf before, after;
    g_assert_cmpint(g_stat(first, &before), ==, 0);
    g_assert_true(wsi_synth_run(&o, NULL, &error));
    g_assert_no_error(error);
    g_assert_cmpint(g_stat(first, &after), ==, 0);
    g_assert_true(before.st_ino == after.st_ino);
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
        expect_same(a, b, files[i]);
    o.seed = 2;
    g_assert_false(wsi_synth_run(&o, NULL, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_MISMATCH, "synth.txt", "other options", NULL);
    remove_tree(a);
    remove_tree(b);
}

/* Images and masks open, sizes are those of the names, masks are the truth after thresholding at
 * 128, and the scan puts no scan on two sides. */
static void test_digestpath(void)
{
    GError *error = NULL;
    g_autofree char *dir = temp_path("digest");
    wsi_synth_options o = small(dir);
    o.format = WSI_SYNTH_DIGESTPATH;
    o.mpp = 0.475;
    o.noise = 0;
    o.n_train = 12;
    o.w = o.h = 400;
    g_assert_true(wsi_synth_run(&o, NULL, &error));
    g_assert_no_error(error);
    wsi_cohort_split_options split = {
        .val_share = 0.1, .test_share = 0.2, .labelled_share = 0.5, .seed = 1};
    wsi_cohort *cohort = wsi_cohort_scan_digestpath(dir, &split, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(cohort->rows->len, ==, 14);
    int n_negative = 0;
    qs_classes classes;
    qs_classes_init_binary(&classes, "tumour");
    for (guint i = 0; i < 14; i++) {
        const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
        wsi_slide *slide = wsi_slide_open(row->slide, row->mpp, &error);
        g_assert_no_error(error);
        const wsi_level *level = &wsi_slide_get_info(slide)->levels[0];
        g_autofree char *tail = g_strdup_printf("-%d-%d.jpg", (int)level->w, (int)level->h);
        g_assert_true(g_str_has_suffix(row->slide, tail));
        wsi_mask *mask = wsi_mask_open(row->mask, level->w, level->h, &classes, &error);
        g_assert_no_error(error);
        const wsi_mask_info *info = wsi_mask_get_info(mask);
        g_assert_cmpint(info->kind, ==, WSI_MASK_BINARY_JPEG);
        bool negative = strstr(row->slide, "tissue-train-neg") != NULL;
        n_negative += negative;
        g_assert_true(negative ? info->counts[1] == 0 : info->counts[1] > 0);
        wsi_mask_close(mask);
        wsi_slide_close(slide);
    }
    g_assert_cmpint(n_negative, ==, 2);
    wsi_cohort_destroy(cohort);
    remove_tree(dir);
}

static void expect_refused(wsi_synth_options o, const char *word)
{
    GError *error = NULL;
    g_assert_false(wsi_synth_run(&o, NULL, &error));
    expect_error(error, QS_ERROR_ARG, word, NULL);
}

static void test_refused(void)
{
    g_autofree char *dir = temp_path("refused");
    wsi_synth_options o = small(dir), bad;
    bad = o, bad.n_train = bad.n_val = bad.n_test = bad.n_labelled = 0;
    expect_refused(bad, "0 + 0 + 0");
    bad = o, bad.n_labelled = 3;
    expect_refused(bad, "3 labelled of 2");
    bad = o, bad.w = 10;
    expect_refused(bad, "10 x 777");
    bad = o, bad.mpp = 0;
    expect_refused(bad, "0 um");
    bad = o, bad.noise = -1;
    expect_refused(bad, "noise -1");
    bad = o, bad.n_sites = 100;
    expect_refused(bad, "100 sites");
    g_assert_false(g_file_test(dir, G_FILE_TEST_EXISTS));
    bad = o, bad.format = WSI_SYNTH_DIGESTPATH, bad.h = 80000; /* more than a JPEG holds */
    expect_refused(bad, "65500");
    remove_tree(dir);
    GError *error = NULL;
    bad = o, bad.out_dir = "/proc/quadslide";
    g_assert_false(wsi_synth_run(&bad, NULL, &error));
    expect_error(error, QS_ERROR_IO, "/proc/quadslide", NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *first = temp_path("");
    g_test_add_func("/synth/known", test_known);
    g_test_add_func("/synth/blocks", test_blocks);
    g_test_add_func("/synth/seeds", test_seeds);
    g_test_add_func("/synth/sites", test_sites);
    g_test_add_func("/synth/sites/blocks", test_site_blocks);
    g_test_add_func("/synth/sites/cohort", test_site_cohort);
    g_test_add_func("/synth/shares", test_shares);
    g_test_add_func("/synth/noise", test_noise);
    g_test_add_func("/synth/threads", test_threads);
    g_test_add_func("/synth/cohort", test_cohort);
    g_test_add_func("/synth/stop-and-go-on", test_stop_and_go_on);
    g_test_add_func("/synth/digestpath", test_digestpath);
    g_test_add_func("/synth/refused", test_refused);
    int status = g_test_run();
    temp_clean();
    return status;
}
