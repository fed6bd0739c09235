/* Masks of different grids compared in strips, against counts made pixel by pixel on whole arrays.
 */
#include "infer/score/eval.h"

#include "base/error.h"
#include "base/rng.h"
#include "tests/infer/scratch.h"

#include <string.h>

/* Blobs of labels 0, 1, 2 (and 255 when asked), so that neighbours often agree. */
static uint8_t *make_label(int64_t w, int64_t h, uint64_t seed, bool ignore)
{
    uint8_t *label = g_malloc((size_t)(w * h));
    qs_rng rng;
    qs_rng_init(&rng, seed, 1);
    for (int64_t i = 0; i < w * h; i++) {
        uint32_t draw = qs_rng_below(&rng, 40);
        label[i] = draw < 3              ? (uint8_t)draw
                   : draw == 3 && ignore ? 255
                   : i % w > 0           ? label[i - 1]
                   : i >= w              ? label[i - w]
                                         : 0;
    }
    return label;
}

typedef struct {
    uint8_t *label;
    int64_t w, h;
} plane;

static uint8_t at(const plane *p, int64_t x, int64_t y, int scale)
{
    return p->label[MIN(y / scale, p->h - 1) * p->w + MIN(x / scale, p->w - 1)];
}

static void brute(const plane *pred, int pred_scale, const plane *truth, int truth_scale, int64_t w,
                  int64_t h, inf_counts *counts)
{
    inf_counts_init(counts, 3);
    for (int64_t y = 0; y < h; y++) {
        for (int64_t x = 0; x < w; x++) {
            uint8_t p = at(pred, x, y, pred_scale), t = at(truth, x, y, truth_scale);
            inf_counts_add(counts, &p, &t, 1);
        }
    }
}

static const qs_classes *three(void)
{
    static qs_classes classes;
    qs_classes_init_n(&classes, 3);
    return &classes;
}

static void test_grids(void)
{
    /* level-0 size, the two factors, the grid they must meet on */
    const struct {
        int64_t w, h;
        int fp, ft, factor;
        int64_t gw, gh;
    } cases[] = {
        {96, 60, 1, 1, 1, 96, 60},         {96, 60, 2, 1, 1, 96, 60},
        {97, 61, 2, 1, 1, 97, 61},         {97, 61, 1, 4, 1, 97, 61},
        {97, 61, 2, 3, 1, 96, 60},         {97, 61, 4, 2, 2, 48, 30},
        {40, 30, 6, 4, 2, 20, 15},         {2300, 2100, 3, 1, 1, 2300, 2100},
        {2300, 2100, 2, 1, 1, 2300, 2100},
    };
    char *dir = scratch_make();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        plane pred = {.w = cases[i].w / cases[i].fp, .h = cases[i].h / cases[i].fp};
        plane truth = {.w = cases[i].w / cases[i].ft, .h = cases[i].h / cases[i].ft};
        pred.label = make_label(pred.w, pred.h, 10 + i, false);
        truth.label = make_label(truth.w, truth.h, 20 + i, true);
        g_autofree char *pp = scratch_mask(dir, "pred.tif", pred.label, pred.w, pred.h);
        g_autofree char *tp = scratch_mask(dir, "truth.tif", truth.label, truth.w, truth.h);
        GError *error = NULL;
        inf_counts got, want;
        inf_eval_grid grid;
        inf_eval_masks(pp, tp, cases[i].w, cases[i].h, three(), &got, &grid, &error);
        g_assert_no_error(error);
        g_assert_cmpint(grid.factor, ==, cases[i].factor);
        g_assert_cmpint(grid.pred_factor, ==, cases[i].fp);
        g_assert_cmpint(grid.truth_factor, ==, cases[i].ft);
        g_assert_cmpint(grid.w, ==, cases[i].gw);
        g_assert_cmpint(grid.h, ==, cases[i].gh);
        brute(&pred, cases[i].fp / grid.factor, &truth, cases[i].ft / grid.factor, grid.w, grid.h,
              &want);
        g_assert_cmpmem(&got, sizeof got, &want, sizeof want);
        g_assert_cmpint(got.n_ignored, >, 0);
        g_free(pred.label);
        g_free(truth.label);
    }
    scratch_remove(dir);
}

static void test_grid_text(void)
{
    inf_eval_grid grid = {.w = 9, .h = 9, .factor = 2, .pred_factor = 4, .truth_factor = 2};
    g_autofree char *text = inf_eval_grid_text(&grid);
    g_assert_cmpstr(text, ==, "compared at slide size / 2: prediction (/4) ×2, truth (/2) ×1");
}

static void test_errors(void)
{
    char *dir = scratch_make();
    g_autofree uint8_t *label = make_label(60, 40, 5, false);
    g_autofree char *good = scratch_mask(dir, "good.tif", label, 60, 40);
    g_autofree char *other = scratch_mask(dir, "other.tif", label, 40, 60);
    g_autofree char *absent = g_build_filename(dir, "absent.tif", NULL);
    label[7] = 9;
    g_autofree char *odd = scratch_mask(dir, "odd.tif", label, 60, 40);
    const struct {
        const char *pred, *truth, *in_message;
    } cases[] = {{absent, good, "absent.tif"},
                 {good, absent, "absent.tif"},
                 {other, good, "other.tif"},
                 {good, odd, "odd.tif"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *error = NULL;
        inf_counts counts;
        inf_eval_grid grid;
        g_assert_false(
            inf_eval_masks(cases[i].pred, cases[i].truth, 60, 40, three(), &counts, &grid, &error));
        g_assert_nonnull(error);
        g_assert_nonnull(strstr(error->message, cases[i].in_message));
        g_error_free(error);
    }
    scratch_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/infer/eval/grids", test_grids);
    g_test_add_func("/infer/eval/grid-text", test_grid_text);
    g_test_add_func("/infer/eval/errors", test_errors);
    return g_test_run();
}
