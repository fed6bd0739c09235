/* The layers as a table, or as JSON for machines. */
#include "bench/layers/layers.h"

#include <json-glib/json-glib.h>

#include <math.h>

/* Sums of a mode's rows. */
static layers_row total_of(const layers_mode *mode)
{
    layers_row sum = {0};
    for (guint i = 0; i < mode->rows->len; i++) {
        const layers_row *row = &g_array_index(mode->rows, layers_row, i);
        sum.flop += row->flop;
        sum.bytes += row->bytes;
        sum.seconds += row->seconds;
        sum.roof_seconds += row->roof_seconds;
    }
    return sum;
}

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

/* ---- table ---------------------------------------------------------------------------------- */

static void table_row(GString *text, const char *name, const layers_row *row)
{
    g_autofree char *shape = NULL;
    double ms = 1e3 * row->seconds;
    if (row->ic > 0)
        shape = g_strdup_printf("%d>%d %dx%d", row->ic, row->oc, row->w, row->h);
    g_string_append_printf(text, "%-50s %-16s %-5s %9.3f %8.3f %8.4f", name, shape ? shape : "",
                           row->part ? row->part : "", ms, 1e-9 * row->flop, 1e-9 * row->bytes);
    if (row->flop > 0)
        g_string_append_printf(text, " %8.1f", 1e-9 * share(row->flop, row->seconds));
    else
        g_string_append_printf(text, " %8s", "-");
    g_string_append_printf(text, " %7.1f %6.0f %%  %s\n", 1e-9 * share(row->bytes, row->seconds),
                           100 * share(row->roof_seconds, row->seconds), row->how ? row->how : "");
}

static void table_mode(GString *text, const layers_result *r, const layers_mode *mode)
{
    layers_row total = total_of(mode);
    int batch = r->options.batch;
    g_string_append_printf(text,
                           "\n%s: %.3f ms, %.1f patches/s; %.3f ms with the clock in every layer\n",
                           mode->train ? "training step" : "inference", 1e3 * mode->seconds,
                           share(batch, mode->seconds), 1e3 * mode->clocked_seconds);
    g_string_append_printf(text, "%-50s %-16s %-5s %9s %8s %8s %8s %7s %8s  %s\n", "layer", "shape",
                           "part", "ms", "GFLOP", "GB", "GFLOP/s", "GB/s", "of roof", "by");
    for (guint i = 0; i < mode->rows->len; i++) {
        const layers_row *row = &g_array_index(mode->rows, layers_row, i);
        g_autofree char *name =
            row->op[0] ? g_strdup_printf("%s %s", row->op, row->name) : g_strdup(row->name);
        table_row(text, name, row);
    }
    table_row(text, "all of these", &total);
    g_string_append_printf(
        text,
        "The roofline allows %.3f ms: the step takes %.2f times that, %.0f %% of "
        "the roofline.\n",
        1e3 * total.roof_seconds, share(mode->seconds, total.roof_seconds),
        100 * share(total.roof_seconds, mode->seconds));
}

static char *table(const layers_result *r)
{
    const layers_options *o = &r->options;
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "device    %s\n", r->device);
    g_string_append_printf(
        text, "network   U-Net of %d to %d channels, %d classes; %d patches of %d x %d\n", o->width,
        o->width << 4, o->classes, o->batch, o->patch, o->patch);
    g_string_append_printf(
        text, "roofline  %.1f GFLOP/s (%s), %.1f GB/s (%s): they meet at %.1f FLOP a byte\n",
        1e-9 * r->peak.flop_s, r->peak_measured ? "measured" : "given", 1e-9 * r->peak.byte_s,
        r->bandwidth_measured ? "measured" : "given", r->peak.flop_s / r->peak.byte_s);
    for (int m = 0; m < r->n_modes; m++)
        table_mode(text, r, &r->modes[m]);
    return g_string_free(text, FALSE);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void member_text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static void member_int(JsonBuilder *b, const char *name, int64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

static void member_double(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_double_value(b, value);
}

static void json_row(JsonBuilder *b, const layers_row *row)
{
    json_builder_begin_object(b);
    member_text(b, "name", row->name);
    member_text(b, "op", row->op);
    member_text(b, "part", row->part);
    member_text(b, "by", row->how);
    member_int(b, "ic", row->ic);
    member_int(b, "oc", row->oc);
    member_int(b, "height", row->h);
    member_int(b, "width", row->w);
    member_double(b, "flop", row->flop);
    member_double(b, "bytes", row->bytes);
    member_double(b, "seconds", row->seconds);
    member_double(b, "roof_seconds", row->roof_seconds);
    member_double(b, "of_roof", share(row->roof_seconds, row->seconds));
    json_builder_end_object(b);
}

static void json_mode(JsonBuilder *b, const layers_mode *mode, int batch)
{
    layers_row total = total_of(mode);
    json_builder_begin_object(b);
    member_text(b, "mode", mode->train ? "train" : "infer");
    member_double(b, "seconds", mode->seconds);
    member_double(b, "clocked_seconds", mode->clocked_seconds);
    member_double(b, "patches_per_s", share(batch, mode->seconds));
    member_double(b, "flop", total.flop);
    member_double(b, "bytes", total.bytes);
    member_double(b, "roof_seconds", total.roof_seconds);
    member_double(b, "of_roof", share(total.roof_seconds, mode->seconds));
    json_builder_set_member_name(b, "layers");
    json_builder_begin_array(b);
    for (guint i = 0; i < mode->rows->len; i++)
        json_row(b, &g_array_index(mode->rows, layers_row, i));
    json_builder_end_array(b);
    json_builder_end_object(b);
}

static char *json(const layers_result *r)
{
    const layers_options *o = &r->options;
    g_autoptr(JsonBuilder) b = json_builder_new();
    json_builder_begin_object(b);
    member_text(b, "device", r->device);
    member_text(b, "conv", o->conv ? o->conv : "auto");
    member_text(b, "precision", o->precision ? o->precision : "auto");
    member_int(b, "width", o->width);
    member_int(b, "batch", o->batch);
    member_int(b, "patch", o->patch);
    member_int(b, "classes", o->classes);
    member_int(b, "rounds", o->rounds);
    member_double(b, "peak_flop_per_s", r->peak.flop_s);
    member_text(b, "peak_is", r->peak_measured ? "measured" : "given");
    member_double(b, "bytes_per_s", r->peak.byte_s);
    member_text(b, "bytes_are", r->bandwidth_measured ? "measured" : "given");
    json_builder_set_member_name(b, "modes");
    json_builder_begin_array(b);
    for (int m = 0; m < r->n_modes; m++)
        json_mode(b, &r->modes[m], o->batch);
    json_builder_end_array(b);
    json_builder_end_object(b);
    g_autoptr(JsonNode) root = json_builder_get_root(b);
    g_autofree char *text = json_to_string(root, TRUE);
    return g_strconcat(text, "\n", NULL);
}

char *layers_report(const layers_result *result)
{
    return result->options.json ? json(result) : table(result);
}
