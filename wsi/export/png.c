/* An overlay picture: the slide's thumbnail (or a white sheet without a slide) under the classes,
 * each filled lightly with its colour and outlined with it. For people, and for a look at an
 * import. */
#include "wsi/export/export_priv.h"

#include "wsi/image/picture.h"
#include "wsi/image/sniff.h"

#include <math.h>
#include <string.h>

enum { FILL_PERCENT = 35 };

typedef struct {
    int w, h;
    double scale_x, scale_y; /* mask pixels per picture pixel */
    uint8_t *label, *rgb;
} sheet;

/* The label under the middle of every pixel of the picture. */
static bool read_labels(const wsi_export_job *job, sheet *s, wsi_export_report *report,
                        GError **error)
{
    g_autofree uint8_t *row = g_malloc((size_t)job->labels.w);
    int64_t have = -1;
    for (int y = 0; y < s->h; y++) {
        int64_t my = MIN((int64_t)((y + 0.5) * s->scale_y), job->labels.h - 1);
        if (!qs_stop_check(error) || (my != have && !wsi_export_read(job, my, 1, row, error)))
            return false;
        have = my;
        for (int x = 0; x < s->w; x++) {
            int64_t mx = MIN((int64_t)((x + 0.5) * s->scale_x), job->labels.w - 1);
            s->label[(size_t)y * (size_t)s->w + (size_t)x] = row[mx];
            report->class_px[row[mx]]++;
        }
    }
    return true;
}

static bool on_outline(const sheet *s, int x, int y)
{
    const uint8_t *l = s->label + (size_t)y * (size_t)s->w + (size_t)x;
    return (x > 0 && l[-1] != *l) || (x + 1 < s->w && l[1] != *l) || (y > 0 && l[-s->w] != *l) ||
           (y + 1 < s->h && l[s->w] != *l);
}

static void paint(const wsi_export_job *job, sheet *s)
{
    for (int y = 0; y < s->h; y++)
        for (int x = 0; x < s->w; x++) {
            size_t i = (size_t)y * (size_t)s->w + (size_t)x;
            if (s->label[i] == 0)
                continue;
            const uint8_t *colour = job->classes.items[s->label[i]].rgb;
            int percent = on_outline(s, x, y) ? 100 : FILL_PERCENT;
            for (int c = 0; c < 3; c++)
                s->rgb[3 * i + (size_t)c] = (uint8_t)((s->rgb[3 * i + (size_t)c] * (100 - percent) +
                                                       colour[c] * percent + 50) /
                                                      100);
        }
}

static bool write_png(const wsi_export_job *job, const char *path, const qs_progress *progress,
                      wsi_export_report *report, GError **error)
{
    double w_l0 = (double)job->labels.w * job->factor, h_l0 = (double)job->labels.h * job->factor;
    double downsample = MAX(1.0, MAX(w_l0, h_l0) / job->picture_px);
    wsi_view view = {.w = MAX(1, (int64_t)(w_l0 / downsample)),
                     .h = MAX(1, (int64_t)(h_l0 / downsample)),
                     .downsample = downsample};
    if (job->slide && !wsi_view_init_fit(&view, job->slide, job->picture_px, error))
        return false;
    double scale = view.downsample / job->factor;
    sheet s = {(int)view.w, (int)view.h, scale, scale, NULL, NULL};
    size_t n = (size_t)s.w * (size_t)s.h;
    s.label = g_malloc(n);
    s.rgb = g_malloc(3 * n);
    memset(s.rgb, 255, 3 * n);
    qs_progress_update(progress, "draw", 0, 1, NULL);
    bool ok =
        (!job->slide || wsi_view_read(&view, 0, 0, s.w, s.h, s.rgb, 3 * (size_t)s.w, error)) &&
        read_labels(job, &s, report, error);
    if (ok)
        paint(job, &s);
    ok = ok && wsi_picture_write_png(path, s.rgb, s.w, s.h, error);
    g_free(s.label);
    g_free(s.rgb);
    return ok;
}

static bool check_png(const wsi_export_job *job, const char *path, const wsi_export_report *report,
                      GArray *findings, GError **error)
{
    wsi_file_type type;
    int64_t n_bytes, n_px = 0;
    if (!wsi_sniff(path, &type, &n_bytes, error))
        return false;
    for (int i = 1; i < job->classes.n; i++)
        n_px += report->class_px[i];
    wsi_export_find(findings, "a PNG", type == WSI_FILE_PNG,
                    "%" G_GINT64_FORMAT " bytes, %" G_GINT64_FORMAT " pixels with a class", n_bytes,
                    n_px);
    return true;
}

const wsi_exporter wsi_export_png = {"png", ".png", "overlay picture", false, write_png, check_png};
