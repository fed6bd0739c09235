/* quadslide export: a mask into the files that viewers read, each held to its readers' rules. */
#include "base/file.h"
#include "cli/cli.h"
#include "jobs/export/source.h"
#include "jobs/outputs.h"

#include <glib/gstdio.h>

#include <math.h>
#include <string.h>

extern const cli_command cli_cmd_export;

static char *opt_as, *opt_out, *opt_slide, *opt_prob, *opt_classes, *opt_only, *opt_labels,
    *opt_label_order;
static double opt_mpp, opt_min_area, opt_min_hole;
static int opt_factor, opt_picture_px = 2048;
static gboolean opt_bounds;

static const GOptionEntry entries[] = {
    {"as", 'a', 0, G_OPTION_ARG_STRING, &opt_as, "tiff, ome, geojson, asap or png", "FORMAT"},
    {"out", 'o', 0, G_OPTION_ARG_FILENAME, &opt_out,
     "The file to write (beside the mask, named after it)", "FILE"},
    {"slide", 's', 0, G_OPTION_ARG_FILENAME, &opt_slide,
     "The slide: its size, resolution, bounds and thumbnail", "SLIDE"},
    {"mpp", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp,
     "µm per level-0 pixel, instead of the slide's or the mask's", "MPP"},
    {"prob", 0, 0, G_OPTION_ARG_FILENAME, &opt_prob,
     "Probabilities × 255 of the mask's size: mean of each region", "FILE"},
    {"min-area-um2", 0, 0, G_OPTION_ARG_DOUBLE, &opt_min_area,
     "Leave out smaller regions (outlines only)", "UM2"},
    {"min-hole-um2", 0, 0, G_OPTION_ARG_DOUBLE, &opt_min_hole, "Fill smaller holes (outlines only)",
     "UM2"},
    {"bounds-relative", 0, 0, G_OPTION_ARG_NONE, &opt_bounds,
     "Coordinates from the slide's openslide.bounds, as QuPath crops it", NULL},
    {"classes", 0, 0, G_OPTION_ARG_STRING, &opt_classes,
     "The class table: background:#000000,tumour:#c80000,…", "TEXT"},
    {"only", 0, 0, G_OPTION_ARG_STRING, &opt_only, "Export these classes alone", "NAME,NAME"},
    {"labels", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_STRING, &opt_labels, "As --label-map", "MAP"},
    {"label-map", 0, 0, G_OPTION_ARG_STRING, &opt_labels, "Annotations in: Tumor=1,Stroma=2,*=skip",
     "MAP"},
    {"label-order", 0, 0, G_OPTION_ARG_STRING, &opt_label_order,
     "Annotations in: paint in the order of the file, or of the map", "file|map"},
    {"factor", 0, 0, G_OPTION_ARG_INT, &opt_factor,
     "Annotations in: level-0 pixels per mask pixel (1)", "N"},
    {"picture-px", 0, 0, G_OPTION_ARG_INT, &opt_picture_px, "png: longest side (2048)", "PX"},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "MASK is a label image (TIFF, PNG, JPEG) or an annotation file (ASAP XML, Aperio XML, "
    "GeoJSON).\n"
    "Outlines run along pixel edges in level-0 pixels of the slide, holes are kept, and drawn "
    "again they\n"
    "give the same mask. A mask of `predict` brings its classes, factor and slide in the note "
    "beside it.\n\n"
    "  tiff     label mask that OpenSlide, ASAP, QuPath and libvips open\n"
    "  ome      OME-TIFF\n"
    "  geojson  QuPath: regions with class, area in µm² and mean probability\n"
    "  asap     ASAP: holes are later-painted annotations of the background group\n"
    "  png      picture of the slide with the classes over it\n\n"
    "The file is read back and every rule of its readers is checked; a rule that is broken is an "
    "error.\n"
    "Exit status: 0 written and in order, 1 not, 2 wrong usage.";

static bool parse_arguments(char **rest, GError **error)
{
    const char *fault = NULL;
    if (!rest[0] || rest[1])
        fault = "name one mask or annotation file";
    else if (!opt_as || !wsi_exporter_find(opt_as))
        fault = "--as is tiff, ome, geojson, asap or png";
    else if (!isfinite(opt_mpp) || opt_mpp < 0)
        fault = "--mpp is µm per pixel, above 0";
    else if (opt_label_order && strcmp(opt_label_order, "file") && strcmp(opt_label_order, "map"))
        fault = "--label-order is file or map";
    else if (opt_factor < 0)
        fault = "--factor is 1 or more";
    else if (opt_bounds && !opt_slide)
        fault = "--bounds-relative needs the slide: pass --slide";
    else if (opt_bounds && strcmp(opt_as, "geojson") && strcmp(opt_as, "asap"))
        fault = "--bounds-relative is for geojson and asap";
    else if ((opt_min_area != 0 || opt_min_hole != 0 || opt_prob) && strcmp(opt_as, "geojson") &&
             strcmp(opt_as, "asap"))
        fault = "--min-area-um2, --min-hole-um2 and --prob are for geojson and asap";
    if (fault)
        g_set_error_literal(error, QS_ERROR, QS_ERROR_ARG, fault);
    return !fault;
}

static char *out_path(const job_export_source *source, const char *mask,
                      const wsi_exporter *exporter, GError **error)
{
    const char *base = strrchr(mask, '/'), *dot = strrchr(base ? base : mask, '.');
    g_autofree char *stem = g_strndup(mask, dot ? (gsize)(dot - mask) : strlen(mask));
    char *out = opt_out ? g_strdup(opt_out) : g_strconcat(stem, exporter->extension, NULL);
    job_outputs *outputs = job_outputs_create();
    job_outputs_input(outputs, mask);
    job_outputs_input(outputs, opt_slide);
    job_outputs_input(outputs, opt_prob);
    job_outputs_input(outputs, source->slide ? wsi_slide_get_info(source->slide)->path : NULL);
    if (!job_outputs_check(outputs, out, error))
        g_clear_pointer(&out, g_free);
    job_outputs_destroy(outputs);
    return out;
}

/* Leaves out every class that --only does not name. */
static bool apply_only(wsi_export_job *job, GError **error)
{
    if (!opt_only)
        return true;
    g_auto(GStrv) names = g_strsplit(opt_only, ",", -1);
    bool keep[QS_CLASSES_MAX] = {false};
    for (char **name = names; *name; name++) {
        int k = 0;
        while (k < job->classes.n &&
               g_ascii_strcasecmp(job->classes.items[k].name, g_strstrip(*name)))
            k++;
        if (k == job->classes.n) {
            g_autofree char *table = qs_classes_to_text(&job->classes);
            g_set_error(error, QS_ERROR, QS_ERROR_ARG, "--only: \"%s\" is no class of %s", *name,
                        table);
            return false;
        }
        keep[k] = true;
    }
    for (int k = 0; k < job->classes.n; k++)
        if (!keep[k])
            job->map[k] = 0;
    return true;
}

static bool make_job(wsi_export_job *job, const job_export_source *source, const char *title,
                     GError **error)
{
    wsi_export_job_init(job, &source->labels, &source->classes);
    if (wsi_exporter_find(opt_as)->keeps_ignore)
        job->map[QS_CLASS_IGNORE] = QS_CLASS_IGNORE;
    job->prob = opt_prob ? &source->prob : NULL;
    job->factor = source->factor;
    job->mpp_l0 = source->mpp_l0;
    job->canvas_w = source->canvas_w;
    job->canvas_h = source->canvas_h;
    job->min_area_um2 = opt_min_area;
    job->min_hole_um2 = opt_min_hole;
    job->slide = source->slide;
    job->picture_px = opt_picture_px;
    job->title = title;
    if (opt_bounds) {
        const wsi_slide_info *info = wsi_slide_get_info(source->slide);
        job->origin_x = info->bounds_x;
        job->origin_y = info->bounds_y;
        job->canvas_w = info->bounds_w;
        job->canvas_h = info->bounds_h;
        cli_print("coordinates are from %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT " of level 0\n",
                  info->bounds_x, info->bounds_y);
    }
    return apply_only(job, error) && wsi_export_job_check(job, error);
}

static void print_report(const wsi_exporter *exporter, const char *path, const wsi_export_job *job,
                         const wsi_export_report *r)
{
    GStatBuf st;
    g_autofree char *bytes = qs_format_bytes(g_stat(path, &st) == 0 ? (int64_t)st.st_size : 0);
    cli_print("%s: %s, %" G_GINT64_FORMAT " × %" G_GINT64_FORMAT " (slide / %d), %s\n", path,
              exporter->what, job->labels.w, job->labels.h, job->factor, bytes);
    if (r->peak_vertices)
        cli_print("%" G_GINT64_FORMAT " regions, %" G_GINT64_FORMAT " holes, %" G_GINT64_FORMAT
                  " vertices (at most %" G_GINT64_FORMAT " in memory)\n",
                  r->n_regions, r->n_holes, r->n_vertices, r->peak_vertices);
    if (r->n_dropped + r->n_filled)
        cli_print("left out %" G_GINT64_FORMAT " regions (%" G_GINT64_FORMAT
                  " pixels), filled %" G_GINT64_FORMAT " holes (%" G_GINT64_FORMAT " pixels)\n",
                  r->n_dropped, r->dropped_px, r->n_filled, r->filled_px);
    if (r->ignore_px)
        qs_warn("%s: %" G_GINT64_FORMAT
                " ignored pixels are background there: %s has no place for them; --as tiff "
                "keeps them as %d",
                path, r->ignore_px, exporter->what, QS_CLASS_IGNORE);
    if (job->map[QS_CLASS_IGNORE] && r->class_px[QS_CLASS_IGNORE])
        cli_print("  ignore: %" G_GINT64_FORMAT " mask pixels, kept as %d\n",
                  r->class_px[QS_CLASS_IGNORE], QS_CLASS_IGNORE);
    double mpp = job->mpp_l0 * job->factor;
    for (int k = 1; k < job->classes.n && strcmp(exporter->name, "png"); k++)
        if (r->class_px[k] && mpp > 0)
            cli_print("  %s: %.6g mm²\n", job->classes.items[k].name,
                      (double)r->class_px[k] * mpp * mpp * 1e-6);
        else if (r->class_px[k])
            cli_print("  %s: %" G_GINT64_FORMAT " mask pixels\n", job->classes.items[k].name,
                      r->class_px[k]);
}

/* Every rule by name, with its result. */
static bool print_findings(const GArray *findings)
{
    guint n_broken = 0;
    for (guint i = 0; i < findings->len; i++) {
        const wsi_export_finding *f = &g_array_index(findings, wsi_export_finding, i);
        n_broken += !f->ok;
        cli_print("  %s  %s%s%s%s\n", f->ok ? "ok    " : "BROKEN", f->rule,
                  f->detail && *f->detail ? " (" : "", f->detail ? f->detail : "",
                  f->detail && *f->detail ? ")" : "");
    }
    cli_print("read back: %u rules checked, %u broken\n", findings->len, n_broken);
    return n_broken == 0;
}

static int export_file(job_export_source *source, const char *mask, GError **error)
{
    const wsi_exporter *exporter = wsi_exporter_find(opt_as);
    g_autofree char *path = out_path(source, mask, exporter, error);
    g_autofree char *title = g_path_get_basename(mask);
    wsi_export_job job;
    wsi_export_report report = {0};
    if (!path || !make_job(&job, source, title, error))
        return CLI_FAILED;
    qs_file *lock = qs_output_lock(path, error); /* until it is read back */
    bool ok = lock && exporter->write(&job, path, cli_progress(), &report, error);
    cli_progress_end();
    if (ok)
        print_report(exporter, path, &job, &report);
    g_autoptr(GArray) findings = ok ? wsi_export_check(exporter, &job, path, &report, error) : NULL;
    qs_output_unlock(lock);
    if (!findings)
        return CLI_FAILED;
    ok = print_findings(findings);
    cli_log_json("export", "\"format\":\"%s\",\"regions\":%" G_GINT64_FORMAT ",\"in_order\":%s",
                 exporter->name, report.n_regions, ok ? "true" : "false");
    return ok ? CLI_DONE : CLI_FAILED;
}

static int run_export(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_export, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status == -1 ? CLI_DONE : status;
    GError *error = NULL;
    if (!parse_arguments(rest, &error))
        return cli_fail(error);
    export_options options = {.path = rest[0],
                              .slide = opt_slide,
                              .prob = opt_prob,
                              .classes = opt_classes,
                              .labels = opt_labels,
                              .factor = opt_factor,
                              .mpp = opt_mpp,
                              .label_order = opt_label_order && !strcmp(opt_label_order, "map")};
    job_export_source source;
    if (!job_export_source_open(&source, &options, &error))
        return cli_fail(error);
    status = export_file(&source, rest[0], &error);
    job_export_source_close(&source);
    return error ? cli_fail(error) : status;
}

const cli_command cli_cmd_export = {
    .name = "export",
    .arguments = "MASK --as tiff|ome|geojson|asap|png [--out FILE]",
    .summary = "masks and annotations into files for viewers, checked",
    .run = run_export,
};
