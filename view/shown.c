/* See shown.h. */
#include "view/shown.h"

static void slide_clear(gpointer data)
{
    vw_slide *s = data;
    g_free(s->name);
    g_free(s->path);
    g_free(s->case_id);
    g_free(s->split);
    g_free(s->annot);
    g_free(s->truth);
    g_free(s->tissue);
}

static void model_clear(gpointer data)
{
    vw_model *m = data;
    g_free(m->name);
    g_free(m->dir);
}

void vw_shown_init(vw_shown *shown)
{
    *shown = (vw_shown){.n_threads = 1};
    shown->slides = g_array_new(FALSE, TRUE, sizeof(vw_slide));
    shown->models = g_array_new(FALSE, TRUE, sizeof(vw_model));
    shown->runs = g_array_new(FALSE, TRUE, sizeof(vw_model));
    g_array_set_clear_func(shown->runs, model_clear);
    g_array_set_clear_func(shown->slides, slide_clear);
    g_array_set_clear_func(shown->models, model_clear);
    qs_classes_init_binary(&shown->classes, "foreground");
}

void vw_shown_clear(vw_shown *shown)
{
    g_clear_pointer(&shown->slides, g_array_unref);
    g_clear_pointer(&shown->models, g_array_unref);
    g_clear_pointer(&shown->runs, g_array_unref);
}

const vw_slide *vw_shown_slide(const vw_shown *shown, guint i)
{
    return i < shown->slides->len ? &g_array_index(shown->slides, vw_slide, i) : NULL;
}

const vw_model *vw_shown_model(const vw_shown *shown, guint i)
{
    return i < shown->models->len ? &g_array_index(shown->models, vw_model, i) : NULL;
}

const vw_model *vw_shown_run(const vw_shown *shown, guint i)
{
    return i < shown->runs->len ? &g_array_index(shown->runs, vw_model, i) : NULL;
}

char *vw_shown_mask_path(const vw_model *model, const vw_slide *slide)
{
    g_autofree char *file = g_strconcat(slide->name, ".tif", NULL);
    return g_build_filename(model->dir, file, NULL);
}

char *vw_shown_map_path(const vw_model *model, const char *map, const vw_slide *slide)
{
    g_autofree char *file = g_strconcat(slide->name, ".tif", NULL);
    return g_build_filename(model->dir, map, file, NULL);
}
