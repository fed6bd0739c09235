#include "wsi/cohort/digestpath.h"

#include <string.h>

#define PATTERN                                                                                    \
    "^(?:(.+)_)?([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}_[0-9]{2}_[0-9]{2})"                           \
    "-lv1-([0-9]{1,9})-([0-9]{1,9})-([0-9]{1,9})-([0-9]{1,9})\\.jpg$"

bool wsi_digestpath_parse(const char *name, wsi_digestpath_name *parsed)
{
    g_autoptr(GRegex) regex = g_regex_new(PATTERN, G_REGEX_OPTIMIZE, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    *parsed = (wsi_digestpath_name){0};
    if (!g_utf8_validate(name, -1, NULL) || !g_regex_match(regex, name, 0, &match))
        return false;
    g_autofree char *prefix = g_match_info_fetch(match, 1);
    if (prefix && *prefix)
        parsed->case_prefix = g_steal_pointer(&prefix);
    g_autofree char *stamp = g_match_info_fetch(match, 2);
    g_strlcpy(parsed->stamp, stamp, sizeof parsed->stamp);
    int64_t *numbers[] = {&parsed->x, &parsed->y, &parsed->w, &parsed->h};
    for (int i = 0; i < 4; i++) {
        g_autofree char *digits = g_match_info_fetch(match, 3 + i);
        *numbers[i] = g_ascii_strtoll(digits, NULL, 10);
    }
    return true;
}

char *wsi_digestpath_format(const wsi_digestpath_name *parsed)
{
    return g_strdup_printf("%s%s%s-lv1-%" G_GINT64_FORMAT "-%" G_GINT64_FORMAT "-%" G_GINT64_FORMAT
                           "-%" G_GINT64_FORMAT ".jpg",
                           parsed->case_prefix ? parsed->case_prefix : "",
                           parsed->case_prefix ? "_" : "", parsed->stamp, parsed->x, parsed->y,
                           parsed->w, parsed->h);
}

char *wsi_digestpath_mask_of(const char *image)
{
    size_t n = strlen(image) - strlen(".jpg");
    return g_strdup_printf("%.*s_mask.jpg", (int)n, image);
}
