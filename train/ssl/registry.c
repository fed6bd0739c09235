/* The registry of methods. */
#include "train/plan/method.h"

#include "base/error.h"

extern const ssl_method ssl_method_sl, ssl_method_fullsup, ssl_method_mt, ssl_method_fixmatch,
    ssl_method_cct, ssl_method_cps, ssl_method_rdrop, ssl_method_bcp, ssl_method_uamt,
    ssl_method_urpc, ssl_method_ccvc, ssl_method_dcnet, ssl_method_sdcl, ssl_method_ceud;

const ssl_method *const ssl_methods[] = {
    &ssl_method_sl,   &ssl_method_fullsup, &ssl_method_mt,   &ssl_method_fixmatch, &ssl_method_cct,
    &ssl_method_cps,  &ssl_method_rdrop,   &ssl_method_bcp,  &ssl_method_uamt,     &ssl_method_urpc,
    &ssl_method_ccvc, &ssl_method_dcnet,   &ssl_method_sdcl, &ssl_method_ceud,     NULL,
};

const ssl_method *ssl_method_find(const char *name, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);
    for (int i = 0; ssl_methods[i]; i++) {
        if (name && g_ascii_strcasecmp(name, ssl_methods[i]->name) == 0)
            return ssl_methods[i];
        g_string_append_printf(known, "%s%s", i ? ", " : "", ssl_methods[i]->name);
    }
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "there is no method \"%s\"; there are %s",
                name ? name : "", known->str);
    return NULL;
}
