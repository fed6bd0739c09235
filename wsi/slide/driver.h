/* What a slide driver is, for the files of this folder.
 *
 * Adding a driver: its file with one exported const struct, and a line in wsi/driver/registry.c. Drivers are
 * asked in registry order; the first whose `takes` says yes opens the file, and its error is final.
 */
#ifndef QS_WSI_SLIDE_PRIV_H
#define QS_WSI_SLIDE_PRIV_H

#include "wsi/slide/slide.h"
#include "wsi/image/sniff.h"
#include "wsi/tiff/probe.h"

/* What is known about a file before a driver opens it. */
typedef struct {
    const char *path;
    wsi_reader reader;
    wsi_file_type type;
    int64_t n_bytes;
    wsi_tiff_facts tiff; /* when type is WSI_FILE_TIFF */
} wsi_probe;

typedef struct wsi_driver {
    const char *name;
    bool (*takes)(const wsi_probe *probe);
    /* Fills slide->info (all but path, driver, mpp override) and slide->data. On error close is not
     * called. */
    bool (*open)(wsi_slide *slide, const wsi_probe *probe, GError **error);
    void (*close)(wsi_slide *slide);
    /* As wsi_slide_read; thread-safe. */
    bool (*read)(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w_lv, int h_lv,
                 uint8_t *rgb, size_t row_bytes, GError **error);
    /* (optional) A native tile as it is, see wsi_view_copy; without it there is none. */
    wsi_copy_outcome (*copy)(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w_lv,
                             int h_lv, wsi_tile_copy *copy, GError **error);
    /* Bytes of memory that reading takes at most with n_threads readers (caches, scratch). */
    int64_t (*memory)(const wsi_slide *slide, int n_threads);
    /* (optional) Bytes of temporary disk space while the slide is open; without it none. */
    int64_t (*temp_bytes)(const wsi_slide *slide);
} wsi_driver;

struct wsi_slide {
    wsi_slide_info info;
    const wsi_driver *driver;
    void *data; /* the driver's */
};

extern const wsi_driver wsi_driver_openslide, wsi_driver_image;
extern const wsi_driver *const wsi_drivers[]; /* NULL-terminated */

/* Whether mpp values can be a slide's: 0.05 to 20 µm, the same in x and y within 2 %. */
bool wsi_mpp_plausible(double mpp_x, double mpp_y);

/* A thread's scratch memory, at least n bytes, kept until the thread ends; slots do not overlap. */
enum { WSI_SCRATCH_ARGB, WSI_SCRATCH_LEVEL, WSI_SCRATCH_SUMS, WSI_SCRATCH_SLOTS };
void *wsi_scratch(int slot, size_t n);

#endif
