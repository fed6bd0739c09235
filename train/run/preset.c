#include "train/run/preset.h"

#include "base/error.h"

/* MetaSSL as its paper has it: the defaults. */
static const char *const paper[] = {"loss", "metassl", NULL};

/* MetaSSL as its published training script for CPS does it (ssl-methods, part B), for diagnosis:
 *  - each region's CE is its own mean, Σ/(n+1), and they are added; UC is two regions, of which the
 *    2-D code's foreground mask selects the background (golden E19; --uc split is what was meant);
 *  - labelled: plain ½(CE + Dice²) stays, heterogeneous CE comes on top with λ(t)·85, by agreement
 *    of the two predictions and the supervised one's own confidence, DC and DS not swapped;
 *  - unlabelled λ(t)·50; λ over 30,000 iterations in steps of 150;
 *  - γ from 0.9, half of it new each batch, O_c = Σ/(n+1), so that absent classes' γ decay. */
static const char *const released[] = {
    "loss",     "metassl",    "sup",      "ssl4mis",    "phi",          "gauss",     "phi-beta",
    "3",        "delta-u",    "0.6",      "delta-l",    "0.3",          "threshold", "adaptive",
    "gamma0",   "0.9",        "gamma-a",  "0.5",        "gamma-absent", "released",  "gamma-scope",
    "separate", "confidence", "max",      "norm-mode",  "region-mean",  "uc",        "released",
    "lqh-form", "add",        "no-swap",  "true",       "uqh-scale",    "50",        "lqh-scale",
    "85",       "ramp",       "released", "lambda-max", "0.1",          NULL,
};

const tr_preset tr_presets[] = {
    {"paper", "MetaSSL by its equations (--loss metassl and the defaults)", paper},
    {"released", "MetaSSL as its authors' published code computes it, for diagnosis", released},
    {NULL, NULL, NULL},
};

bool tr_options_preset(tr_options *options, const char *name, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);
    for (int i = 0; tr_presets[i].name; i++) {
        if (g_ascii_strcasecmp(tr_presets[i].name, name) == 0) {
            for (const char *const *s = tr_presets[i].settings; s[0]; s += 2)
                if (!tr_options_set(options, s[0], s[1], error))
                    return false;
            return true;
        }
        g_string_append_printf(known, "%s%s", i ? ", " : "", tr_presets[i].name);
    }
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "--preset %s: there are %s", name, known->str);
    return false;
}
