/* JSON answers. Numbers that JSON does not have are null. */
#ifndef QS_VIEW_JSON_H
#define QS_VIEW_JSON_H

#include <json-glib/json-glib.h>

void vw_json_int(JsonBuilder *b, const char *name, gint64 value);
void vw_json_double(JsonBuilder *b, const char *name, double value); /* NaN, infinities: null */
void vw_json_bool(JsonBuilder *b, const char *name, gboolean value);
void vw_json_string(JsonBuilder *b, const char *name,
                    const char *value);                /* NULL: null; bad UTF-8 replaced */
void vw_json_array(JsonBuilder *b, const char *name);  /* begins a member that is an array */
void vw_json_object(JsonBuilder *b, const char *name); /* begins a member that is an object */
/* Ends nothing: the builder's root must be complete. Frees the builder. */
GBytes *vw_json_bytes(JsonBuilder *b);

#endif
