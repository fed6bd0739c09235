/* A scratch folder and small masks for the tests of this room. */
#ifndef QS_TESTS_INFER_SCRATCH_H
#define QS_TESTS_INFER_SCRATCH_H

#include "wsi/tiff/pyramid.h"

#include <glib/gstdio.h>

/* A new folder; remove with scratch_remove, which frees it. */
static inline char *scratch_make(void)
{
    GError *error = NULL;
    char *dir = g_dir_make_tmp("qs-infer-XXXXXX", &error);
    g_assert_no_error(error);
    return dir;
}

static inline void scratch_remove(char *dir)
{
    GDir *d = g_dir_open(dir, 0, NULL);
    for (const char *name; d && (name = g_dir_read_name(d));) {
        char *path = g_build_filename(dir, name, NULL);
        g_remove(path);
        g_free(path);
    }
    if (d)
        g_dir_close(d);
    g_rmdir(dir);
    g_free(dir);
}

/* Writes label (h,w) as a mask file of profile `tiff` and gives its path, owned by the caller. */
static inline char *scratch_mask(const char *dir, const char *name, const uint8_t *label, int64_t w,
                                 int64_t h)
{
    GError *error = NULL;
    char *path = g_build_filename(dir, name, NULL);
    wsi_tiffw_options options = {.profile = WSI_TIFFW_MASK,
                                 .w = w,
                                 .h = h,
                                 .tile_px = 512,
                                 .min_level_px = 1024,
                                 .max_label = 2};
    wsi_tiffw *writer = wsi_tiffw_open(path, &options, &error);
    g_assert_no_error(error);
    g_assert_true(wsi_tiffw_write_rows(writer, label, (size_t)w, h, &error));
    g_assert_true(wsi_tiffw_finish(writer, &error));
    g_assert_no_error(error);
    return path;
}

#endif
