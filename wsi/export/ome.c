/* Profile `ome`: OME-TIFF 6 for QuPath, napari and Bio-Formats. BigTIFF, OME-XML in the first
 * directory's ImageDescription, reduced levels as its SubIFDs, tiles of 512, LZW. (ASAP refuses it,
 * OpenSlide shows one level: profile `tiff` is for them.)
 *
 * Labels can be read any number of times, so each level is made from level 0 when its turn comes:
 * the label under the middle of each of its pixels. Memory is one row of tiles. */
#include "wsi/export/export_priv.h"

#include "base/error.h"
#include "wsi/export/tiff_check_priv.h"
#include "wsi/tiff/io.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { TILE_PX = 512, MIN_LEVEL_PX = 1024, LEVELS_MAX = 24 };

typedef struct {
    const wsi_export_job *job;
    wsi_tiff_io io;
    int n_levels;
    uint8_t *band, *tile, *source;
    const qs_progress *progress;
    wsi_export_report *report;
} ome_writer;

static int64_t level_side(int64_t side, int level)
{
    for (; level > 0; level--)
        side = MAX(1, side / 2);
    return side;
}

static int count_levels(const wsi_export_job *job)
{
    int n = 1;
    while (n < LEVELS_MAX &&
           MAX(level_side(job->labels.w, n - 1), level_side(job->labels.h, n - 1)) > MIN_LEVEL_PX)
        n++;
    return n;
}

static void append_attribute(GString *text, const char *name, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);
    g_autofree char *escaped = g_markup_escape_text(valid, -1);
    g_string_append_printf(text, " %s=\"%s\"", name, escaped);
}

/* The tag is ASCII; what is not is written as a character reference. */
static char *make_xml(const wsi_export_job *job)
{
    double mpp = job->mpp_l0 * job->factor;
    char digits[G_ASCII_DTOSTR_BUF_SIZE];
    g_autofree char *classes = qs_classes_to_text(&job->classes);
    g_autoptr(GString) text = g_string_new(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><OME "
        "xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\" "
        "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
        "xsi:schemaLocation=\"http://www.openmicroscopy.org/"
        "Schemas/OME/2016-06 http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd\"><Image "
        "ID=\"Image:0\"");
    append_attribute(text, "Name", job->title ? job->title : "labels");
    g_string_append(text, "><Description>");
    g_autofree char *escaped = g_markup_escape_text(classes, -1);
    g_string_append_printf(text, "slide level 0 divided by %d; classes %s</Description>",
                           job->factor, escaped);
    g_string_append_printf(
        text,
        "<Pixels ID=\"Pixels:0\" DimensionOrder=\"XYCZT\" Type=\"uint8\" SizeX=\"%" G_GINT64_FORMAT
        "\" SizeY=\"%" G_GINT64_FORMAT "\" SizeC=\"1\" SizeZ=\"1\" SizeT=\"1\"",
        job->labels.w, job->labels.h);
    if (mpp > 0) { /* the unit is µm where none is said */
        g_ascii_formatd(digits, sizeof digits, "%.9g", mpp);
        g_string_append_printf(text, " PhysicalSizeX=\"%s\" PhysicalSizeY=\"%s\"", digits, digits);
    }
    g_string_append(text, "><Channel ID=\"Channel:0:0\" Name=\"label\" SamplesPerPixel=\"1\"/>"
                          "<TiffData IFD=\"0\" PlaneCount=\"1\"/></Pixels></Image></OME>");
    g_autoptr(GString) ascii = g_string_sized_new(text->len);
    for (char *p = text->str; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (c < 128)
            g_string_append_c(ascii, (char)c);
        else
            g_string_append_printf(ascii, "&#%u;", (unsigned)c);
    }
    return g_strdup(ascii->str);
}

static bool set_tags(ome_writer *w, int level)
{
    TIFF *tif = w->io.tif;
    const wsi_labels *l = &w->job->labels;
    bool ok = TIFFSetField(tif, TIFFTAG_SUBFILETYPE, level > 0 ? FILETYPE_REDUCEDIMAGE : 0) &&
              TIFFSetField(tif, TIFFTAG_IMAGEWIDTH, (uint32_t)level_side(l->w, level)) &&
              TIFFSetField(tif, TIFFTAG_IMAGELENGTH, (uint32_t)level_side(l->h, level)) &&
              TIFFSetField(tif, TIFFTAG_BITSPERSAMPLE, 8) &&
              TIFFSetField(tif, TIFFTAG_SAMPLESPERPIXEL, 1) &&
              TIFFSetField(tif, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT) &&
              TIFFSetField(tif, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) &&
              TIFFSetField(tif, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK) &&
              TIFFSetField(tif, TIFFTAG_COMPRESSION, COMPRESSION_LZW) &&
              TIFFSetField(tif, TIFFTAG_TILEWIDTH, TILE_PX) &&
              TIFFSetField(tif, TIFFTAG_TILELENGTH, TILE_PX);
    double mpp = w->job->mpp_l0 * w->job->factor * pow(2, level);
    if (ok && mpp > 0)
        ok = TIFFSetField(tif, TIFFTAG_RESOLUTIONUNIT, RESUNIT_CENTIMETER) &&
             TIFFSetField(tif, TIFFTAG_XRESOLUTION, 10000 / mpp) &&
             TIFFSetField(tif, TIFFTAG_YRESOLUTION, 10000 / mpp);
    if (ok && level == 0) {
        uint64_t offsets[LEVELS_MAX] = {0};
        g_autofree char *xml = make_xml(w->job);
        ok = TIFFSetField(tif, TIFFTAG_IMAGEDESCRIPTION, xml) &&
             TIFFSetField(tif, TIFFTAG_SOFTWARE, QS_FILE_MARK) &&
             (w->n_levels == 1 || TIFFSetField(tif, TIFFTAG_SUBIFD, w->n_levels - 1, offsets));
    }
    return ok;
}

/* n rows of a level from its row y: the label under each pixel's middle. */
static bool read_level(ome_writer *w, int level, int64_t y, int n, GError **error)
{
    const wsi_labels *l = &w->job->labels;
    if (level == 0)
        return wsi_export_read(w->job, y, n, w->band, error);
    int64_t step = (int64_t)1 << level, lw = level_side(l->w, level);
    for (int r = 0; r < n; r++) {
        int64_t sy = MIN((y + r) * step + step / 2, l->h - 1);
        if (!wsi_export_read(w->job, sy, 1, w->source, error))
            return false;
        for (int64_t x = 0; x < lw; x++)
            w->band[(int64_t)r * lw + x] = w->source[MIN(x * step + step / 2, l->w - 1)];
    }
    return true;
}

static bool write_level(ome_writer *w, int level, GError **error)
{
    const wsi_labels *l = &w->job->labels;
    int64_t lw = level_side(l->w, level), lh = level_side(l->h, level);
    uint32_t number = 0;
    if (!set_tags(w, level)) {
        wsi_tiff_io_fail(&w->io, "TIFFSetField", error);
        return false;
    }
    for (int64_t y = 0; y < lh; y += TILE_PX) {
        int n = (int)MIN(TILE_PX, lh - y);
        if (!qs_stop_check(error) || !read_level(w, level, y, n, error))
            return false;
        for (int64_t i = 0; level == 0 && i < lw * n; i++)
            w->report->class_px[w->band[i]]++;
        for (int64_t x = 0; x < lw; x += TILE_PX) {
            size_t bytes = (size_t)MIN(TILE_PX, lw - x);
            memset(w->tile, 0, (size_t)TILE_PX * TILE_PX);
            for (int r = 0; r < n; r++)
                memcpy(w->tile + (size_t)r * TILE_PX, w->band + (int64_t)r * lw + x, bytes);
            if (TIFFWriteEncodedTile(w->io.tif, number++, w->tile, (tmsize_t)TILE_PX * TILE_PX) <
                0) {
                wsi_tiff_io_fail(&w->io, "TIFFWriteEncodedTile", error);
                return false;
            }
        }
        qs_progress_update(w->progress, "write", level == 0 ? y + n : l->h, l->h, NULL);
    }
    if (TIFFWriteDirectory(w->io.tif))
        return true;
    wsi_tiff_io_fail(&w->io, "TIFFWriteDirectory", error);
    return false;
}

static bool write_ome(const wsi_export_job *job, const char *path, const qs_progress *progress,
                      wsi_export_report *report, GError **error)
{
    ome_writer w = {
        .job = job, .n_levels = count_levels(job), .progress = progress, .report = report};
    g_autofree char *part = qs_file_part_name(path);
    if (!wsi_tiff_io_create(&w.io, part, true, error)) {
        unlink(part);
        return false;
    }
    w.band = g_malloc((size_t)job->labels.w * TILE_PX);
    w.source = g_malloc((size_t)job->labels.w);
    w.tile = g_malloc((size_t)TILE_PX * TILE_PX);
    bool ok = true;
    for (int level = 0; ok && level < w.n_levels; level++)
        ok = write_level(&w, level, error);
    ok = wsi_tiff_io_close(&w.io, ok, ok ? error : NULL) && ok;
    ok = ok && qs_file_rename(part, path, error);
    if (!ok)
        unlink(part);
    g_free(w.band);
    g_free(w.source);
    g_free(w.tile);
    return ok;
}

/* ---- what readers ask ------------------------------------------------------------------------ */
static bool has_attribute(const char *xml, const char *format, ...) G_GNUC_PRINTF(2, 3);
static bool has_attribute(const char *xml, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *wanted = g_strdup_vprintf(format, args);
    va_end(args);
    return xml && strstr(xml, wanted);
}

static bool is_right(const wsi_tiff_dir *d, int64_t w, int64_t h, int subfile)
{
    return d->w == w && d->h == h && d->tile_w == TILE_PX && d->tile_h == TILE_PX && d->bits == 8 &&
           d->samples == 1 && d->photometric == WSI_TIFF_MINISBLACK &&
           d->compression == WSI_TIFF_LZW && d->subfile == subfile;
}

static bool check_ome(const wsi_export_job *job, const char *path, const wsi_export_report *report,
                      GArray *findings, GError **error)
{
    wsi_tiff_look look;
    int64_t n_different, w = job->labels.w, h = job->labels.h;
    (void)report;
    if (!wsi_tiff_look_read(path, &look, error) ||
        !wsi_tiff_compare(job, path, &n_different, error))
        return false;
    const char *xml = look.description;
    bool levels = look.n_sub == count_levels(job) - 1;
    for (int i = 0; i < look.n_sub; i++)
        levels &= is_right(&look.sub[i], level_side(w, i + 1), level_side(h, i + 1), 1);
    wsi_export_find(findings, "BigTIFF", look.big, "%s", "");
    wsi_export_find(findings, "one directory in the chain, tiles of 512 x 512, 8-bit grey, LZW",
                    look.n_dirs == 1 && is_right(&look.dirs[0], w, h, 0), "%d directories",
                    look.n_dirs);
    wsi_export_find(findings, "reduced levels are SubIFDs, each floor(previous / 2)", levels,
                    "%d SubIFDs", look.n_sub);
    wsi_export_find(findings, "ImageDescription is OME-XML with the sizes (Bio-Formats)",
                    xml && g_str_has_prefix(xml, "<?xml") && g_str_has_suffix(xml, "</OME>") &&
                        has_attribute(xml, "SizeX=\"%" G_GINT64_FORMAT "\"", w) &&
                        has_attribute(xml, "SizeY=\"%" G_GINT64_FORMAT "\"", h),
                    "%s", "");
    wsi_export_find(findings, "PhysicalSizeX and Y in um, when the resolution is known (QuPath)",
                    has_attribute(xml, "PhysicalSizeX=") == (job->mpp_l0 > 0), "%.6g",
                    job->mpp_l0 * job->factor);
    wsi_export_find(findings, "level 0 gives the mask, pixel for pixel", n_different == 0,
                    "%" G_GINT64_FORMAT " pixels differ", n_different);
    wsi_tiff_look_clear(&look);
    return true;
}

const wsi_exporter wsi_export_ome = {"ome", ".ome.tif", "OME-TIFF", true, write_ome, check_ome};
