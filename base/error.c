#include "base/error.h"

#include <errno.h>
#include <stdarg.h>

GQuark qs_error_quark(void)
{
    return g_quark_from_static_string("quadslide-error");
}

const char *qs_errno_way_out(int errno_value)
{
    switch (errno_value) {
    case ENOSPC:
        return "; make room on that disk and run the same command again";
    case EDQUOT:
        return "; your quota there is used up: make room and run the same command again";
    case EFBIG:
        return "; the limit of a file's size (ulimit -f, or the file system's own) was reached: "
               "raise it and run the same command again";
    case EMFILE:
        return "; the limit of open files (ulimit -n) was reached: raise it";
    default:
        return "";
    }
}

void qs_set_error_errno(GError **error, int errno_value, const char *format, ...)
{
    if (!error)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, QS_ERROR, QS_ERROR_IO, "%s: %s%s", text, g_strerror(errno_value),
                qs_errno_way_out(errno_value));
}
