/* See text.h. */
#include "base/text.h"

char *qs_json_escape(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1); /* a file name may be no UTF-8 */
    GString *out = g_string_new(NULL);
    for (const char *p = valid; *p; p++) {
        if (*p == '"' || *p == '\\')
            g_string_append_c(out, '\\');
        if ((unsigned char)*p < 0x20)
            g_string_append_printf(out, "\\u%04x", (unsigned)*p);
        else
            g_string_append_c(out, *p);
    }
    return g_string_free(out, FALSE);
}

char *qs_format_bytes(int64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 999.5 && unit < 4) {
        value /= 1000;
        unit++;
    }
    return g_strdup_printf(unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

char *qs_format_seconds(double s)
{
    if (!(s >= 0) || s > 1e9)
        return g_strdup("unknown");
    int64_t t = (int64_t)(s + 0.5);
    if (t < 60)
        return g_strdup_printf("%d s", (int)t);
    if (t < 3600)
        return g_strdup_printf("%d min %02d s", (int)(t / 60), (int)(t % 60));
    return g_strdup_printf("%d h %02d min", (int)(t / 3600), (int)(t % 3600 / 60));
}
