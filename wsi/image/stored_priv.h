/* What the readers of stored values have in common, for stored.c and its files. */
#ifndef QS_WSI_STORED_PRIV_H
#define QS_WSI_STORED_PRIV_H

#include "wsi/image/stored.h"

/* One way to stored samples: n_bands bytes a pixel, rows in rising order. */
typedef struct {
    void *data;
    bool (*read)(void *data, int64_t y, int n, uint8_t *dst, GError **error);
    void (*close)(void *data);
    int64_t w, h;
    int n_bands; /* 1 grey or index, 2 with alpha, 3 RGB, 4 with alpha */
} wsi_stored_source;

/* Each fills *source; on error nothing is open. */
bool wsi_stored_png_open(wsi_stored_source *source, const char *path, GError **error);
/* One sample of 1, 2, 4 or 8 bits. */
bool wsi_stored_tiff_open(wsi_stored_source *source, const char *path, const wsi_tiff_facts *facts,
                          GError **error);

#endif
