/* See tissue_rules.h. */
#include "jobs/tissue_rules.h"

#include "jobs/label_rules.h"

#include <stdio.h>
#include <string.h>

void job_tissue_rules_init(job_tissue_rules *rules)
{
    *rules = (job_tissue_rules){.at_least = 0.25};
    wsi_tissue_options_init(&rules->options);
}

void job_tissue_options_init(job_tissue_options *o)
{
    *o = (job_tissue_options){.mask = NULL};
    job_tissue_rules_init(&o->rules);
}

const char *job_tissue_options_take(job_tissue_options *o)
{
    const wsi_tissue_options *t = &o->rules.options;
    o->rules.none = o->none;
    o->rules.options.otsu = o->otsu;
    if (t->saturation < 0 || t->saturation > 254)
        return "--saturation is 0 to 254";
    if (t->max_px < 16 || t->max_px > 16384)
        return "--tissue-picture is 16 to 16384 pixels";
    if (t->median_px < 0 || t->median_px >= t->max_px || t->closing_px < 0 ||
        t->closing_px >= t->max_px || t->min_area_px < 0 || t->hole_area_px < 0)
        return "--tissue-median and --tissue-closing are 0 to the picture's size, --tissue-area "
               "and --tissue-hole 0 or more";
    if (o->mask && o->none)
        return "--tissue-mask and --no-tissue exclude each other";
    return NULL;
}

#define RULES_FORMAT                                                                               \
    "tissue: saturation %s, picture %d, median %d, closing %d, area %d, hole %d, at least %s; "    \
    "blank rule: %s"

char *job_tissue_rules_text(const job_tissue_rules *rules)
{
    const wsi_tissue_options *o = &rules->options;
    const char *blank = rules->blank_rule ? "yes" : "no";
    if (rules->none)
        return g_strdup_printf("tissue: none; blank rule: %s", blank);
    char threshold[32], at_least[G_ASCII_DTOSTR_BUF_SIZE];
    g_snprintf(threshold, sizeof threshold, o->otsu ? "otsu" : "%d", o->saturation);
    g_ascii_formatd(at_least, sizeof at_least, "%g", rules->at_least);
    return g_strdup_printf(RULES_FORMAT, threshold, o->max_px, o->median_px, o->closing_px,
                           o->min_area_px, o->hole_area_px, at_least, blank);
}

void job_tissue_rules_of_store(job_tissue_rules *rules, const db_store_config *config)
{
    char threshold[16], at_least[32], blank[8];
    job_tissue_rules_init(rules);
    wsi_tissue_options *o = &rules->options;
    if (sscanf(config->grid_rules, "tissue: none; blank rule: %7s", blank) == 1) {
        rules->none = true;
        rules->blank_rule = !strcmp(blank, "yes");
    } else if (sscanf(config->grid_rules,
                      "tissue: saturation %15[^,], picture %d, median %d, closing %d, area %d, "
                      "hole %d, at least %31[^;]; blank rule: %7s",
                      threshold, &o->max_px, &o->median_px, &o->closing_px, &o->min_area_px,
                      &o->hole_area_px, at_least, blank) == 8) {
        o->otsu = !strcmp(threshold, "otsu");
        if (!o->otsu)
            o->saturation = (int)g_ascii_strtoll(threshold, NULL, 10);
        rules->at_least = g_ascii_strtod(at_least, NULL);
        rules->blank_rule = !strcmp(blank, "yes");
    } else {
        job_tissue_rules_init(rules);
    }
}

wsi_tissue *job_tissue_open(wsi_slide *slide, const char *mask_path, bool bounds_relative,
                            const wsi_tissue_options *options, GError **error)
{
    if (!mask_path)
        return wsi_tissue_find(slide, options, error);
    char any_name[] = "*=1";
    const job_labels labels = {.map = any_name, .bounds_relative = bounds_relative};
    qs_classes classes;
    qs_classes_init_n(&classes, QS_CLASSES_MAX);
    wsi_mask *mask = job_mask_open(mask_path, slide, &classes, &labels, error);
    wsi_tissue *tissue = mask ? wsi_tissue_from_mask(slide, mask, options, error) : NULL;
    wsi_mask_close(mask);
    if (!tissue)
        g_prefix_error(error, "the tissue mask of %s: ", wsi_slide_get_info(slide)->path);
    return tissue;
}
