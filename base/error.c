#include "base/error.h"

#include <stdarg.h>

GQuark qs_error_quark(void)
{
    return g_quark_from_static_string("quadslide-error");
}

void qs_set_error_errno(GError **error, int errno_value, const char *format, ...)
{
    if (!error)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, QS_ERROR, QS_ERROR_IO, "%s: %s", text, g_strerror(errno_value));
}
