/* libjpeg's errors and warnings as we take them, for the files that decode with it.
 *
 * Fatal errors jump: every call into libjpeg stands behind `if (setjmp(errors.escape)) …`. What
 * libjpeg only warns of but has destroyed pixels for (a broken code, an early end) sets `damaged`;
 * extra bytes before a marker and a doubtful Adobe marker harm no pixel and are passed over. */
#ifndef QS_WSI_JPEG_ERRORS_PRIV_H
#define QS_WSI_JPEG_ERRORS_PRIV_H

#include <glib.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>

#include <jpeglib.h>

typedef struct {
    struct jpeg_error_mgr manager; /* first: libjpeg's pointer is ours */
    jmp_buf escape;
    char message[JMSG_LENGTH_MAX]; /* of the fatal error or the first warning that did damage */
    bool damaged;
} wsi_jpeg_errors;

/* Returns what goes into jpeg->err. */
struct jpeg_error_mgr *wsi_jpeg_errors_init(wsi_jpeg_errors *errors);
void wsi_jpeg_errors_clear(wsi_jpeg_errors *errors);

#endif
