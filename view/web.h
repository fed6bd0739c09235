/* The page's files, which are inside the program. */
#ifndef QS_VIEW_WEB_H
#define QS_VIEW_WEB_H

#include <glib.h>

/* NULL when there is no such file; else its bytes and, static, its type. Thread-safe. */
GBytes *vw_web_file(const char *name, const char **type);

#endif
