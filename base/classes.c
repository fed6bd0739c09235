#include "base/classes.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

/* Okabe & Ito's colour-blind-safe palette after black and the pathologist's red. */
static const uint8_t palette[QS_CLASSES_MAX][3] = {
    {0, 0, 0},     {200, 0, 0},     {0, 114, 178},   {0, 158, 115},
    {230, 159, 0}, {204, 121, 167}, {86, 180, 233},  {240, 228, 66},
    {213, 94, 0},  {128, 0, 128},   {0, 128, 128},   {128, 128, 0},
    {70, 70, 200}, {200, 100, 100}, {100, 200, 100}, {160, 160, 160}};

void qs_classes_init_n(qs_classes *classes, int n)
{
    memset(classes, 0, sizeof *classes);
    classes->n = n;
    for (int i = 0; i < n; i++) {
        if (i == 0)
            g_strlcpy(classes->items[i].name, "background", sizeof classes->items[i].name);
        else
            snprintf(classes->items[i].name, sizeof classes->items[i].name, "class %d", i);
        memcpy(classes->items[i].rgb, palette[i], 3);
    }
}

void qs_classes_init_binary(qs_classes *classes, const char *foreground_name)
{
    qs_classes_init_n(classes, 2);
    g_strlcpy(classes->items[1].name, foreground_name, sizeof classes->items[1].name);
}

bool qs_classes_equal(const qs_classes *a, const qs_classes *b)
{
    if (a->n != b->n)
        return false;
    for (int i = 0; i < a->n; i++)
        if (strcmp(a->items[i].name, b->items[i].name) != 0)
            return false;
    return true;
}

char *qs_classes_to_text(const qs_classes *classes)
{
    GString *text = g_string_new(NULL);
    for (int i = 0; i < classes->n; i++) {
        const qs_class *c = &classes->items[i];
        g_string_append_printf(text, "%s%s:#%02x%02x%02x", i ? "," : "", c->name, c->rgb[0],
                               c->rgb[1], c->rgb[2]);
    }
    return g_string_free(text, FALSE);
}

bool qs_classes_from_text(qs_classes *classes, const char *text, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    guint n = g_strv_length(parts);
    if (n < 2 || n > QS_CLASSES_MAX) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "class table \"%s\": %u classes, 2 to %d are possible", text, n,
                    QS_CLASSES_MAX);
        return false;
    }
    qs_classes_init_n(classes, (int)n);
    for (guint i = 0; i < n; i++) {
        char *colon = strrchr(parts[i], ':');
        if (colon) {
            const char *digits = colon[1] == '#' ? colon + 2 : "";
            if (strlen(digits) != 6 || strspn(digits, "0123456789abcdefABCDEF") != 6) {
                g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                            "class table \"%s\": \"%s\" is no colour, write name:#rrggbb", text,
                            colon + 1);
                return false;
            }
            unsigned rgb = (unsigned)g_ascii_strtoull(digits, NULL, 16);
            for (int k = 0; k < 3; k++)
                classes->items[i].rgb[k] = (uint8_t)(rgb >> (16 - 8 * k));
            *colon = '\0';
        }
        if (!*parts[i] || strlen(parts[i]) >= sizeof classes->items[i].name) {
            g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                        "class table \"%s\": a class name has 1 to 31 bytes, not \"%s\"", text,
                        parts[i]);
            return false;
        }
        g_strlcpy(classes->items[i].name, parts[i], sizeof classes->items[i].name);
    }
    return true;
}
