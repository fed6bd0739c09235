#include "base/csv.h"

#include "base/error.h"

#include <string.h>

static void record_free(gpointer data)
{
    wsi_csv_record *record = data;
    g_ptr_array_unref(record->fields);
    g_free(record);
}

typedef struct {
    const char *name, *p, *end;
    int line;
} cursor;

/* After the opening quote. Leaves the cursor after the closing one. */
static bool read_quoted(cursor *c, GString *field, GError **error)
{
    int opened = c->line;
    for (; c->p < c->end; c->p++) {
        if (*c->p == '"') {
            if (c->p + 1 == c->end || c->p[1] != '"') {
                c->p++;
                return true;
            }
            c->p++;
        } else if (*c->p == '\n') {
            c->line++;
        }
        g_string_append_c(field, *c->p);
    }
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s:%d: a quote is opened here and never closed",
                c->name, opened);
    return false;
}

static bool at_line_end(const cursor *c)
{
    return c->p == c->end || *c->p == '\n' ||
           (*c->p == '\r' && (c->p + 1 == c->end || c->p[1] == '\n'));
}

static bool read_field(cursor *c, GString *field, GError **error)
{
    g_string_truncate(field, 0);
    if (c->p < c->end && *c->p == '"') {
        c->p++;
        if (!read_quoted(c, field, error))
            return false;
        if (at_line_end(c) || *c->p == ',')
            return true;
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s:%d: '%c' after a closing quote; double the quotes inside a quoted field",
                    c->name, c->line, *c->p);
        return false;
    }
    for (; !at_line_end(c) && *c->p != ','; c->p++)
        g_string_append_c(field, *c->p);
    return true;
}

static bool read_record(cursor *c, wsi_csv_record *record, GString *field, GError **error)
{
    for (;;) {
        if (!read_field(c, field, error))
            return false;
        g_ptr_array_add(record->fields, g_strdup(field->str));
        if (at_line_end(c))
            break;
        c->p++; /* the comma */
    }
    if (c->p < c->end && *c->p == '\r')
        c->p++;
    if (c->p < c->end)
        c->p++;
    c->line++;
    return true;
}

GPtrArray *qs_csv_parse(const char *name, const char *text, gsize n, GError **error)
{
    cursor c = {.name = name, .p = text, .end = text + n, .line = 1};
    if (n >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3))
        c.p += 3;
    const char *bad;
    if (!g_utf8_validate(c.p, c.end - c.p, &bad)) {
        for (const char *p = c.p; p < bad; p++)
            c.line += *p == '\n';
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s:%d: byte 0x%02X is not UTF-8; save the file as UTF-8", name, c.line,
                    (unsigned)(guchar)*bad);
        return NULL;
    }
    GPtrArray *records = g_ptr_array_new_with_free_func(record_free);
    GString *field = g_string_new(NULL);
    bool ok = true;
    while (ok && c.p < c.end) {
        wsi_csv_record *record = g_new0(wsi_csv_record, 1);
        record->line = c.line;
        record->fields = g_ptr_array_new_with_free_func(g_free);
        ok = read_record(&c, record, field, error);
        bool blank = ok && record->fields->len == 1 && !*(char *)record->fields->pdata[0];
        if (ok && !blank)
            g_ptr_array_add(records, record);
        else
            record_free(record);
    }
    g_string_free(field, TRUE);
    if (ok)
        return records;
    g_ptr_array_unref(records);
    return NULL;
}

void qs_csv_append(GString *out, const char *field, bool first)
{
    if (!first)
        g_string_append_c(out, ',');
    size_t n = strlen(field);
    bool quote = strpbrk(field, ",\"\r\n") || (n > 0 && (field[0] == ' ' || field[n - 1] == ' '));
    if (!quote) {
        g_string_append(out, field);
        return;
    }
    g_string_append_c(out, '"');
    for (const char *p = field; *p; p++) {
        if (*p == '"')
            g_string_append_c(out, '"');
        g_string_append_c(out, *p);
    }
    g_string_append_c(out, '"');
}
