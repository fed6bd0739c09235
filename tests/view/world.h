/* A small world for the viewer's tests: a slide with odd sizes, its truth, and a prediction of half
 * the size, in a folder of their own. */
#ifndef QS_TESTS_VIEW_WORLD_H
#define QS_TESTS_VIEW_WORLD_H

#include "base/error.h"
#include "view/answer.h"
#include "wsi/tiff/pyramid.h"

#include <glib.h>
#include <glib/gstdio.h>

#include <string.h>

enum { WORLD_W = 1001, WORLD_H = 703, WORLD_PRED_W = WORLD_W / 2, WORLD_PRED_H = WORLD_H / 2 };

typedef struct {
    char *dir;
    vw_shown shown;
    vw_guard guard;
    vw_service *service;
    char *host, *origin;
} world;

static inline uint8_t world_truth(int64_t x, int64_t y)
{
    int64_t dx = x - 400, dy = y - 300;
    if (x > 900 && y > 600)
        return QS_CLASS_IGNORE;
    return dx * dx + dy * dy < 200 * 200 ? 1 : x < 60 && y < 60 ? 2 : 0;
}

/* In pixels of the prediction: shifted, and with single pixels that must not vanish. */
static inline uint8_t world_pred(int64_t x, int64_t y)
{
    int64_t dx = 2 * x - 430, dy = 2 * y - 300;
    if (x % 97 == 5 && y % 89 == 7)
        return 2;
    return dx * dx + dy * dy < 200 * 200;
}

static inline void world_rgb(int64_t x, int64_t y, uint8_t rgb[3])
{
    rgb[0] = (uint8_t)(128 + 100 * ((x / 40 + y / 40) % 2));
    rgb[1] = (uint8_t)(x * 200 / WORLD_W + 20);
    rgb[2] = (uint8_t)(y * 200 / WORLD_H + 20);
}

/* bands 3: the picture; 1: a function of place. */
static inline char *world_file(const world *w, const char *name, int64_t width, int64_t height,
                               uint8_t (*value)(int64_t x, int64_t y))
{
    char *path = g_build_filename(w->dir, name, NULL);
    GError *error = NULL;
    int bands = value ? 1 : 3;
    wsi_tiffw_options options = {.profile = value ? WSI_TIFFW_MASK : WSI_TIFFW_RGB_JPEG,
                                 .w = width,
                                 .h = height,
                                 .mpp = value ? 0 : 0.5,
                                 .tile_px = 64,
                                 .min_level_px = 200,
                                 .jpeg_quality = 95,
                                 .max_label = 255};
    wsi_tiffw *writer = wsi_tiffw_open(path, &options, &error);
    g_assert_no_error(error);
    g_autofree uint8_t *row = g_malloc((size_t)(width * bands));
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++)
            if (value)
                row[x] = value(x, y);
            else
                world_rgb(x, y, row + 3 * x);
        wsi_tiffw_write_rows(writer, row, (size_t)(width * bands), 1, &error);
        g_assert_no_error(error);
    }
    wsi_tiffw_finish(writer, &error);
    g_assert_no_error(error);
    return path;
}

static inline wsi_mask *world_open_mask(void *user, const char *path, const wsi_slide *slide,
                                        GError **error)
{
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    return wsi_mask_open(path, info->levels[0].w, info->levels[0].h, user, error);
}

static inline wsi_tissue *world_open_tissue(void *user, const char *path, wsi_slide *slide,
                                            GError **error)
{
    (void)user, (void)path;
    wsi_tissue_options options;
    wsi_tissue_options_init(&options);
    return wsi_tissue_find(slide, &options, error);
}

/* n_slides rows of one file under as many names. */
static inline void world_init(world *w, int n_slides)
{
    GError *error = NULL;
    *w = (world){.dir = g_dir_make_tmp("vw-XXXXXX", &error)};
    g_assert_no_error(error);
    vw_shown_init(&w->shown);
    qs_classes_init_n(&w->shown.classes, 3);
    g_autofree char *slide = world_file(w, "slide.tif", WORLD_W, WORLD_H, NULL);
    g_autofree char *truth = world_file(w, "truth.tif", WORLD_W, WORLD_H, world_truth);
    for (int m = 0; m < 2; m++) {
        g_autofree char *dir = g_strdup_printf("%s/pred%d", w->dir, m);
        g_mkdir(dir, 0700);
        vw_model item = {g_strdup_printf("model %d", m), g_strdup(dir)};
        g_array_append_val(w->shown.models, item);
    }
    for (int i = 0; i < n_slides; i++) {
        vw_slide row = {.name = g_strdup_printf("s%d", i),
                        .path = g_strdup(slide),
                        .case_id = g_strdup("<b>case</b> \"1\""),
                        .split = g_strdup("test"),
                        .truth = g_strdup(truth),
                        .annot = g_strdup(truth)};
        g_array_append_val(w->shown.slides, row);
        for (int m = 0; m < 2; m++) {
            g_autofree char *name = g_strdup_printf("pred%d/s%d.tif", m, i);
            g_free(world_file(w, name, WORLD_PRED_W, WORLD_PRED_H, world_pred));
        }
    }
    w->shown.user = &w->shown.classes;
    w->shown.open_mask = world_open_mask;
    w->shown.open_tissue = world_open_tissue;
    w->shown.n_threads = 2;
    vw_guard_init(&w->guard, &error);
    g_assert_no_error(error);
    w->guard.port = 8000;
    w->host = g_strdup("127.0.0.1:8000");
    w->origin = g_strdup("http://127.0.0.1:8000");
    w->service = vw_service_create(&w->shown, &w->guard, NULL);
}

static inline void world_clear(world *w)
{
    vw_service_destroy(w->service);
    vw_shown_clear(&w->shown);
    char rm[] = "rm", rf[] = "-rf";
    char *arguments[] = {rm, rf, w->dir, NULL};
    g_spawn_sync(NULL, arguments, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free(w->dir);
    g_free(w->host);
    g_free(w->origin);
}

/* A GET of the page's own. */
static inline vw_answer world_get(world *w, const char *rest)
{
    g_autofree char *target = g_strdup_printf("/%s/%s", w->guard.token, rest);
    vw_request request = {
        .method = VW_GET, .target = target, .host = {w->host, 1}, .fetch_site = {"same-origin", 1}};
    vw_answer answer;
    vw_service_answer(w->service, &request, &answer);
    return answer;
}

#endif
