/* See mask.h. An annotation file is a wsi_annot; the rest of this file is images. One is read once
 * from the top and kept run-length coded in memory: label masks are long runs, so a mask of 100,000
 * × 80,000 pixels takes megabytes, needs no temporary file, and is read anywhere by any thread. The
 * worst that noise can do is two bytes a pixel.
 *
 * A row's code is a list of (label, length) with the length in base 128, low digits first. */
#include "wsi/annot/mask.h"

#include "base/error.h"
#include "wsi/annot/annot_priv.h"
#include "wsi/image/stored.h"
#include "wsi/tiff/probe.h"

#include <glib/gstdio.h>

#include <math.h>
#include <string.h>

enum {
    STRIP_ROWS = 64,
    JPEG_THRESHOLD = 128,
    FACTOR_MAX = 256,
    /* "[1,2]," is the shortest point: 6 bytes; a point takes 16, twice while its array grows, and
     * its share of runs and index. */
    ANNOT_BYTES_PER_BYTE = 7,
};
static const double AREA_SLACK = 1e-6; /* sums of areas are that close to the truth, or closer */

struct wsi_mask {
    wsi_mask_info info;
    int64_t slide_w, slide_h;
    bool ours;        /* its file says that it is a label mask of ours: 255 is ignore */
    wsi_annot *annot; /* an annotation file; then nothing below is used */
    uint8_t *code;    /* all rows */
    size_t n_code, code_capacity;
    uint64_t *row_start; /* (h) */
    uint8_t lossy_max; /* a JPEG's largest value, and its pixels above 0 and below the threshold */
    int64_t n_faint;
};

/* ---- coding ---- */
static void put_run(wsi_mask *mask, uint8_t label, uint64_t length)
{
    if (mask->n_code + 11 > mask->code_capacity) {
        mask->code_capacity = MAX(mask->code_capacity * 2, (size_t)1 << 16);
        mask->code = g_realloc(mask->code, mask->code_capacity);
    }
    mask->code[mask->n_code++] = label;
    for (; length >= 128; length >>= 7)
        mask->code[mask->n_code++] = (uint8_t)(length | 128);
    mask->code[mask->n_code++] = (uint8_t)length;
}

static void put_row(wsi_mask *mask, int64_t y, const uint8_t *labels)
{
    mask->row_start[y] = mask->n_code;
    for (int64_t x = 0, end; x < mask->info.w; x = end) {
        for (end = x + 1; end < mask->info.w && labels[end] == labels[x];)
            end++;
        put_run(mask, labels[x], (uint64_t)(end - x));
        mask->info.counts[labels[x]] += end - x;
    }
}

typedef struct {
    const uint8_t *code;
    uint8_t label;
    int64_t end; /* of the current run, exclusive */
} run_reader;

static void next_run(run_reader *run)
{
    run->label = *run->code++;
    int64_t length = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t digit = *run->code++;
        length |= (int64_t)(digit & 127) << shift;
        if (digit < 128)
            break;
    }
    run->end += length;
}

/* A raw value as a class: what the kinds differ in. */
static uint8_t to_class(const wsi_mask *mask, uint8_t value)
{
    return mask->info.kind == WSI_MASK_BINARY_255 ? value == 255 : value;
}

/* ---- opening ---- */
/* The factor k for which the mask is the slide divided by k, floor or ceil; 0 when there is none.
 */
static int find_factor(int64_t slide_w, int64_t slide_h, int64_t w, int64_t h)
{
    for (int64_t k = 1; k <= FACTOR_MAX; k++) {
        bool fits_w = w == slide_w / k || w == (slide_w + k - 1) / k;
        bool fits_h = h == slide_h / k || h == (slide_h + k - 1) / k;
        if (fits_w && fits_h)
            return (int)k;
    }
    return 0;
}

static bool check_size(wsi_mask *mask, const wsi_stored_info *raster, GError **error)
{
    wsi_mask_info *info = &mask->info;
    info->w = raster->w;
    info->h = raster->h;
    info->factor = find_factor(mask->slide_w, mask->slide_h, info->w, info->h);
    if (info->factor == 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                    "%s: the mask has %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
                    " pixels, the slide %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
                    "; it must be the same or that divided by a whole number up to %d",
                    info->path, info->w, info->h, mask->slide_w, mask->slide_h, FACTOR_MAX);
        return false;
    }
    if (info->factor > 1)
        qs_debug("%s: the mask is the slide divided by %d", info->path, info->factor);
    return true;
}

static bool is_jpeg(const wsi_mask *mask)
{
    return mask->info.kind == WSI_MASK_BINARY_JPEG;
}

/* Lossy masks: the class is 1 from JPEG_THRESHOLD on; what the values were is kept for the remark. */
static void binarise(wsi_mask *mask, uint8_t *labels)
{
    for (int64_t x = 0; x < mask->info.w; x++) {
        mask->lossy_max = MAX(mask->lossy_max, labels[x]);
        mask->n_faint += labels[x] > 0 && labels[x] < JPEG_THRESHOLD;
        labels[x] = labels[x] >= JPEG_THRESHOLD;
    }
}

static bool read_rows(wsi_mask *mask, wsi_stored *stored, GError **error)
{
    size_t w = (size_t)mask->info.w;
    uint8_t *strip = g_malloc(w * STRIP_ROWS);
    mask->row_start = g_new(uint64_t, (size_t)mask->info.h);
    bool ok = true;
    for (int64_t y = 0; ok && y < mask->info.h; y += STRIP_ROWS) {
        int n = (int)MIN(STRIP_ROWS, mask->info.h - y);
        ok = qs_stop_check(error) && wsi_stored_read_rows(stored, y, n, strip, error);
        for (int r = 0; ok && r < n; r++) {
            uint8_t *labels = strip + (size_t)r * w;
            if (is_jpeg(mask))
                binarise(mask, labels);
            put_row(mask, y + r, labels);
        }
    }
    g_free(strip);
    return ok;
}

/* What 255 is where no other value but 0 is there: with two classes it can only be the second. */
static bool settle_255(wsi_mask *mask, const qs_classes *classes, wsi_mask_255 meaning,
                       GError **error)
{
    wsi_mask_info *info = &mask->info;
    if (meaning == WSI_255_AUTO && mask->ours)
        meaning = WSI_255_IGNORE;
    if (meaning == WSI_255_AUTO && classes->n > 2) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_FORMAT,
            "%s: its values are 0 and 255 alone, and there are %d classes: 255 (on %" G_GINT64_FORMAT
            " pixels) may be class 1 or ignore; say --binary-255 or --ignore-255",
            info->path, classes->n, info->counts[255]);
        return false;
    }
    if (meaning == WSI_255_IGNORE)
        return true;
    info->kind = WSI_MASK_BINARY_255;
    qs_debug("%s: its values are 0 and 255 only, so it is a binary mask (255 is class 1)",
             info->path);
    return true;
}

static void settle_jpeg(const wsi_mask *mask)
{
    const wsi_mask_info *info = &mask->info;
    qs_debug("%s: JPEG mask, binarised at >= %d: %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
             " pixels are foreground",
             info->path, JPEG_THRESHOLD, info->counts[1], info->w * info->h);
    g_autofree char *remarks = wsi_mask_remarks(mask);
    if (remarks)
        qs_warn("%s: %s", info->path, remarks);
}

/* Binary or a label map, and does every label have a class. */
static bool settle_kind(wsi_mask *mask, const qs_classes *classes, wsi_mask_255 meaning,
                        GError **error)
{
    wsi_mask_info *info = &mask->info;
    if (is_jpeg(mask)) {
        settle_jpeg(mask);
        return true;
    }
    if (info->counts[255] > 0 && info->counts[0] + info->counts[255] == info->w * info->h)
        return settle_255(mask, classes, meaning, error);
    for (int v = classes->n; v < QS_CLASS_IGNORE; v++)
        if (info->counts[v] > 0) {
            g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                        "%s: label %d on %" G_GINT64_FORMAT
                        " pixels is not in the class table (0 to %d, and %d for ignore); give "
                        "--classes with "
                        "more classes or mend the mask",
                        info->path, v, info->counts[v], classes->n - 1, QS_CLASS_IGNORE);
            return false;
        }
    return true;
}

static wsi_stored *open_stored(wsi_mask *mask, GError **error)
{
    wsi_file_type type;
    int64_t n_bytes;
    wsi_tiff_facts facts = {0};
    if (!wsi_sniff(mask->info.path, &type, &n_bytes, error))
        return NULL;
    if (type == WSI_FILE_TIFF && !wsi_tiff_probe(mask->info.path, n_bytes, &facts, error))
        return NULL;
    if (type != WSI_FILE_TIFF && type != WSI_FILE_JPEG && type != WSI_FILE_PNG) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: a mask is a PNG, TIFF or JPEG, or annotations as ASAP XML, Aperio XML or "
                    "GeoJSON, not %s",
                    mask->info.path, wsi_file_type_name(type));
        return NULL;
    }
    wsi_stored *stored = wsi_stored_open(mask->info.path, type, &facts, error);
    mask->ours = type == WSI_FILE_TIFF && facts.label_mask;
    if (stored)
        mask->info.kind =
            wsi_stored_get_info(stored)->lossy ? WSI_MASK_BINARY_JPEG : WSI_MASK_LABELS;
    return stored;
}

static bool open_image(wsi_mask *mask, const qs_classes *classes, wsi_mask_255 meaning,
                       GError **error)
{
    wsi_stored *stored = open_stored(mask, error);
    bool ok = stored && check_size(mask, wsi_stored_get_info(stored), error) &&
              read_rows(mask, stored, error) && settle_kind(mask, classes, meaning, error);
    wsi_stored_close(stored);
    return ok;
}

static bool open_annotation(wsi_mask *mask, const qs_classes *classes, const wsi_mask_options *o,
                            GError **error)
{
    mask->info.kind = WSI_MASK_ANNOTATION;
    mask->annot = wsi_annot_open_shifted(mask->info.path, o->x_l0, o->y_l0, mask->slide_w,
                                         mask->slide_h, classes, o->labels, error);
    wsi_mask_set_factor(mask, 1);
    return mask->annot != NULL;
}

bool wsi_mask_check_header(const char *path, int64_t slide_w, int64_t slide_h, GError **error)
{
    wsi_mask mask = {.slide_w = slide_w, .slide_h = slide_h};
    g_autofree char *copy = g_strdup(path);
    if (wsi_annotations_sniff(path))
        return true;
    mask.info.path = copy;
    wsi_stored *stored = open_stored(&mask, error);
    bool ok = stored && check_size(&mask, wsi_stored_get_info(stored), error);
    wsi_stored_close(stored);
    return ok;
}

wsi_mask *wsi_mask_open_with(const char *path, int64_t slide_w, int64_t slide_h,
                             const qs_classes *classes, const wsi_mask_options *options,
                             GError **error)
{
    static const wsi_mask_options none = {0};
    wsi_mask *mask = g_new0(wsi_mask, 1);
    mask->info.path = g_strdup(path);
    mask->slide_w = slide_w;
    mask->slide_h = slide_h;
    const wsi_mask_options *o = options ? options : &none;
    bool ok = wsi_annotations_sniff(path) ? open_annotation(mask, classes, o, error)
                                          : open_image(mask, classes, o->value_255, error);
    if (!ok)
        g_clear_pointer(&mask, wsi_mask_close);
    return mask;
}

wsi_mask *wsi_mask_open(const char *path, int64_t slide_w, int64_t slide_h,
                        const qs_classes *classes, GError **error)
{
    return wsi_mask_open_with(path, slide_w, slide_h, classes, NULL, error);
}

void wsi_mask_set_factor(wsi_mask *mask, int factor)
{
    if (mask->info.kind != WSI_MASK_ANNOTATION)
        return;
    g_assert(factor >= 1);
    mask->info.factor = factor;
    mask->info.w = MAX(1, mask->slide_w / factor);
    mask->info.h = MAX(1, mask->slide_h / factor);
}

int64_t wsi_mask_memory(const char *path)
{
    GStatBuf st;
    if (!path || g_stat(path, &st) != 0)
        return 0;
    return (int64_t)st.st_size * (wsi_annotations_sniff(path) ? ANNOT_BYTES_PER_BYTE : 1);
}

char *wsi_mask_paints_nothing(const wsi_mask *mask, bool *outside)
{
    if (outside)
        *outside = mask->annot && wsi_annot_get_info(mask->annot)->n_laid == 0 &&
                   wsi_annot_get_info(mask->annot)->n_outside > 0;
    if (mask->annot)
        return wsi_annot_paints_nothing(mask->annot);
    const wsi_mask_info *info = &mask->info;
    if (info->counts[0] < info->w * info->h || mask->n_faint > 0)
        return NULL;
    return g_strdup_printf("holds background alone, on all of its %" G_GINT64_FORMAT
                           " x %" G_GINT64_FORMAT " pixels",
                           info->w, info->h);
}

char *wsi_mask_remarks(const wsi_mask *mask)
{
    if (mask->annot)
        return wsi_annot_remarks(mask->annot);
    if (is_jpeg(mask) && mask->n_faint > 0 && mask->lossy_max < JPEG_THRESHOLD)
        return g_strdup_printf(
            "none of its pixels reaches %d, so all are background; %" G_GINT64_FORMAT
            " are above 0 (largest %d): if these are class numbers, save the mask as PNG",
            JPEG_THRESHOLD, mask->n_faint, mask->lossy_max);
    return NULL;
}

void wsi_mask_close(wsi_mask *mask)
{
    if (!mask)
        return;
    wsi_annot_close(mask->annot);
    g_free(mask->info.path);
    g_free(mask->code);
    g_free(mask->row_start);
    g_free(mask);
}

const wsi_mask_info *wsi_mask_get_info(const wsi_mask *mask)
{
    return &mask->info;
}

/* ---- reading ---- */
static void read_image(const wsi_mask *mask, const wsi_view *view, int64_t x, int64_t y, int w,
                       int h, uint8_t *label, size_t row_bytes)
{
    const double scale_x = view->downsample / mask->info.factor, scale_y = scale_x;
    for (int r = 0; r < h; r++) {
        uint8_t *row = label + (size_t)r * row_bytes;
        int64_t my = (int64_t)floor(((double)(y + r) + 0.5) * scale_y);
        /* A ceil or floor factor leaves the last pixel of the slide with or without a mask pixel.
         */
        bool inside = y + r >= 0 && y + r < view->h;
        my = inside ? MIN(my, mask->info.h - 1) : -1;
        memset(row, QS_CLASS_IGNORE, (size_t)w);
        if (my < 0)
            continue;
        run_reader run = {mask->code + mask->row_start[my], 0, 0};
        int64_t from = MAX(0, -x), to = MIN(w, view->w - x);
        for (int64_t i = from; i < to; i++) {
            int64_t mx = MIN((int64_t)(((double)(x + i) + 0.5) * scale_x), mask->info.w - 1);
            while (run.end <= mx)
                next_run(&run);
            row[i] = to_class(mask, run.label);
        }
    }
}

bool wsi_mask_read(wsi_mask *mask, const wsi_view *view, int64_t x, int64_t y, int w, int h,
                   uint8_t *label, size_t row_bytes, GError **error)
{
    if (mask->annot)
        return wsi_annot_read(mask->annot, view, x, y, w, h, label, row_bytes, error);
    read_image(mask, view, x, y, w, h, label, row_bytes);
    return true;
}

/* Whole pixels of the areas: rounded down, and what is missing from n goes one each to the largest
 * remainders, the lower class first among equals. */
static void round_areas(const double *area, int64_t n, int64_t *counts)
{
    double remainder[256];
    for (int c = 0; c < 256; c++) {
        counts[c] = (int64_t)floor(area[c] + AREA_SLACK);
        remainder[c] = area[c] - (double)counts[c];
        n -= counts[c];
    }
    for (; n > 0; n--) {
        int best = 0;
        for (int c = 1; c < 256; c++)
            if (remainder[c] > remainder[best])
                best = c;
        counts[best]++;
        remainder[best] -= 1;
    }
}

bool wsi_mask_read_counts(wsi_mask *mask, const wsi_view *view, int64_t x, int64_t y, int w, int h,
                          uint8_t *label, size_t row_bytes, int64_t counts[256], GError **error)
{
    int64_t x0 = CLAMP(x, 0, view->w), x1 = CLAMP(x + w, 0, view->w);
    int64_t y0 = CLAMP(y, 0, view->h), y1 = CLAMP(y + h, 0, view->h);
    memset(counts, 0, 256 * sizeof *counts);
    if (mask->annot) {
        double area[256];
        if (!wsi_annot_areas(mask->annot, view, x, y, w, h, area, label, row_bytes, error))
            return false;
        round_areas(area, (x1 - x0) * (y1 - y0), counts);
        return true;
    }
    read_image(mask, view, x, y, w, h, label, row_bytes);
    for (int64_t r = y0 - y; r < y1 - y; r++)
        for (int64_t i = x0 - x; i < x1 - x; i++)
            counts[label[(size_t)r * row_bytes + (size_t)i]]++;
    return true;
}

bool wsi_mask_read_native(wsi_mask *mask, int64_t x, int64_t y, int w, int h, uint8_t *label,
                          size_t row_bytes, GError **error)
{
    if (x < 0 || y < 0 || w < 1 || h < 1 || x + w > mask->info.w || y + h > mask->info.h) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: %d x %d pixels at %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT
                    " lie outside the mask",
                    mask->info.path, w, h, x, y);
        return false;
    }
    if (mask->annot) {
        wsi_view own = {.w = mask->info.w, .h = mask->info.h, .downsample = mask->info.factor};
        return wsi_annot_read(mask->annot, &own, x, y, w, h, label, row_bytes, error);
    }
    for (int r = 0; r < h; r++) {
        uint8_t *row = label + (size_t)r * row_bytes;
        run_reader run = {mask->code + mask->row_start[y + r], 0, 0};
        for (int64_t at = x; at < x + w;) {
            while (run.end <= at)
                next_run(&run);
            int64_t end = MIN(run.end, x + w);
            memset(row + (at - x), to_class(mask, run.label), (size_t)(end - at));
            at = end;
        }
    }
    return true;
}
