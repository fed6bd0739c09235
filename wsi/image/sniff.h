/* What kind of file a path is, by its first bytes and never by its name. */
#ifndef QS_WSI_SNIFF_H
#define QS_WSI_SNIFF_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    WSI_FILE_OTHER,
    WSI_FILE_TEXT,
    WSI_FILE_TIFF, /* classic or Big, either byte order */
    WSI_FILE_JPEG,
    WSI_FILE_PNG,
    WSI_FILE_DICOM,
    WSI_FILE_JPEG2000,
    WSI_FILE_ZIP,
} wsi_file_type;

const char *wsi_file_type_name(wsi_file_type type); /* "a text file", "a TIFF" … */

/* Errors: QS_ERROR_IO when it cannot be read, QS_ERROR_FORMAT for a directory or an empty file. */
bool wsi_sniff(const char *path, wsi_file_type *type, int64_t *n_bytes, GError **error);

/* The frame header of a JPEG file. */
typedef struct {
    int w, h, bits, n_components;
    bool progressive;
    int64_t coefficient_bytes; /* what a decoder holds for a progressive file */
} wsi_jpeg_header;

/* Walks the markers up to the frame header. QS_ERROR_FORMAT when there is none. */
bool wsi_jpeg_header_read(const char *path, wsi_jpeg_header *header, GError **error);

#endif
