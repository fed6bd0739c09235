/* The grid and the tiler, with a sink in memory: order, equality with OpenSlide, padding, rules,
 * labels, resume, stop, damage, a failing sink. */
#include "tests/wsi/helpers.h"
#include "tests/wsi/make_tiff.h"
#include "wsi/tile/tile.h"

#include <openslide.h>

#include <math.h>

/* ---- a sink that keeps everything ---- */
typedef struct {
    wsi_cell cell;
    uint8_t *rgb, *label;
    char *damage;
} kept_cell;

typedef struct {
    int patch;
    GArray *cells;
    int64_t stop_after, fail_after; /* cells; 0: never */
    gint n_work;                    /* encoded results alive */
} memory_sink;

typedef struct {
    uint8_t *rgb, *label;
} work_item;

static bool sink_encode(void *user, const uint8_t *rgb, const uint8_t *label, void **work,
                        GError **error)
{
    (void)error;
    memory_sink *sink = user;
    size_t n = (size_t)sink->patch * (size_t)sink->patch;
    work_item *item = g_new0(work_item, 1);
    item->rgb = g_memdup2(rgb, n * 3);
    item->label = label ? g_memdup2(label, n) : NULL;
    *work = item;
    g_atomic_int_inc(&sink->n_work);
    return true;
}

static bool sink_add(void *user, const wsi_cell *cell, GError **error)
{
    memory_sink *sink = user;
    if (sink->fail_after && (int64_t)sink->cells->len == sink->fail_after) {
        g_set_error_literal(error, QS_ERROR, QS_ERROR_IO, "no space left");
        return false;
    }
    kept_cell kept = {.cell = *cell};
    if (cell->work) {
        work_item *item = cell->work;
        kept.rgb = g_steal_pointer(&item->rgb);
        kept.label = g_steal_pointer(&item->label);
    }
    kept.damage = cell->damage ? g_strdup(cell->damage->message) : NULL;
    g_array_append_val(sink->cells, kept);
    if (sink->stop_after && (int64_t)sink->cells->len == sink->stop_after)
        qs_stop_request();
    return true;
}

static void sink_free(void *user, void *work)
{
    memory_sink *sink = user;
    work_item *item = work;
    g_free(item->rgb);
    g_free(item->label);
    g_free(item);
    g_atomic_int_add(&sink->n_work, -1);
}

static void clear_cell(gpointer data)
{
    kept_cell *kept = data;
    g_free(kept->rgb);
    g_free(kept->label);
    g_free(kept->damage);
}

static void sink_init(memory_sink *sink, int patch)
{
    *sink = (memory_sink){.patch = patch, .cells = g_array_new(FALSE, TRUE, sizeof(kept_cell))};
    g_array_set_clear_func(sink->cells, clear_cell);
}

static void sink_clear(memory_sink *sink)
{
    g_assert_cmpint(sink->n_work, ==, 0); /* nothing leaks, whatever ended the run */
    g_array_unref(sink->cells);
}

static kept_cell *cell_at(const memory_sink *sink, guint i)
{
    return &g_array_index(sink->cells, kept_cell, i);
}

/* ---- setting ---- */
typedef struct {
    char *path;
    wsi_slide *slide;
    wsi_view view;
    wsi_tile_options options;
} setting;

static void setting_open(setting *s, const char *path, double mpp)
{
    GError *error = NULL;
    s->path = g_strdup(path);
    s->slide = wsi_slide_open(path, 0, &error);
    g_assert_no_error(error);
    g_assert_true(wsi_view_init(&s->view, s->slide, mpp <= 0, mpp, &error));
    wsi_tile_options_init(&s->options);
    s->options.no_tissue = true;
    s->options.n_threads = 3;
}

static void setting_make(setting *s, const char *name, int w, int h, make_pixel pixel, double mpp)
{
    g_autofree char *path = temp_path(name);
    make_tiff_options o = {.w = w, .h = h, .n_levels = 2, .mpp = 0.5, .pixel = pixel};
    make_tiff(path, &o);
    setting_open(s, path, mpp);
}

static void setting_close(setting *s)
{
    wsi_slide_close(s->slide);
    g_free(s->path);
}

static bool run(setting *s, const wsi_tissue *tissue, wsi_mask *mask, int64_t first,
                memory_sink *sink, wsi_tile_report *report, GError **error)
{
    wsi_sink door = {.user = sink, .encode = sink_encode, .add = sink_add, .free_work = sink_free};
    s->options.no_tissue = tissue == NULL;
    return wsi_tile_run(&s->view, tissue, mask, &s->options, first, &door, NULL, report, error);
}

/* ---- grid ---- */
static void test_grid(void)
{
    static const struct {
        int64_t side;
        int patch, stride;
        int64_t n, last;
    } cases[] = {{256, 256, 256, 1, 0},        {257, 256, 256, 2, 1}, {512, 256, 256, 2, 256},
                 {513, 256, 256, 3, 257},      {100, 256, 256, 1, 0}, {1000, 256, 192, 5, 744},
                 {1024, 256, 128, 7, 768},     {8, 8, 1, 1, 0},       {10, 8, 1, 3, 2},
                 {70000, 256, 256, 274, 69744}};
    GError *error = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        wsi_view view = {.w = cases[i].side, .h = 40};
        wsi_grid grid;
        int64_t x, y;
        int valid_w, valid_h;
        g_assert_true(wsi_grid_init(&grid, &view, cases[i].patch, cases[i].stride, &error));
        g_assert_cmpint(grid.n_x, ==, cases[i].n);
        wsi_grid_cell(&grid, &view, cases[i].patch, cases[i].stride, grid.n_x - 1, &x, &y, &valid_w,
                      &valid_h);
        g_assert_cmpint(x, ==, cases[i].last);
        g_assert_cmpint(valid_w, ==, MIN(cases[i].patch, cases[i].side));
        g_assert_cmpint(valid_h, ==, MIN(cases[i].patch, 40));
    }
    wsi_view huge = {.w = (int64_t)1 << 30, .h = (int64_t)1 << 30}; /* 2^60 pixels: no overflow */
    wsi_grid grid;
    g_assert_true(wsi_grid_init(&grid, &huge, 8, 1, &error));
    g_assert_cmpint(grid.n_cells, ==, grid.n_x * grid.n_y);
    g_assert_cmpint(grid.n_cells, >, (int64_t)1 << 59);
    g_assert_false(wsi_grid_init(&grid, &huge, 256, 300, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "256", "300", NULL);
    g_assert_false(wsi_grid_init(&grid, &huge, 0, 1, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "patch of 0", NULL);
}

/* ---- what is delivered ---- */
/* Every cell, in order, with OpenSlide's own pixels of its coordinates. */
static void check_against_openslide(setting *s)
{
    memory_sink sink;
    sink_init(&sink, s->options.patch_px);
    wsi_tile_report report;
    GError *error = NULL;
    g_assert_true(run(s, NULL, NULL, 0, &sink, &report, &error));
    g_assert_no_error(error);
    wsi_grid grid;
    g_assert_true(
        wsi_grid_init(&grid, &s->view, s->options.patch_px, s->options.stride_px, &error));
    g_assert_cmpint(sink.cells->len, ==, grid.n_cells);
    g_assert_cmpint(report.n_kept, ==, grid.n_cells);
    openslide_t *peer = openslide_open(s->path);
    int patch = s->options.patch_px;
    uint32_t *argb = g_new(uint32_t, (size_t)patch * (size_t)patch);
    for (guint i = 0; i < sink.cells->len; i++) {
        const kept_cell *kept = cell_at(&sink, i);
        const wsi_cell *c = &kept->cell;
        g_assert_cmpint(c->cell, ==, i);
        g_assert_true(c->kept);
        openslide_read_region(peer, argb, c->x_l0, c->y_l0, 0, patch, patch);
        for (int p = 0; p < patch * patch; p++) {
            bool valid = p % patch < c->valid_w && p / patch < c->valid_h;
            uint32_t got = 0xff000000u | (uint32_t)kept->rgb[3 * p] << 16 |
                           (uint32_t)kept->rgb[3 * p + 1] << 8 | kept->rgb[3 * p + 2];
            if (got != (valid ? argb[p] : 0xffffffffu))
                g_error("cell %u pixel %d: %08x, OpenSlide says %08x", i, p, got, argb[p]);
        }
    }
    g_free(argb);
    openslide_close(peer);
    sink_clear(&sink);
}

static void test_equals_openslide(void)
{
    static const int sizes[][2] = {{700, 530}, {256, 256}, {100, 300}, {90, 70}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        setting s;
        setting_make(&s, "equal.tif", sizes[i][0], sizes[i][1], make_noise, 0);
        s.options.patch_px = 128;
        s.options.stride_px = i % 2 ? 128 : 96;
        for (s.options.n_threads = 1; s.options.n_threads <= 4; s.options.n_threads += 3)
            check_against_openslide(&s);
        setting_close(&s);
    }
}

static void test_real_equals_openslide(void)
{
    g_autofree char *path = real_data("slides/CMU-1-Small-Region.svs");
    if (!path)
        return;
    setting s;
    setting_open(&s, path, 0);
    check_against_openslide(&s);
    setting_close(&s);
}

static void half_tissue(int64_t x, int64_t y, uint8_t rgb[3])
{
    memcpy(rgb, x < 384 ? "\xd2\x90\xb8" : "\xf4\xf4\xf4", 3);
    rgb[1] = (uint8_t)(rgb[1] + (x ^ y) % 3);
}

static void test_rules(void)
{
    setting s;
    setting_make(&s, "half.tif", 768, 512, half_tissue, 0);
    wsi_tissue_options tissue_options;
    wsi_tissue_options_init(&tissue_options);
    GError *error = NULL;
    wsi_tissue *tissue = wsi_tissue_find(s.slide, &tissue_options, &error);
    g_assert_no_error(error);
    memory_sink sink;
    sink_init(&sink, 256);
    wsi_tile_report report;
    s.options.tissue_min = 0.4; /* columns: 1, 0.5, 0 */
    g_assert_true(run(&s, tissue, NULL, 0, &sink, &report, &error));
    static const bool kept[] = {true, true, false, true, true, false};
    for (guint i = 0; i < 6; i++) {
        const wsi_cell *c = &cell_at(&sink, i)->cell;
        g_assert_cmpint(c->kept, ==, kept[i]);
        g_assert_cmpstr(c->reason, ==, kept[i] ? "" : "tissue");
        g_assert_cmpfloat_with_epsilon(c->quality.tissue, 1 - 0.5 * (i % 3), 0.02);
        g_assert_cmpint(isnan(c->quality.white), ==, !kept[i]); /* not read: not known */
    }
    g_assert_cmpint(report.n_kept, ==, 4);
    g_assert_cmpint(report.n_dropped, ==, 2);
    sink_clear(&sink);
    sink_init(&sink, 256);
    s.options.blank_rule = true;
    g_assert_true(run(&s, NULL, NULL, 0, &sink, &report, &error));
    g_assert_cmpstr(cell_at(&sink, 2)->cell.reason, ==, "blank"); /* mean 244 */
    g_assert_cmpfloat(cell_at(&sink, 2)->cell.quality.white, ==, 1);
    g_assert_true(cell_at(&sink, 0)->cell.kept); /* mean 178 */
    g_assert_cmpint(report.n_kept, ==, 2);       /* the middle one's mean is 211: blank */
    sink_clear(&sink);
    wsi_tissue_destroy(tissue);
    setting_close(&s);
}

static void label_pixel(int64_t x, int64_t y, uint8_t rgb[3])
{
    rgb[0] = (uint8_t)((x / 20 + y / 30) % 3);
}

static void test_labels_and_padding(void)
{
    setting s;
    setting_make(&s, "padded.tif", 300, 100, make_noise, 0);
    g_autofree char *path = temp_path("padded-mask.tif");
    make_tiff_options o = {
        .strips = true, .w = 300, .h = 100, .n_samples = 1, .pixel = label_pixel};
    make_tiff(path, &o);
    qs_classes classes;
    qs_classes_init_n(&classes, 3);
    GError *error = NULL;
    wsi_mask *mask = wsi_mask_open(path, 300, 100, &classes, &error);
    g_assert_no_error(error);
    memory_sink sink;
    sink_init(&sink, 256);
    wsi_tile_report report;
    g_assert_true(run(&s, NULL, mask, 0, &sink, &report, &error));
    g_assert_cmpint(sink.cells->len, ==, 2);
    for (guint i = 0; i < 2; i++) {
        const kept_cell *kept = cell_at(&sink, i);
        int64_t n = 0;
        g_assert_cmpint(kept->cell.valid_h, ==, 100);
        g_assert_cmpint(kept->cell.x, ==, i ? 44 : 0);
        for (int p = 0; p < 256 * 256; p++) {
            uint8_t want[3] = {QS_CLASS_IGNORE};
            if (p / 256 < 100)
                label_pixel(kept->cell.x + p % 256, p / 256, want);
            else
                g_assert_cmpint(kept->rgb[3 * p + 1], ==, 255);
            g_assert_cmpint(kept->label[p], ==, want[0]);
        }
        for (int c = 0; c < 256; c++)
            n += kept->cell.class_px[c];
        g_assert_cmpint(n, ==, 256 * 100); /* padding is not counted */
    }
    sink_clear(&sink);
    wsi_mask_close(mask);
    setting_close(&s);
}

/* Stopped anywhere and started again at the next cell, it is the same as in one go. */
static void test_stop_and_resume(void)
{
    setting s;
    setting_make(&s, "resume.tif", 1000, 700, make_noise, 0.66);
    s.options.patch_px = 64;
    s.options.stride_px = 50;
    memory_sink whole, parts;
    wsi_tile_report report;
    GError *error = NULL;
    sink_init(&whole, 64);
    g_assert_true(run(&s, NULL, NULL, 0, &whole, &report, &error));
    sink_init(&parts, 64);
    int n_stops = 0;
    for (int64_t step = 1;; step += 3) {
        parts.stop_after = (int64_t)parts.cells->len + step;
        bool ok = run(&s, NULL, NULL, parts.cells->len, &parts, &report, &error);
        if (ok)
            break;
        expect_error(g_steal_pointer(&error), QS_ERROR_STOPPED, "stopped", NULL);
        qs_stop_clear();
        n_stops++;
    }
    g_assert_cmpint(n_stops, >, 5);
    g_assert_cmpint(parts.cells->len, ==, whole.cells->len);
    for (guint i = 0; i < whole.cells->len; i++) {
        g_assert_cmpint(cell_at(&parts, i)->cell.cell, ==, i);
        g_assert_cmpmem(cell_at(&parts, i)->rgb, 64 * 64 * 3, cell_at(&whole, i)->rgb, 64 * 64 * 3);
    }
    sink_clear(&whole);
    sink_clear(&parts);
    setting_close(&s);
}

static void test_sink_fails(void)
{
    setting s;
    setting_make(&s, "sink.tif", 600, 600, make_noise, 0);
    s.options.patch_px = s.options.stride_px = 64;
    memory_sink sink;
    sink_init(&sink, 64);
    sink.fail_after = 17;
    wsi_tile_report report;
    GError *error = NULL;
    g_assert_false(run(&s, NULL, NULL, 0, &sink, &report, &error));
    expect_error(error, QS_ERROR_IO, "no space left", NULL);
    g_assert_cmpint(sink.cells->len, ==, 17);
    sink_clear(&sink);
    setting_close(&s);
}

/* Overwrites the bytes of tile `index` of the first directory. */
static void damage_tile(const char *path, int index)
{
    TIFF *tiff = TIFFOpen(path, "r");
    uint64_t *offsets = NULL;
    TIFFGetField(tiff, TIFFTAG_TILEOFFSETS, &offsets);
    uint64_t at = offsets[index];
    TIFFClose(tiff);
    FILE *file = fopen(path, "r+b");
    fseek(file, (long)at, SEEK_SET);
    for (int i = 0; i < 64; i++)
        fputc(0xAA, file);
    fclose(file);
}

static void test_damage(void)
{
    g_autofree char *path = temp_path("damage.tif");
    make_tiff_options o = {.w = 512, .h = 512, .pixel = make_noise};
    make_tiff(path, &o);
    damage_tile(path, 8 * 3 + 5); /* in cell 1·4+2 of a grid of 128 */
    setting s;
    setting_open(&s, path, 0);
    s.options.patch_px = s.options.stride_px = 128;
    memory_sink sink;
    wsi_tile_report report;
    GError *error = NULL;
    sink_init(&sink, 128);
    g_assert_false(
        run(&s, NULL, NULL, 0, &sink, &report, &error)); /* policy fail, after the cells before */
    expect_error(g_steal_pointer(&error), QS_ERROR_FORMAT, "damaged slide", "256,128", NULL);
    g_assert_cmpint(sink.cells->len, ==, 6);
    sink_clear(&sink);

    sink_init(&sink, 128);
    s.options.skip_damaged = true;
    g_assert_true(run(&s, NULL, NULL, 0, &sink, &report, &error));
    g_assert_cmpint(sink.cells->len, ==, 16);
    g_assert_cmpint(report.n_damaged, ==, 1);
    g_assert_cmpstr(cell_at(&sink, 6)->cell.reason, ==, "damaged");
    g_assert_nonnull(strstr(cell_at(&sink, 6)->damage, "cannot be read"));
    g_assert_false(cell_at(&sink, 6)->cell.kept);
    sink_clear(&sink);

    sink_init(&sink, 128);
    s.options.n_damaged_before = 1; /* 2 of 16 is more than a tenth */
    g_assert_false(run(&s, NULL, NULL, 0, &sink, &report, &error));
    expect_error(error, QS_ERROR_FORMAT, "2 of its 16 cells", NULL);
    sink_clear(&sink);
    setting_close(&s);
}

/* A damaged tile hides no tissue: its cells reach the tiler. */
static void test_damage_in_tissue(void)
{
    g_autofree char *path = temp_path("hidden.tif");
    make_tiff_options o = {.w = 768, .h = 512, .pixel = half_tissue};
    make_tiff(path, &o);
    damage_tile(path, 11); /* top right, on glass */
    setting s;
    setting_open(&s, path, 0);
    s.options.skip_damaged = true;
    s.options.damaged_max = 0.5;
    wsi_tissue_options tissue_options;
    wsi_tissue_options_init(&tissue_options);
    GError *error = NULL;
    wsi_tissue *tissue = wsi_tissue_find(s.slide, &tissue_options, &error);
    g_assert_no_error(error);
    g_assert_cmpint(tissue->n_damaged, ==, 1);
    memory_sink sink;
    sink_init(&sink, 256);
    wsi_tile_report report;
    g_assert_true(run(&s, tissue, NULL, 0, &sink, &report, &error));
    g_assert_cmpstr(cell_at(&sink, 2)->cell.reason, ==, "damaged");
    sink_clear(&sink);
    wsi_tissue_destroy(tissue);
    setting_close(&s);
}

/* Every stage that did something has a time, none is counted twice. */
static void test_stages(void)
{
    setting s;
    setting_make(&s, "stages.tif", 1200, 900, make_noise, 0);
    s.options.n_threads = 2;
    memory_sink sink;
    sink_init(&sink, 256);
    wsi_tile_report report;
    GError *error = NULL;
    int64_t start = wsi_stages_now();
    g_assert_true(run(&s, NULL, NULL, 0, &sink, &report, &error));
    int64_t took = wsi_stages_now() - start, sum = 0;
    for (int i = 0; i < WSI_STAGES_N; i++) {
        int64_t ns = report.stages.ns[i];
        sum += ns;
        bool did = i != WSI_STAGE_READ && i != WSI_STAGE_LABEL; /* OpenSlide's read is decode */
        if (ns < 0 || (did && ns == 0) || ns > 3 * took)
            g_error("stage %s took %" G_GINT64_FORMAT " ns of %" G_GINT64_FORMAT,
                    wsi_stage_name((wsi_stage)i), ns, took);
    }
    g_assert_cmpint(sum, <=, 3 * took); /* two workers and the caller */
    g_assert_cmpint(report.stages.ns[WSI_STAGE_LABEL], ==, 0);
    sink_clear(&sink);
    setting_close(&s);
}

static void test_wrong_options(void)
{
    setting s;
    setting_make(&s, "options.tif", 300, 300, make_smooth, 0);
    memory_sink sink;
    sink_init(&sink, 256);
    wsi_tile_report report;
    GError *error = NULL;
    s.options.n_threads = 0;
    g_assert_false(run(&s, NULL, NULL, 0, &sink, &report, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "0 threads", NULL);
    s.options.n_threads = 1;
    g_assert_false(run(&s, NULL, NULL, 5, &sink, &report, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "cell 5 of 4", NULL);
    g_assert_true(run(&s, NULL, NULL, 4, &sink, &report, &error)); /* nothing left is no error */
    g_assert_cmpint(sink.cells->len, ==, 0);
    sink_clear(&sink);
    setting_close(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/grid/positions", test_grid);
    g_test_add_func("/tile/equals-openslide", test_equals_openslide);
    g_test_add_func("/tile/real-equals-openslide", test_real_equals_openslide);
    g_test_add_func("/tile/rules", test_rules);
    g_test_add_func("/tile/labels-and-padding", test_labels_and_padding);
    g_test_add_func("/tile/stop-and-resume", test_stop_and_resume);
    g_test_add_func("/tile/sink-fails", test_sink_fails);
    g_test_add_func("/tile/damage", test_damage);
    g_test_add_func("/tile/damage-in-tissue", test_damage_in_tissue);
    g_test_add_func("/tile/wrong-options", test_wrong_options);
    g_test_add_func("/tile/stages", test_stages);
    int rc = g_test_run();
    temp_clean();
    return rc;
}
