/* Opening a slide: what is it, is it whole, who reads it, how large is a pixel. */
#include "wsi/slide/driver.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

enum { MPP_MIN_THOUSANDTHS = 50, MPP_MAX = 20 }; /* 0.05 to 20 µm: what a slide's pixel can be */
static const double SAME_MPP = 0.02;

const char *wsi_mpp_origin_name(wsi_mpp_origin origin)
{
    static const char *const names[] = {
        [WSI_MPP_UNKNOWN] = "unknown",
        [WSI_MPP_METADATA] = "metadata",
        [WSI_MPP_TIFF_TAGS] = "TIFF resolution tags",
        [WSI_MPP_OVERRIDE] = "override",
    };
    return names[origin];
}

static const char *const reader_names[] = {"auto", "openslide", "direct"};

const char *wsi_reader_name(wsi_reader reader)
{
    return reader_names[reader];
}

bool wsi_reader_parse(const char *name, wsi_reader *reader)
{
    for (size_t i = 0; i < G_N_ELEMENTS(reader_names); i++)
        if (!strcmp(name, reader_names[i])) {
            *reader = (wsi_reader)i;
            return true;
        }
    return false;
}

typedef struct {
    void *p[WSI_SCRATCH_SLOTS];
    size_t n[WSI_SCRATCH_SLOTS];
} scratch;

static void scratch_free(gpointer data)
{
    scratch *all = data;
    for (int i = 0; i < WSI_SCRATCH_SLOTS; i++)
        g_free(all->p[i]);
    g_free(all);
}

void *wsi_scratch(int slot, size_t n)
{
    static GPrivate key = G_PRIVATE_INIT(scratch_free);
    scratch *all = g_private_get(&key);
    if (!all) {
        all = g_new0(scratch, 1);
        g_private_set(&key, all);
    }
    if (all->n[slot] < n) {
        g_free(all->p[slot]);
        all->p[slot] = g_malloc(n);
        all->n[slot] = n;
    }
    return all->p[slot];
}

bool wsi_mpp_plausible(double mpp_x, double mpp_y)
{
    if (!(mpp_x >= MPP_MIN_THOUSANDTHS * 1e-3) || !(mpp_x <= MPP_MAX))
        return false;
    return fabs(mpp_y / mpp_x - 1) <= SAME_MPP;
}

/* Sets mpp from what the driver found, the TIFF's tags or the override, in rising order of right.
 */
static void settle_mpp(wsi_slide *slide, const wsi_probe *probe, double override)
{
    wsi_slide_info *info = &slide->info;
    double x = probe->tiff.mpp_x, y = probe->tiff.mpp_y;
    if (!info->mpp_said && probe->type == WSI_FILE_TIFF && x > 0 && y > 0) {
        info->mpp_said = true;
        info->mpp_said_x = x;
        info->mpp_said_y = y;
    }
    if (!(info->mpp > 0) && probe->type == WSI_FILE_TIFF && wsi_mpp_plausible(x, y)) {
        info->mpp = (x + y) / 2;
        info->mpp_origin = WSI_MPP_TIFF_TAGS;
    }
    if (!(override > 0))
        return;
    if (info->mpp > 0 && fabs(override / info->mpp - 1) > SAME_MPP)
        qs_warn("%s: the given %.4g µm per pixel is used, though the file says %.4g (%s)",
                info->path, override, info->mpp, wsi_mpp_origin_name(info->mpp_origin));
    info->mpp = override;
    info->mpp_origin = WSI_MPP_OVERRIDE;
}

/* Limits that every driver's answer must keep, so that later arithmetic cannot overflow. */
static bool check_levels(const wsi_slide_info *info, GError **error)
{
    const int64_t side_max = (int64_t)1 << 30;
    for (int i = 0; i < info->n_levels; i++) {
        const wsi_level *level = &info->levels[i];
        if (level->w < 1 || level->h < 1 || level->w > side_max || level->h > side_max ||
            !(level->downsample >= 1) || !isfinite(level->downsample)) {
            g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                        "%s: level %d says %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
                        " pixels at downsample %g, which cannot be",
                        info->path, i, level->w, level->h, level->downsample);
            return false;
        }
    }
    return true;
}

static bool refuse(const wsi_probe *probe, GError **error)
{
    const char *way_out = "";
    if (probe->type == WSI_FILE_DICOM)
        way_out = "; the OpenSlide installed here reads no DICOM, convert it to TIFF";
    else if (probe->type == WSI_FILE_JPEG2000)
        way_out = "; convert it to TIFF";
    else if (probe->type == WSI_FILE_TEXT)
        way_out = g_str_has_suffix(probe->path, ".vms") || g_str_has_suffix(probe->path, ".vmu")
                      ? "; of a Hamamatsu index the pictures that it names belong beside it"
                      : "; was an error page or a pointer file downloaded in its place?";
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED, "%s: is no slide or image but %s%s",
                probe->path, wsi_file_type_name(probe->type), way_out);
    return false;
}

/* Files that name or show a slide whose pixels lie in others. Alone they are read as what they look
 * like: a MIRAX face as a JPEG, an Olympus index as its overview. */
static bool check_companions(const wsi_probe *probe, GError **error)
{
    g_autofree char *lower = g_ascii_strdown(probe->path, -1);
    const char *dot = strrchr(lower, '.');
    if (dot && !strcmp(dot, ".mrxs")) {
        g_autofree char *folder = g_strndup(probe->path, (gsize)(dot - lower));
        g_autofree char *index = g_build_filename(folder, "Slidedat.ini", NULL);
        if (g_file_test(index, G_FILE_TEST_IS_REGULAR))
            return true;
        g_set_error(
            error, QS_ERROR, QS_ERROR_UNSUPPORTED,
            "%s: a MIRAX slide whose folder is missing: %s is not there; copy the folder too, beside the "
            "file and under its name",
            probe->path, index);
        return false;
    }
    if (dot && !strcmp(dot, ".vsi")) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_UNSUPPORTED,
            "%s: an Olympus .vsi holds an overview alone, the slide lies in .ets files that are not read here; "
            "convert it to OME-TIFF or another pyramidal TIFF",
            probe->path);
        return false;
    }
    return true;
}

static bool open_with_driver(wsi_slide *slide, const wsi_probe *probe, GError **error)
{
    if (!check_companions(probe, error))
        return false;
    for (const wsi_driver *const *d = wsi_drivers; *d; d++)
        if ((*d)->takes(probe)) {
            slide->info.driver = slide->info.lane = (*d)->name;
            if (!(*d)->open(slide, probe, error))
                return false;
            slide->driver = *d;
            return check_levels(&slide->info, error);
        }
    return refuse(probe, error);
}

wsi_slide *wsi_slide_open(const char *path, double mpp_override, GError **error)
{
    return wsi_slide_open_by(path, mpp_override, WSI_READER_AUTO, error);
}

wsi_slide *wsi_slide_open_by(const char *path, double mpp_override, wsi_reader reader,
                             GError **error)
{
    if (!isfinite(mpp_override)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: %g µm per pixel cannot be", path,
                    mpp_override);
        return NULL;
    }
    wsi_probe probe = {.path = path, .reader = reader};
    if (!wsi_sniff(path, &probe.type, &probe.n_bytes, error))
        return NULL;
    if (probe.type == WSI_FILE_TIFF && !wsi_tiff_probe(path, probe.n_bytes, &probe.tiff, error))
        return NULL;
    wsi_slide *slide = g_new0(wsi_slide, 1);
    slide->info.path = g_strdup(path);
    memset(slide->info.background, 255, 3);
    if (!open_with_driver(slide, &probe, error)) {
        wsi_slide_close(slide);
        return NULL;
    }
    if (slide->info.bounds_w <= 0 || slide->info.bounds_h <= 0) {
        slide->info.bounds_x = slide->info.bounds_y = 0;
        slide->info.bounds_w = slide->info.levels[0].w;
        slide->info.bounds_h = slide->info.levels[0].h;
    }
    settle_mpp(slide, &probe, mpp_override);
    return slide;
}

void wsi_slide_close(wsi_slide *slide)
{
    if (!slide)
        return;
    if (slide->driver)
        slide->driver->close(slide);
    g_free(slide->info.path);
    g_free(slide->info.vendor);
    g_free(slide->info.lane_why);
    g_free(slide->info.levels_why);
    g_free(slide);
}

const wsi_slide_info *wsi_slide_get_info(const wsi_slide *slide)
{
    return &slide->info;
}

int64_t wsi_slide_temp_bytes(const wsi_slide *slide)
{
    return slide->driver->temp_bytes ? slide->driver->temp_bytes(slide) : 0;
}

int64_t wsi_slide_memory(const wsi_slide *slide, int n_threads)
{
    return slide->driver->memory(slide, n_threads);
}

bool wsi_slide_read(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w_lv, int h_lv,
                    uint8_t *rgb, size_t row_bytes, GError **error)
{
    g_assert(level >= 0 && level < slide->info.n_levels && w_lv > 0 && h_lv > 0);
    return slide->driver->read(slide, level, x_l0, y_l0, w_lv, h_lv, rgb, row_bytes, error);
}

void wsi_tile_copy_clear(wsi_tile_copy *copy)
{
    g_free(copy->jpeg);
    g_free(copy->eighth);
    *copy = (wsi_tile_copy){0};
}
