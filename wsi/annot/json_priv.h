/* JSON as a stream of tokens, read in pieces: a GeoJSON of hundreds of megabytes takes no more
 * memory than the longest string in it. (json-glib builds the whole document, about 100 bytes a
 * number.) Strict (RFC 8259), except: a UTF-8 byte-order mark is skipped, and a string that is not
 * UTF-8 is taken as Latin-1. Errors carry file and line. */
#ifndef QS_WSI_JSON_PRIV_H
#define QS_WSI_JSON_PRIV_H

#include <glib.h>
#include <stdbool.h>

typedef enum {
    WSI_JSON_FAILED,
    WSI_JSON_END, /* after the one value of the file */
    WSI_JSON_OBJECT,
    WSI_JSON_OBJECT_END,
    WSI_JSON_ARRAY,
    WSI_JSON_ARRAY_END,
    WSI_JSON_KEY,
    WSI_JSON_STRING,
    WSI_JSON_NUMBER,
    WSI_JSON_TRUE,
    WSI_JSON_FALSE,
    WSI_JSON_NULL,
} wsi_json_token;

typedef struct wsi_json wsi_json;

wsi_json *wsi_json_open(const char *path, GError **error);
void wsi_json_close(wsi_json *json); /* NULL accepted */
wsi_json_token wsi_json_next(wsi_json *json, GError **error);
/* Of the last KEY or STRING, until the next call. */
const char *wsi_json_text(const wsi_json *json);
double wsi_json_number(const wsi_json *json);
int wsi_json_line(const wsi_json *json);
/* Passes over the rest of the value whose first token was `token`. */
bool wsi_json_skip(wsi_json *json, wsi_json_token token, GError **error);
/* QS_ERROR_FORMAT "path:line: …"; always false. */
bool wsi_json_fail(const wsi_json *json, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

#endif
