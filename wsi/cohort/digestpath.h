/* The file names of DigestPath 2019's tissue images:
 *   [<case>_]<YYYY-MM-DD HH_MM_SS>-lv1-<x>-<y>-<w>-<h>.jpg   and   …_mask.jpg beside it. */
#ifndef QS_WSI_DIGESTPATH_PRIV_H
#define QS_WSI_DIGESTPATH_PRIV_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* 20x, the data set's stated pixel size; its JPEGs do not carry it. */
#define WSI_DIGESTPATH_MPP 0.475

typedef struct {
    char *case_prefix; /* owned; NULL when the name has none */
    char stamp[20];    /* "2018-11-20 09_30_07" */
    int64_t x, y, w, h;
} wsi_digestpath_name;

/* `name` without folder. False when it is not an image of this layout (masks are not). */
bool wsi_digestpath_parse(const char *name, wsi_digestpath_name *parsed);
/* The file name of an image, owned by the caller. */
char *wsi_digestpath_format(const wsi_digestpath_name *parsed);
/* "a.jpg" -> "a_mask.jpg", with or without folders, owned by the caller. */
char *wsi_digestpath_mask_of(const char *image);

#endif
