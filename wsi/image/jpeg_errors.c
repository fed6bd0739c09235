/* See jpeg_errors_priv.h. */
#include "wsi/image/jpeg_errors.h"

#include <jerror.h>

static wsi_jpeg_errors *errors_of(j_common_ptr common)
{
    return (wsi_jpeg_errors *)(void *)common->err;
}

static void on_fatal(j_common_ptr common)
{
    wsi_jpeg_errors *errors = errors_of(common);
    common->err->format_message(common, errors->message);
    longjmp(errors->escape, 1);
}

/* level -1 is a warning, others are traces. */
static void on_message(j_common_ptr common, int level)
{
    int code = common->err->msg_code;
    if (level >= 0 || code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM ||
        code == JWRN_JFIF_MAJOR || code == JWRN_TOO_MUCH_DATA)
        return;
    wsi_jpeg_errors *errors = errors_of(common);
    if (!errors->damaged)
        common->err->format_message(common, errors->message);
    errors->damaged = true;
}

static void on_output(j_common_ptr common)
{
    (void)common; /* nothing is printed */
}

struct jpeg_error_mgr *wsi_jpeg_errors_init(wsi_jpeg_errors *errors)
{
    jpeg_std_error(&errors->manager);
    errors->manager.error_exit = on_fatal;
    errors->manager.emit_message = on_message;
    errors->manager.output_message = on_output;
    wsi_jpeg_errors_clear(errors);
    return &errors->manager;
}

void wsi_jpeg_errors_clear(wsi_jpeg_errors *errors)
{
    errors->message[0] = '\0';
    errors->damaged = false;
}
