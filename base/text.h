/* Numbers and texts as people and logs read them. All functions are thread-safe; what they return is
 * owned by the caller. */
#ifndef QS_BASE_TEXT_H
#define QS_BASE_TEXT_H

#include <glib.h>
#include <stdint.h>

char *qs_format_bytes(int64_t bytes); /* "1.4 GB" */
char *qs_format_seconds(double s);    /* "3 min 20 s"; "unknown" for NaN, negative and huge ones */
/* The inside of a JSON string: quotes, backslashes and control characters escaped, UTF-8 as it is,
 * what is no UTF-8 replaced. */
char *qs_json_escape(const char *text);

#endif
