/* A synthetic cohort on disk.
 *
 * One slide after another; within a slide, bands of SYNTH_BLOCK rows. Worker threads render the
 * blocks of one band while this thread compresses the band before it. A block is a pure function
 * of its place, so threads change the time and nothing else.
 *
 * synth.txt beside the slides holds the options that decide their bytes. A run that finds another
 * one refuses; a run that finds its own keeps the slides that are there (files appear whole). */
#include "wsi/synth/synth.h"

#include "base/error.h"
#include "base/file.h"
#include "wsi/image/jpeg_writer.h"
#include "wsi/synth/plan_priv.h"
#include "wsi/synth/site_priv.h"
#include "wsi/synth/synth_priv.h"
#include "wsi/tiff/pyramid.h"

#include <string.h>

void wsi_synth_options_init(wsi_synth_options *options)
{
    *options = (wsi_synth_options){.n_train = 8,
                                   .n_val = 2,
                                   .n_test = 4,
                                   .n_labelled = 3,
                                   .w = 3072,
                                   .h = 3072,
                                   .mpp = 0.5,
                                   .seed = 1,
                                   .format = WSI_SYNTH_TIFF,
                                   .jpeg_quality = 85};
}

/* ---- one picture being written, in either format ---- */

typedef struct {
    wsi_tiffw *tiff;
    wsi_jpegw *jpeg;
} picture;

static bool picture_open(picture *pic, const wsi_synth_options *o, const synth_plan *p,
                         const char *path, bool labels, GError **error)
{
    *pic = (picture){0};
    if (o->format == WSI_SYNTH_DIGESTPATH) {
        pic->jpeg = wsi_jpegw_open(path, p->w, p->h, labels ? 1 : 3, p->quality, error);
        return pic->jpeg != NULL;
    }
    wsi_tiffw_options t = {.profile = labels ? WSI_TIFFW_MASK : WSI_TIFFW_RGB_JPEG,
                           .w = p->w,
                           .h = p->h,
                           .mpp = o->mpp,
                           .tile_px = labels ? wsi_tiffw_fit_tile(p->w, p->h, 1024, 512) : 256,
                           .min_level_px = 1024,
                           .jpeg_quality = p->quality,
                           .max_label = 1,
                           .description = labels ? "classes background:#000000,tumour:#c80000"
                                                 : "quadslide synthetic H&E"};
    pic->tiff = wsi_tiffw_open(path, &t, error);
    return pic->tiff != NULL;
}

static bool picture_rows(picture *pic, const uint8_t *rows, size_t row_bytes, int64_t n,
                         GError **error)
{
    return pic->jpeg ? wsi_jpegw_write_rows(pic->jpeg, rows, row_bytes, n, error)
                     : wsi_tiffw_write_rows(pic->tiff, rows, row_bytes, n, error);
}

static bool picture_finish(picture *pic, GError **error)
{
    picture done = *pic;
    *pic = (picture){0};
    return done.jpeg ? wsi_jpegw_finish(done.jpeg, error) : wsi_tiffw_finish(done.tiff, error);
}

static void picture_abort(picture *pic)
{
    wsi_jpegw_abort(pic->jpeg);
    wsi_tiffw_abort(pic->tiff);
}

/* ---- bands ---- */

typedef struct {
    const synth_slide *slide;
    GAsyncQueue *scratches; /* as many as threads */
    int64_t y;
    int rows;
    bool wants_annotation;
    uint8_t *rgb, *truth, *annotation;
    GMutex lock;
    GCond idle;
    int pending; /* blocks not yet rendered; guarded by lock */
} band;

typedef struct {
    band *to;
    int64_t x;
} block;

static void render_block(gpointer data, gpointer user)
{
    (void)user;
    block *b = data;
    band *to = b->to;
    const synth_slide *slide = to->slide;
    synth_scratch *scratch = g_async_queue_pop(to->scratches);
    int w = (int)MIN(SYNTH_BLOCK, slide->w_px - b->x);
    size_t row = (size_t)slide->w_px, x = (size_t)b->x;
    wsi_synth_render(slide, scratch, b->x, to->y, w, to->rows, to->rgb + 3 * x, 3 * row,
                     to->truth + x, to->wants_annotation ? to->annotation + x : NULL, row);
    g_async_queue_push(to->scratches, scratch);
    g_free(b);
    g_mutex_lock(&to->lock);
    if (--to->pending == 0)
        g_cond_signal(&to->idle);
    g_mutex_unlock(&to->lock);
}

static void band_init(band *b, const synth_slide *slide, GAsyncQueue *scratches, bool annotation)
{
    size_t n = (size_t)slide->w_px * SYNTH_BLOCK;
    *b = (band){.slide = slide, .scratches = scratches, .wants_annotation = annotation};
    b->rgb = g_malloc(3 * n);
    b->truth = g_malloc(n);
    b->annotation = annotation ? g_malloc(n) : NULL;
    g_mutex_init(&b->lock);
    g_cond_init(&b->idle);
}

static void band_start(band *b, GThreadPool *pool, int64_t y)
{
    b->y = y;
    b->rows = (int)MIN(SYNTH_BLOCK, b->slide->h_px - y);
    b->pending = (int)((b->slide->w_px + SYNTH_BLOCK - 1) / SYNTH_BLOCK);
    for (int64_t x = 0; x < b->slide->w_px; x += SYNTH_BLOCK) {
        block *task = g_new(block, 1);
        *task = (block){.to = b, .x = x};
        g_thread_pool_push(pool, task, NULL);
    }
}

static void band_wait(band *b)
{
    g_mutex_lock(&b->lock);
    while (b->pending > 0)
        g_cond_wait(&b->idle, &b->lock);
    g_mutex_unlock(&b->lock);
}

static void band_clear(band *b)
{
    g_free(b->rgb);
    g_free(b->truth);
    g_free(b->annotation);
    g_mutex_clear(&b->lock);
    g_cond_clear(&b->idle);
}

/* ---- a slide ---- */

typedef struct {
    const wsi_synth_options *options;
    const qs_progress *progress;
    GThreadPool *pool;
    GAsyncQueue *scratches;
    int64_t px_done, px_total;
} run;

enum { PIC_SLIDE, PIC_MASK, PIC_TRUTH, N_PICS };

static bool band_write(const run *r, const band *b, picture pics[N_PICS], bool noisy,
                       GError **error)
{
    size_t row = (size_t)b->slide->w_px;
    uint8_t *mask = noisy ? b->annotation : b->truth;
    if (r->options->format == WSI_SYNTH_DIGESTPATH) {
        /* Labels are 0 and 1; DigestPath's masks black and white. */
        for (size_t i = 0; i < row * (size_t)b->rows; i++) {
            b->truth[i] = b->truth[i] ? 255 : 0;
            if (noisy)
                b->annotation[i] = b->annotation[i] ? 255 : 0;
        }
    }
    return picture_rows(&pics[PIC_SLIDE], b->rgb, 3 * row, b->rows, error) &&
           picture_rows(&pics[PIC_MASK], mask, row, b->rows, error) &&
           (!noisy || picture_rows(&pics[PIC_TRUTH], b->truth, row, b->rows, error));
}

static bool stream(run *r, const synth_slide *slide, const char *name, picture pics[N_PICS],
                   bool noisy, GError **error)
{
    band bands[2];
    for (int i = 0; i < 2; i++)
        band_init(&bands[i], slide, r->scratches, noisy);
    bool ok = true;
    band_start(&bands[0], r->pool, 0);
    for (int64_t y = 0, i = 0; ok && y < slide->h_px; y += SYNTH_BLOCK, i ^= 1) {
        band_wait(&bands[i]);
        if (y + SYNTH_BLOCK < slide->h_px)
            band_start(&bands[i ^ 1], r->pool, y + SYNTH_BLOCK);
        ok = qs_stop_check(error) && band_write(r, &bands[i], pics, noisy, error);
        r->px_done += slide->w_px * bands[i].rows;
        qs_progress_update(r->progress, "synth", r->px_done, r->px_total, name);
    }
    for (int i = 0; i < 2; i++) {
        band_wait(&bands[i]);
        band_clear(&bands[i]);
    }
    return ok;
}

static bool have(const char *path)
{
    return !path || g_file_test(path, G_FILE_TEST_IS_REGULAR);
}

static bool make_slide(run *r, const synth_plan *p, GError **error)
{
    const wsi_synth_options *o = r->options;
    if (have(p->slide) && have(p->mask) && have(p->truth)) {
        r->px_done += p->w * p->h;
        return true;
    }
    bool noisy = p->truth != NULL;
    const char *paths[N_PICS] = {p->slide, p->mask, p->truth};
    picture pics[N_PICS] = {{0}};
    g_autofree synth_slide *slide = g_new(synth_slide, 1);
    wsi_synth_slide_init(slide, o->seed, p->index, p->w, p->h, o->mpp, o->noise, p->tumour);
    if (p->site >= 0)
        wsi_synth_site_apply(slide, o->seed, p->site);
    bool ok = true;
    for (int i = 0; ok && i < N_PICS; i++)
        ok = !paths[i] || picture_open(&pics[i], o, p, paths[i], i != PIC_SLIDE, error);
    g_autofree char *name = g_path_get_basename(p->slide);
    ok = ok && stream(r, slide, name, pics, noisy, error);
    for (int i = N_PICS - 1; i >= 0; i--) { /* the slide last: with it the three are whole */
        if (ok && paths[i])
            ok = picture_finish(&pics[i], error);
        else
            picture_abort(&pics[i]);
    }
    return ok;
}

/* ---- the cohort ---- */

static bool check_options(const wsi_synth_options *o, GError **error)
{
    int n = o->n_train + o->n_val + o->n_test;
    if (o->n_train < 0 || o->n_val < 0 || o->n_test < 0 || n < 1 || n > 9999)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%d + %d + %d slides; make 1 to 9999",
                    o->n_train, o->n_val, o->n_test);
    else if (o->n_labelled < 0 || o->n_labelled > o->n_train)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%d labelled of %d training slides",
                    o->n_labelled, o->n_train);
    else if (o->w < 64 || o->h < 64 || o->w > 1000000 || o->h > 1000000)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%" G_GINT64_FORMAT " x %" G_GINT64_FORMAT " pixels; 64 to 1000000 a side",
                    o->w, o->h);
    else if (!(o->mpp >= 0.1 && o->mpp <= 4))
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%g um per pixel; nuclei can be drawn at 0.1 to 4", o->mpp);
    else if (!(o->noise >= 0 && o->noise <= 10))
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "annotation noise %g is not in 0 to 10",
                    o->noise);
    else if (o->n_sites < 0 || o->n_sites > 99)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%d sites; 1 to 99, or none", o->n_sites);
    else
        return true;
    return false;
}

/* The options that decide the bytes, noted once and compared ever after. */
static bool check_note(const wsi_synth_options *o, GError **error)
{
    g_autofree char *path = g_build_filename(o->out_dir, "synth.txt", NULL);
    char mpp[G_ASCII_DTOSTR_BUF_SIZE], noise[G_ASCII_DTOSTR_BUF_SIZE];
    g_autofree char *note = g_strdup_printf(
        "quadslide synth %d\nformat %s\nseed %" G_GUINT64_FORMAT "\nsize %" G_GINT64_FORMAT
        " %" G_GINT64_FORMAT "\nmpp %s\nnoise %s\nquality %d\n",
        WSI_SYNTH_VERSION, o->format == WSI_SYNTH_TIFF ? "tiff" : "digestpath", o->seed, o->w, o->h,
        g_ascii_dtostr(mpp, sizeof mpp, o->mpp), g_ascii_dtostr(noise, sizeof noise, o->noise),
        o->jpeg_quality);
    if (o->n_sites > 0) {
        g_autofree char *plain = note;
        note = g_strdup_printf("%ssites %d: %d of %d labelled, %d to validate\n", plain, o->n_sites,
                               o->n_labelled, o->n_train, o->n_val);
    }
    g_autofree char *old = NULL;
    if (!g_file_get_contents(path, &old, NULL, NULL))
        return qs_file_replace(path, note, strlen(note), error);
    if (!strcmp(old, note))
        return true;
    g_set_error(
        error, QS_ERROR, QS_ERROR_MISMATCH,
        "%s: the slides there were made with other options; choose another folder or remove it",
        path);
    return false;
}

static void free_scratch(gpointer data)
{
    wsi_synth_scratch_free(data);
}

static bool make_all(const wsi_synth_options *o, const GArray *plans, const qs_progress *progress,
                     GError **error)
{
    int n_threads = o->n_threads > 0 ? o->n_threads : (int)g_get_num_processors();
    run r = {.options = o, .progress = progress};
    r.scratches = g_async_queue_new_full(free_scratch);
    for (int i = 0; i < n_threads; i++)
        g_async_queue_push(r.scratches, wsi_synth_scratch_new((float)o->mpp));
    for (guint i = 0; i < plans->len; i++) {
        const synth_plan *p = &g_array_index(plans, synth_plan, i);
        r.px_total += p->w * p->h;
    }
    r.pool = g_thread_pool_new(render_block, NULL, n_threads, TRUE, NULL);
    bool ok = true;
    for (guint i = 0; ok && i < plans->len; i++)
        ok = make_slide(&r, &g_array_index(plans, synth_plan, i), error);
    g_thread_pool_free(r.pool, FALSE, TRUE);
    g_async_queue_unref(r.scratches);
    return ok;
}

bool wsi_synth_run(const wsi_synth_options *options, const qs_progress *progress, GError **error)
{
    if (!check_options(options, error) || !qs_dir_create(options->out_dir, error) ||
        !check_note(options, error))
        return false;
    g_autoptr(GArray) plans = wsi_synth_plan_all(options);
    if (!wsi_synth_plan_folders(plans, error) || !make_all(options, plans, progress, error))
        return false;
    return options->format == WSI_SYNTH_DIGESTPATH || wsi_synth_plan_cohort(options, plans, error);
}
