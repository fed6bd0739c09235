#include "train/run/runinfo.h"

#include "base/file.h"

#include <json-glib/json-glib.h>

#include <math.h>
#include <string.h>

static void add_text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static void add_int(JsonBuilder *b, const char *name, int64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

static void add_number(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    if (isfinite(value))
        json_builder_add_double_value(b, value);
    else
        json_builder_add_null_value(b);
}

/* Options as text, which is exact: numbers would lose digits on the way. */
static void add_options(JsonBuilder *b, const tr_options *options)
{
    g_autofree char *text = tr_options_to_text(options, false);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    json_builder_set_member_name(b, "options");
    json_builder_begin_object(b);
    for (int i = 0; lines[i] && *lines[i]; i++) {
        char *equals = strchr(lines[i], '=');
        *equals = 0;
        add_text(b, lines[i], equals + 1);
    }
    json_builder_end_object(b);
}

static void add_triple(JsonBuilder *b, const char *name, const double value[3])
{
    json_builder_set_member_name(b, name);
    json_builder_begin_array(b);
    for (int i = 0; i < 3; i++)
        json_builder_add_double_value(b, value[i]);
    json_builder_end_array(b);
}

static void add_data(JsonBuilder *b, const model_spec *spec, const tr_run_facts *facts)
{
    g_autofree char *classes = qs_classes_to_text(&spec->classes);
    json_builder_set_member_name(b, "data");
    json_builder_begin_object(b);
    add_int(b, "labelled_patches", (int64_t)facts->n_labelled);
    add_int(b, "held_back_patches", (int64_t)facts->n_held_back);
    add_int(b, "unlabelled_patches", (int64_t)facts->n_unlabelled);
    add_int(b, "patch_px", spec->patch_px);
    add_number(b, "mpp", spec->mpp);
    add_text(b, "classes", classes);
    add_triple(b, "mean", spec->mean);
    add_triple(b, "std", spec->std);
    json_builder_end_object(b);
}

bool tr_runinfo_write(const char *path, const tr_options *options, const model_spec *spec,
                      const tr_progress *progress, const tr_run_facts *facts, GError **error)
{
    JsonBuilder *b = json_builder_new();
    json_builder_begin_object(b);
    add_text(b, "program", "quadslide " QS_VERSION);
    add_text(b, "state", facts->state);
    add_text(b, "device", facts->device);
    if (facts->gpu_data)
        add_text(b, "gpu_data", facts->gpu_data);
    add_int(b, "memory_bytes", facts->memory_bytes);
    add_int(b, "iteration", progress->iteration);
    add_int(b, "iterations", progress->iterations);
    add_number(b, "best_dsc", progress->best_dsc);
    add_int(b, "best_iteration", progress->best_iteration);
    add_number(b, "elapsed_s", progress->elapsed_s);
    add_data(b, spec, facts);
    add_options(b, options);
    json_builder_end_object(b);
    JsonGenerator *generator = json_generator_new();
    JsonNode *root = json_builder_get_root(b);
    json_generator_set_pretty(generator, TRUE);
    json_generator_set_root(generator, root);
    gsize n;
    g_autofree char *text = json_generator_to_data(generator, &n);
    json_node_unref(root);
    g_object_unref(generator);
    g_object_unref(b);
    return qs_file_replace(path, text, n, error);
}
