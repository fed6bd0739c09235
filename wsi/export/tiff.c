/* Profile `tiff`: a label mask that OpenSlide, ASAP, QuPath (Bio-Formats) and libvips all open,
 * written by wsi/tiff/pyramid.h. What each of them asks is in the rules below. */
#include "wsi/export/export_priv.h"

#include "wsi/export/tiff_check_priv.h"
#include "wsi/tiff/pyramid.h"

#include <math.h>
#include <string.h>

enum { TILE_PX = 512, MIN_LEVEL_PX = 1024 };

/* 512, or what the smallest level still fills: see wsi_tiffw_fit_tile. */
static int tile_side(const wsi_export_job *job)
{
    return wsi_tiffw_fit_tile(job->labels.w, job->labels.h, MIN_LEVEL_PX, TILE_PX);
}

static char *describe(const wsi_export_job *job)
{
    g_autofree char *classes = qs_classes_to_text(&job->classes);
    char *text = g_strdup_printf("quadslide label mask; slide level 0 divided by %d; classes %s",
                                 job->factor, classes);
    for (char *p = text; *p; p++) /* the tag is ASCII */
        *p = (unsigned char)*p < 127 ? *p : '?';
    if (strstr(text, "xml") || strstr(text, "XML") || strstr(text, "DICOM")) {
        g_free(text);
        text = g_strdup_printf("quadslide label mask; slide level 0 divided by %d", job->factor);
    }
    return text;
}

static bool write_tiff(const wsi_export_job *job, const char *path, const qs_progress *progress,
                       wsi_export_report *report, GError **error)
{
    g_autofree char *description = describe(job);
    wsi_tiffw_options options = {.profile = WSI_TIFFW_MASK,
                                 .w = job->labels.w,
                                 .h = job->labels.h,
                                 .mpp = job->mpp_l0 * job->factor,
                                 .tile_px = tile_side(job),
                                 .min_level_px = MIN_LEVEL_PX,
                                 .max_label = job->classes.n - 1,
                                 .description = description};
    wsi_tiffw *writer = wsi_tiffw_open(path, &options, error);
    if (!writer)
        return false;
    size_t w = (size_t)job->labels.w;
    g_autofree uint8_t *rows = g_malloc(w * WSI_EXPORT_ROWS);
    for (int64_t y = 0; y < job->labels.h; y += WSI_EXPORT_ROWS) {
        int n = (int)MIN(WSI_EXPORT_ROWS, job->labels.h - y);
        if (!qs_stop_check(error) || !wsi_export_read(job, y, n, rows, error) ||
            !wsi_tiffw_write_rows(writer, rows, w, n, error)) {
            wsi_tiffw_abort(writer);
            return false;
        }
        for (size_t i = 0; i < w * (size_t)n; i++)
            report->class_px[rows[i]]++;
        qs_progress_update(progress, "write", y + n, job->labels.h, NULL);
    }
    return wsi_tiffw_finish(writer, error);
}

/* ---- what readers ask ------------------------------------------------------------------------ */
static bool all(const wsi_tiff_look *look, bool (*holds)(const wsi_tiff_dir *))
{
    for (int i = 0; i < look->n_dirs; i++)
        if (!holds(&look->dirs[i]))
            return false;
    return true;
}

static bool is_tiled(const wsi_tiff_dir *d)
{
    return d->tile_w >= 16 && d->tile_w <= TILE_PX && d->tile_h == d->tile_w;
}

static bool fills_a_tile(const wsi_tiff_dir *d)
{
    return d->tile_w <= MAX(d->w, 16) && d->tile_h <= MAX(d->h, 16);
}

static bool is_grey8(const wsi_tiff_dir *d)
{
    return d->bits == 8 && d->samples == 1 && d->format == 1 && d->planar == 1 &&
           d->photometric == WSI_TIFF_MINISBLACK;
}

static bool is_lzw(const wsi_tiff_dir *d)
{
    return d->compression == WSI_TIFF_LZW;
}

static bool halves(const wsi_tiff_look *look)
{
    for (int i = 1; i < look->n_dirs; i++)
        if (look->dirs[i].w != MAX(1, look->dirs[i - 1].w / 2) ||
            look->dirs[i].h != MAX(1, look->dirs[i - 1].h / 2))
            return false;
    return look->n_dirs >= 2;
}

static bool subfile_types(const wsi_tiff_look *look)
{
    for (int i = 0; i < look->n_dirs; i++)
        if (look->dirs[i].subfile != (i > 0))
            return false;
    return true;
}

static bool resolution(const wsi_export_job *job, const wsi_tiff_look *look)
{
    double mpp = job->mpp_l0 * job->factor;
    for (int i = 0; i < look->n_dirs; i++, mpp *= 2) {
        const wsi_tiff_dir *d = &look->dirs[i];
        if (!(mpp > 0) ? d->unit != 0
                       : d->unit != WSI_TIFF_CM || !(fabs(d->per_unit * mpp / 10000 - 1) < 1e-5))
            return false;
    }
    return true;
}

static bool check_tiff(const wsi_export_job *job, const char *path, const wsi_export_report *report,
                       GArray *findings, GError **error)
{
    wsi_tiff_look look;
    int64_t n_different;
    (void)report;
    if (!wsi_tiff_look_read(path, &look, error) ||
        !wsi_tiff_compare(job, path, &n_different, error))
        return false;
    const wsi_tiff_dir *first = &look.dirs[0];
    const char *text = look.description ? look.description : "";
    bool plain = !strstr(text, "xml") && !strstr(text, "XML") && !strstr(text, "DICOM");
    wsi_export_find(findings, "square tiles of at most 512 in every directory (ASAP, OpenSlide)",
                    all(&look, is_tiled), "%d pixels, %d directories", first->tile_w, look.n_dirs);
    wsi_export_find(findings, "no level is smaller than a tile (OpenSlide 3.4)",
                    all(&look, fills_a_tile), "%s", "");
    wsi_export_find(
        findings,
        "a chain of at least two levels, each floor(previous / 2), no SubIFDs (OpenSlide, "
        "Bio-Formats, ASAP)",
        halves(&look) && look.n_sub == 0, "%d levels", look.n_dirs);
    wsi_export_find(findings, "NewSubfileType 0, then 1 (OpenSlide)", subfile_types(&look), "%s",
                    "");
    wsi_export_find(findings, "8-bit unsigned, one sample, MINISBLACK (ASAP)", all(&look, is_grey8),
                    "%s", "");
    wsi_export_find(findings, "LZW (ASAP)", all(&look, is_lzw), "compression %d",
                    first->compression);
    wsi_export_find(findings, "resolution per cm, on every level (QuPath, ASAP)",
                    resolution(job, &look), "%.6g per cm", first->per_unit);
    wsi_export_find(findings, "SMin/SMaxSampleValue 0 and the largest label (ASAP)",
                    first->smin == 0 && first->smax == job->classes.n - 1, "%g, %g", first->smin,
                    first->smax);
    wsi_export_find(findings, "ImageDescription without xml or DICOM (ASAP)", plain, "%s", "");
    wsi_export_find(findings, "classic TIFF up to 3.5 GB, BigTIFF above", true,
                    look.big ? "BigTIFF" : "classic");
    wsi_export_find(findings, "level 0 gives the mask, pixel for pixel", n_different == 0,
                    "%" G_GINT64_FORMAT " pixels differ", n_different);
    wsi_tiff_look_clear(&look);
    return true;
}

const wsi_exporter wsi_export_tiff = {"tiff", ".tif",     "pyramidal label mask (profile tiff)",
                                      true,   write_tiff, check_tiff};
