/* quadslide status: what is in a store. */
#include "cli/cli.h"
#include "jobs/run_times.h"
#include "db/store.h"

#include <json-glib/json-glib.h>

#include <math.h>

extern const cli_command cli_cmd_status;

static gboolean opt_json, opt_slides, opt_damage;

static const GOptionEntry entries[] = {
    {"slides", 's', 0, G_OPTION_ARG_NONE, &opt_slides, "Also one line a slide", NULL},
    {"damage", 'd', 0, G_OPTION_ARG_NONE, &opt_damage,
     "Also one line a damaged, missing or filled region: slide, place, reason", NULL},
    {"json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print everything as JSON", NULL},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "Prints the store's patch size and resolution; per split the slides by state (pending, tiling, "
    "done,\n"
    "failed), cells looked at, patches kept, patches of labelled slides, and bytes; the share of "
    "each class\n"
    "among the pixels that have a label; the runs that were logged, with their state; and where "
    "the "
    "time of tiling went.\n"
    "Nothing is changed, and a store that is being tiled or trained from can be looked at.\n\n"
    "Exit status: 0 done, 1 the store cannot be read, 2 wrong usage.";

/* What is printed, read in one go. */
typedef struct {
    const db_store_config *config;
    const char *dir;
    db_summary sum;
    GArray *slides, *runs, *damage;
    GArray *times; /* of job_run_times, by run; threads 0 when there are none */
} status_data;

static void member_int(JsonBuilder *b, const char *name, int64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

static void member_double(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    if (isfinite(value))
        json_builder_add_double_value(b, value);
    else
        json_builder_add_null_value(b);
}

static void member_text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    if (value)
        json_builder_add_string_value(b, value);
    else
        json_builder_add_null_value(b);
}

static void json_splits(JsonBuilder *b, const status_data *d)
{
    json_builder_set_member_name(b, "splits");
    json_builder_begin_object(b);
    for (int i = 0; i <= DB_SPLIT_TEST; i++) {
        const db_split_summary *s = &d->sum.splits[i];
        json_builder_set_member_name(b, db_split_name((db_split)i));
        json_builder_begin_object(b);
        member_int(b, "slides", s->n_slides);
        for (int k = 0; k <= DB_SLIDE_FAILED; k++)
            member_int(b, db_slide_state_name((db_slide_state)k), s->n_state[k]);
        member_int(b, "labelled_slides", s->n_labelled);
        member_int(b, "damaged_regions", s->n_damaged);
        member_int(b, "cells", s->n_cells);
        member_int(b, "patches", s->n_kept);
        member_int(b, "patches_with_label", s->n_with_label);
        member_int(b, "patches_of_labelled_slides", s->n_labelled_patches);
        member_int(b, "bytes", s->n_bytes);
        member_int(b, "ignored_pixels", s->ignore_px);
        json_builder_set_member_name(b, "class_pixels");
        json_builder_begin_object(b);
        for (int c = 0; c < d->config->classes.n; c++)
            member_int(b, d->config->classes.items[c].name, s->class_px[c]);
        json_builder_end_object(b);
        json_builder_end_object(b);
    }
    json_builder_end_object(b);
}

static void json_times(JsonBuilder *b, const job_run_times *t)
{
    if (t->threads == 0)
        return;
    json_builder_set_member_name(b, "times");
    json_builder_begin_object(b);
    member_double(b, "wall_s", t->wall_s);
    member_double(b, "megapixels", t->megapixels);
    member_double(b, "threads", t->threads);
    member_double(b, "hash_s", t->hash_s);
    member_double(b, "tissue_and_mask_s", t->prepare_s);
    for (int k = 0; k < WSI_STAGES_N; k++) {
        g_autofree char *name = g_strconcat(wsi_stage_name((wsi_stage)k), "_s", NULL);
        member_double(b, name, t->stage_s[k]);
    }
    json_builder_end_object(b);
}

static const char *slide_name(const status_data *d, int64_t id)
{
    for (guint i = 0; i < d->slides->len; i++)
        if (g_array_index(d->slides, db_slide, i).id == id)
            return g_array_index(d->slides, db_slide, i).name;
    return "?";
}

static void json_damage(JsonBuilder *b, const status_data *d)
{
    json_builder_set_member_name(b, "damage");
    json_builder_begin_array(b);
    for (guint i = 0; i < d->damage->len; i++) {
        const db_damage *row = &g_array_index(d->damage, db_damage, i);
        json_builder_begin_object(b);
        member_text(b, "slide", slide_name(d, row->slide_id));
        member_text(b, "kind", db_damage_kind_name(row->kind));
        member_int(b, "x", row->x_l0);
        member_int(b, "y", row->y_l0);
        member_int(b, "width", row->w_l0);
        member_int(b, "height", row->h_l0);
        member_text(b, "reason", row->reason);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void json_lists(JsonBuilder *b, const status_data *d)
{
    json_builder_set_member_name(b, "slides");
    json_builder_begin_array(b);
    for (guint i = 0; i < d->slides->len; i++) {
        const db_slide *s = &g_array_index(d->slides, db_slide, i);
        json_builder_begin_object(b);
        member_text(b, "name", s->name);
        member_text(b, "path", s->path);
        member_text(b, "case", s->case_id);
        member_text(b, "split", db_split_name(s->split));
        member_int(b, "labelled", s->labelled);
        member_text(b, "state", db_slide_state_name(s->state));
        member_int(b, "cells", s->n_cells);
        member_double(b, "mpp", s->mpp);
        member_double(b, "mpp_of_file", s->mpp_file > 0 ? s->mpp_file : NAN);
        member_text(b, "mpp_origin", s->mpp_origin);
        member_double(b, "tissue_share", s->tissue_share);
        member_text(b, "colour", s->colour);
        member_text(b, "notes", s->notes);
        member_int(b, "damaged_regions", s->n_damaged);
        member_text(b, "error", s->error);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_builder_set_member_name(b, "runs");
    json_builder_begin_array(b);
    for (guint i = 0; i < d->runs->len; i++) {
        const db_run *r = &g_array_index(d->runs, db_run, i);
        json_builder_begin_object(b);
        member_int(b, "id", r->id);
        member_text(b, "kind", r->kind);
        member_text(b, "name", r->name);
        member_text(b, "state", r->state);
        member_text(b, "started", r->started_at);
        member_text(b, "ended", r->ended_at);
        member_text(b, "version", r->version);
        member_text(b, "device", r->device);
        member_int(b, "seed", r->seed);
        member_int(b, "metrics", r->n_metrics);
        json_times(b, &g_array_index(d->times, job_run_times, i));
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_damage(b, d);
}

static void print_json(const status_data *d)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    json_builder_begin_object(b);
    member_text(b, "store", d->dir);
    member_int(b, "patch_px", d->config->patch_px);
    member_int(b, "stride_px", d->config->stride_px);
    if (d->config->level0)
        member_text(b, "mpp", NULL);
    else
        member_double(b, "mpp", d->config->mpp);
    member_text(b, "codec",
                d->config->codec == DB_CODEC_ZSTD   ? "zstd"
                : d->config->codec == DB_CODEC_JPEG ? "jpeg"
                                                    : "copy");
    member_text(b, "tiling_rules", d->config->grid_rules);
    member_double(b, "mpp_tolerance", d->config->mpp_tolerance);
    member_text(b, "label_map", d->config->label_map);
    member_text(b, "label_order", d->config->label_order_map ? "map" : "file");
    member_int(b, "bounds_relative", d->config->bounds_relative);
    member_text(b, "colour", d->config->colour);
    json_splits(b, d);
    json_lists(b, d);
    json_builder_end_object(b);
    g_autoptr(JsonNode) root = json_builder_get_root(b);
    g_autofree char *text = json_to_string(root, TRUE);
    cli_print("%s\n", text);
}

static void print_head(const status_data *d)
{
    const db_store_config *c = d->config;
    g_autofree char *at =
        c->level0 ? g_strdup("level 0") : g_strdup_printf("%g µm per pixel", c->mpp);
    g_autofree char *codec = c->codec == DB_CODEC_ZSTD ? g_strdup("zstd, lossless")
                             : c->codec == DB_CODEC_JPEG
                                 ? g_strdup_printf("JPEG quality %d", c->jpeg_quality)
                                 : g_strdup_printf("the slides' own JPEG tiles, else JPEG "
                                                   "quality %d",
                                                   c->jpeg_quality);
    cli_print("%s: patches of %d pixels, stride %d, at %s, %s\n\n", d->dir, c->patch_px,
              c->stride_px, at, codec);
}

static void print_splits(const status_data *d)
{
    cli_print("%-6s %7s %9s %8s %8s %6s %7s %10s %10s %9s %10s\n", "split", "slides", "labelled",
              "pending", "tiling", "done", "failed", "cells", "patches", "labelled", "size");
    for (int i = 0; i <= DB_SPLIT_TEST; i++) {
        const db_split_summary *s = &d->sum.splits[i];
        g_autofree char *size = qs_format_bytes(s->n_bytes);
        double share = s->n_kept ? 100.0 * (double)s->n_labelled_patches / (double)s->n_kept : 0;
        cli_print("%-6s %7d %9d %8d %8d %6d %7d %10" G_GINT64_FORMAT " %10" G_GINT64_FORMAT
                  " %8.1f%% %10s\n",
                  db_split_name((db_split)i), (int)s->n_slides, (int)s->n_labelled,
                  (int)s->n_state[DB_SLIDE_PENDING], (int)s->n_state[DB_SLIDE_TILING],
                  (int)s->n_state[DB_SLIDE_DONE], (int)s->n_state[DB_SLIDE_FAILED], s->n_cells,
                  s->n_kept, share, size);
    }
}

static void print_classes(const status_data *d)
{
    cli_print("\n%-20s", "class share");
    for (int i = 0; i <= DB_SPLIT_TEST; i++)
        cli_print(" %9s", db_split_name((db_split)i));
    cli_print("\n");
    for (int c = 0; c < d->config->classes.n; c++) {
        cli_print("%-20s", d->config->classes.items[c].name);
        for (int i = 0; i <= DB_SPLIT_TEST; i++) {
            int64_t sum = 0;
            for (int k = 0; k < d->config->classes.n; k++)
                sum += d->sum.splits[i].class_px[k];
            if (sum > 0)
                cli_print(" %8.2f%%", 100.0 * (double)d->sum.splits[i].class_px[c] / (double)sum);
            else
                cli_print(" %9s", "-");
        }
        cli_print("\n");
    }
}

static void print_slides(const status_data *d)
{
    cli_print("\n%-28s %-6s %-8s %-8s %8s %8s %8s\n", "slide", "split", "labelled", "state",
              "cells", "tissue", "damaged");
    for (guint i = 0; i < d->slides->len; i++) {
        const db_slide *s = &g_array_index(d->slides, db_slide, i);
        g_autofree char *cells =
            s->n_cells < 0 ? g_strdup("?") : g_strdup_printf("%d", (int)s->n_cells);
        cli_print("%-28s %-6s %-8s %-8s %8s %7.1f%% %8d%s%s\n", s->name, db_split_name(s->split),
                  s->labelled ? "yes" : "no", db_slide_state_name(s->state), cells,
                  100 * s->tissue_share, (int)s->n_damaged, s->error ? "  " : "",
                  s->error ? s->error : "");
    }
}

static void print_runs(const status_data *d)
{
    if (d->runs->len == 0)
        return;
    cli_print("\n%4s %-8s %-8s %-20s %8s  %s\n", "run", "kind", "state", "started", "metrics",
              "name");
    for (guint i = 0; i < d->runs->len; i++) {
        const db_run *r = &g_array_index(d->runs, db_run, i);
        cli_print("%4d %-8s %-8s %-20s %8d  %s\n", (int)r->id, r->kind, r->state, r->started_at,
                  (int)r->n_metrics, r->name ? r->name : "");
    }
}

static void print_times(const status_data *d)
{
    bool head = false;
    for (guint i = 0; i < d->runs->len; i++) {
        const job_run_times *t = &g_array_index(d->times, job_run_times, i);
        if (t->threads == 0)
            continue;
        if (!head)
            cli_print("\n%4s %9s  where the time went\n", "run", "time");
        head = true;
        g_autofree char *wall = qs_format_seconds(t->wall_s), *text = job_run_times_text(t);
        cli_print("%4d %9s  %s\n", (int)g_array_index(d->runs, db_run, i).id, wall, text);
    }
}

/* The ledger: all of it with --damage, else what there is by kind. */
static void print_damage(const status_data *d)
{
    int n[DB_DAMAGE_FILLED + 1] = {0};
    for (guint i = 0; i < d->damage->len; i++)
        n[g_array_index(d->damage, db_damage, i).kind]++;
    if (d->damage->len == 0)
        return;
    cli_print("\nledger: %d damaged, %d missing, %d filled regions%s\n", n[DB_DAMAGE_DAMAGED],
              n[DB_DAMAGE_MISSING], n[DB_DAMAGE_FILLED], opt_damage ? "" : "; --damage shows each");
    if (!opt_damage)
        return;
    cli_print("%-28s %-8s %31s  %s\n", "slide", "kind", "level-0 pixels x,y (w x h)", "reason");
    for (guint i = 0; i < d->damage->len; i++) {
        const db_damage *row = &g_array_index(d->damage, db_damage, i);
        g_autofree char *place = g_strdup_printf("%" G_GINT64_FORMAT ",%" G_GINT64_FORMAT
                                                 " (%" G_GINT64_FORMAT " x %" G_GINT64_FORMAT ")",
                                                 row->x_l0, row->y_l0, row->w_l0, row->h_l0);
        cli_print("%-28s %-8s %31s  %s\n", slide_name(d, row->slide_id),
                  db_damage_kind_name(row->kind), place, row->reason);
    }
}

static bool read_times(db_store *store, status_data *d, GError **error)
{
    bool ok = true, known;
    d->times = g_array_new(FALSE, TRUE, sizeof(job_run_times));
    g_array_set_size(d->times, d->runs->len);
    for (guint i = 0; ok && i < d->runs->len; i++)
        ok = job_run_times_load(store, g_array_index(d->runs, db_run, i).id,
                                &g_array_index(d->times, job_run_times, i), &known, error);
    return ok;
}

static int run_status(const char *dir)
{
    GError *error = NULL;
    db_store *store = db_store_open(dir, true, &error);
    if (!store)
        return cli_fail(error);
    status_data d = {.config = db_store_get_config(store), .dir = dir};
    int status = CLI_DONE;
    if (db_store_summarise(store, &d.sum, &error) && (d.slides = db_slide_list(store, &error)) &&
        (d.runs = db_run_list(store, &error)) && (d.damage = db_damage_list(store, 0, &error)) &&
        read_times(store, &d, &error)) {
        if (opt_json) {
            print_json(&d);
        } else {
            print_head(&d);
            print_splits(&d);
            print_classes(&d);
            if (opt_slides)
                print_slides(&d);
            print_runs(&d);
            print_times(&d);
            print_damage(&d);
        }
    } else {
        status = cli_fail(error);
    }
    g_clear_pointer(&d.slides, g_array_unref);
    g_clear_pointer(&d.runs, g_array_unref);
    g_clear_pointer(&d.damage, g_array_unref);
    g_clear_pointer(&d.times, g_array_unref);
    db_store_close(store);
    return status;
}

static int run(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_status, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status < 0 ? CLI_DONE : status;
    if (g_strv_length(rest) != 1)
        return cli_usage("give one store");
    return run_status(rest[0]);
}

const cli_command cli_cmd_status = {
    .name = "status",
    .arguments = "STORE",
    .summary = "what is in a store: slides, patches, classes, runs",
    .run = run,
};
