/* A condition on a patch's quality numbers, as people write it:
 *     blur >= 20 and pen < 0.05 and not (white > 0.8 or dark > 0.5)
 *
 *     condition  = part { "or" part }
 *     part       = term { ("and" | ",") term }
 *     term       = "not" term | "(" condition ")" | number-name operator number
 *     operator   = ">=" | ">" | "<=" | "<" | "=" | "==" | "!="
 *     name       = tissue | white | dark | saturation | blur | pen     (wsi/tile/tile.h has what they
 * are)
 *
 * Upper and lower case are alike. A number that is not known (NaN) fulfils no comparison. Immutable
 * after creation, thread-safe. */
#ifndef QS_DB_WHERE_H
#define QS_DB_WHERE_H

#include "db/store.h"

typedef struct db_where db_where;

/* QS_ERROR_ARG says where in the text it is not understood and what is possible there. */
db_where *db_where_create(const char *text, GError **error);
void db_where_destroy(db_where *where); /* NULL accepted */
/* NULL: every patch. */
bool db_where_holds(const db_where *where, const db_patch *patch);

#endif
