/* RFC 4180 records for the manifest: quoted fields with doubled quotes and line breaks inside,
 * LF or CRLF, an optional UTF-8 byte-order mark. Blank lines are skipped. */
#ifndef QS_WSI_CSV_PRIV_H
#define QS_WSI_CSV_PRIV_H

#include <glib.h>
#include <stdbool.h>

typedef struct {
    int line;          /* where the record begins, from 1 */
    GPtrArray *fields; /* of char *, owned */
} wsi_csv_record;

/* Splits UTF-8 `text` (n bytes); `name` is the file named in errors ("name:line: …"). Returns an
 * array of wsi_csv_record *, owned by the caller; NULL with QS_ERROR_FORMAT. */
GPtrArray *qs_csv_parse(const char *name, const char *text, gsize n, GError **error);
/* Appends one field, quoted when it has to be, preceded by a comma unless `first`. */
void qs_csv_append(GString *out, const char *field, bool first);

#endif
