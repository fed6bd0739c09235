/* See web.h. glib-compile-resources made the resource of view/web/web.gresource.xml. */
#include "view/web.h"

#include <gio/gio.h>

#include "view/vw_web_resource.h"

GBytes *vw_web_file(const char *name, const char **type)
{
    static const struct {
        const char *ending, *type;
    } types[] = {{".html", "text/html; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".js", "text/javascript; charset=utf-8"},
                 {".svg", "image/svg+xml"},
                 {".txt", "text/plain; charset=utf-8"}};
    g_autofree char *path = g_strconcat("/quadslide/view/", name, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
        if (g_str_has_suffix(name, types[i].ending)) {
            *type = types[i].type;
            return g_resource_lookup_data(vw_get_resource(), path, G_RESOURCE_LOOKUP_FLAGS_NONE,
                                          NULL);
        }
    return NULL;
}
