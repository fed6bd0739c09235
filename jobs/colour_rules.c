/* See colour.h. */
#include "jobs/colour_rules.h"

#include "base/error.h"
#include "jobs/tissue_rules.h"

#include <string.h>

/* The view of a reference: the config's resolution when the file has it, else level 0. */
static bool reference_view(wsi_view *view, wsi_slide *slide, const db_store_config *config,
                           GError **error)
{
    double mpp = wsi_slide_get_info(slide)->mpp, tolerance = config->mpp_tolerance;
    bool level0 = config->level0 || !(mpp > 0) || config->mpp < mpp * (1 - tolerance);
    const wsi_resolution resolution = {level0, config->mpp, tolerance};
    return wsi_view_init_at(view, slide, &resolution, error);
}

static bool measure_reference(const char *path, bool icc, const db_store_config *config,
                              wsi_stain *stain, GError **error)
{
    wsi_view view;
    wsi_colour *colour = NULL;
    const wsi_colour_rules profile_only = {.icc = icc};
    job_tissue_rules rules;
    job_tissue_rules_init(&rules);
    wsi_slide *slide = wsi_slide_open(path, 0, error);
    bool ok = slide && reference_view(&view, slide, config, error);
    wsi_tissue *tissue = ok ? wsi_tissue_find(slide, &rules.options, error) : NULL;
    const wsi_colour_windows windows = {config->patch_px, config->patch_px, tissue, rules.at_least};
    g_autofree char *done = NULL, *remark = NULL;
    ok = tissue && wsi_colour_open(&view, &profile_only, &windows, &colour, &done, &remark, error);
    if (ok) {
        view.colour = colour;
        ok = wsi_colour_measure(&view, stain->method, &windows, stain, error);
    }
    wsi_colour_close(colour);
    wsi_tissue_destroy(tissue);
    wsi_slide_close(slide);
    return ok;
}

/* METHOD, METHOD:FILE or METHOD:NUMBERS */
static bool parse_stain(const char *option, bool icc, const db_store_config *config,
                        wsi_stain *stain, GError **error)
{
    const char *colon = strchr(option, ':');
    g_autofree char *name = g_strndup(option, colon ? (gsize)(colon - option) : strlen(option));
    if (!wsi_stain_parse(name, &stain->method)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "--stain-norm %s: macenko, reinhard or none is wanted, and after a colon a "
                    "file or numbers",
                    option);
        return false;
    }
    wsi_stain_default(stain->method, stain);
    if (!colon || stain->method == WSI_STAIN_NONE)
        return true;
    const char *reference = colon + 1;
    if (strchr(reference, ',') && !g_file_test(reference, G_FILE_TEST_EXISTS)) {
        g_autofree char *text = g_strdup_printf("%s %s", name, reference);
        wsi_colour_rules rules;
        bool ok = wsi_colour_rules_parse(&rules, text, error);
        *stain = rules.stain;
        return ok;
    }
    bool ok = measure_reference(reference, icc, config, stain, error);
    if (!ok)
        g_prefix_error(error, "--stain-norm: the reference: ");
    return ok;
}

char *job_colour_text(bool icc, const char *stain_norm, const db_store_config *config,
                      GError **error)
{
    wsi_colour_rules rules = {.icc = icc};
    if (stain_norm && *stain_norm && !parse_stain(stain_norm, icc, config, &rules.stain, error))
        return NULL;
    return wsi_colour_rules_text(&rules);
}

bool job_colour_open(wsi_view *view, const char *text, const wsi_colour_windows *windows,
                     wsi_colour **colour, char **done, char **remark, GError **error)
{
    wsi_colour_rules rules;
    *colour = NULL;
    if (done)
        *done = NULL;
    if (remark)
        *remark = NULL;
    if (!text || !*text)
        return true;
    g_autofree char *was_done = NULL, *said = NULL;
    if (!wsi_colour_rules_parse(&rules, text, error) ||
        !wsi_colour_open(view, &rules, windows, colour, &was_done, &said, error))
        return false;
    view->colour = *colour;
    wsi_colour_rules got;
    if (wsi_colour_rules_parse(&got, was_done, NULL) &&
        (got.icc != rules.icc || got.stain.method != rules.stain.method))
        qs_warn("%s: %s", wsi_slide_get_info(view->slide)->path, said);
    if (done)
        *done = g_steal_pointer(&was_done);
    if (remark)
        *remark = g_steal_pointer(&said);
    return true;
}
