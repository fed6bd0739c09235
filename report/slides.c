/* One card a slide: the slide and its truth, and below each other what a model found and where it
 * was wrong. Columns are models, so errors of one place lie in one row. */
#include "report/report.h"
#include "jobs/mask_note.h"

#include "base/report.h"
#include "wsi/image/picture.h"

#include <math.h>

enum { JPEG_QUALITY = 86 };

static bool add_picture(GString *page, const uint8_t *rgb, const rep_picture *p, const char *alt,
                        bool with_scale, GError **error)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    if (!wsi_picture_encode(rgb, p->w, p->h, JPEG_QUALITY, &bytes, &n, error))
        return false;
    g_string_append(page, "<div class=\"picture\"><img src=\"");
    rep_data_uri(page, "image/jpeg", bytes, n);
    g_string_append_printf(page, "\" width=\"%d\" height=\"%d\" alt=\"", p->w, p->h);
    rep_text(page, alt);
    g_string_append(page, "\">");
    g_free(bytes);
    if (with_scale && p->mpp > 0) {
        /* The longest round length below a quarter of the picture. */
        static const int lengths_um[] = {50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000};
        double width_um = p->w * p->mpp;
        int um = lengths_um[0];
        for (size_t i = 0; i < G_N_ELEMENTS(lengths_um); i++)
            um = lengths_um[i] <= width_um / 4 ? lengths_um[i] : um;
        g_string_append_printf(page, "<div class=\"scale\" style=\"width:%.2f%%\">%d %s</div>",
                               100 * um / width_um, um >= 1000 ? um / 1000 : um,
                               um >= 1000 ? "mm" : "µm");
    }
    g_string_append(page, "</div>");
    return true;
}

static void share_alt(GString *alt, const rep_picture *p, const uint8_t *label)
{
    int64_t n = 0, total = (int64_t)p->w * p->h;
    for (int64_t i = 0; i < total; i++)
        n += label[i] != 0 && label[i] != QS_CLASS_IGNORE;
    g_string_append_printf(alt, "%.1f %% of the picture outlined",
                           100.0 * (double)n / (double)total);
}

static bool add_labels(GString *page, const rep_picture *p, const uint8_t *label, const report *r,
                       const uint8_t rgb[3], const char *what, const char *slide, GError **error)
{
    g_autofree uint8_t *out = g_malloc((size_t)p->w * (size_t)p->h * 3);
    g_autoptr(GString) alt = g_string_new(NULL);
    g_string_append_printf(alt, "%s of %s: ", what, slide);
    share_alt(alt, p, label);
    rep_paint_labels(p, label, &r->scores[0].classes, rgb, out);
    return add_picture(page, out, p, alt->str, false, error);
}

/* A bar of the union of truth and prediction: its first part is the Jaccard index. */
static void add_bar(GString *page, const inf_counts *counts)
{
    double tp = 0, fp = 0, fn = 0;
    for (int c = 1; c < counts->n_classes; c++) {
        tp += (double)counts->tp[c];
        fp += (double)counts->fp[c];
        fn += (double)counts->fn[c];
    }
    double all = tp + fp + fn, scale = all > 0 ? 100 / all : 0;
    const double share[3] = {tp * scale, fp * scale, fn * scale};
    static const char *const names[3] = {"tp", "fp", "fn"}, *const patterns[3] = {
                                                                "plain", "hatched", "dotted"};
    g_string_append(page, "<div class=\"bar\" aria-hidden=\"true\">");
    for (int i = 0; i < 3; i++)
        g_string_append_printf(
            page, "<i class=\"%s\" style=\"width:%.2f%%;background-color:var(--%s)\"></i>",
            patterns[i], share[i], names[i]);
    g_string_append_printf(page, "</div>%.0f %% found · %.0f %% false · %.0f %% missed", share[0],
                           share[1], share[2]);
}

static void add_heading(GString *page, const report *r, guint index, const rep_picture *p)
{
    const job_slide *slide = &g_array_index(r->set, job_slide, index);
    g_string_append(page, "<article><header><div><h3>");
    rep_text(page, slide->name);
    g_string_append(page, "</h3><p>");
    rep_text(page, slide->case_id);
    if (p->mpp > 0)
        g_string_append_printf(page, "%s%.1f × %.1f mm", *slide->case_id ? " · " : "",
                               p->w * p->mpp / 1000, p->h * p->mpp / 1000);
    g_string_append(page, "</p></div><p class=\"scores\">");
    for (guint m = 0; m < r->pred->len; m++) {
        const rep_named *pred = &g_array_index(r->pred, rep_named, m);
        const job_score *score = &r->scores[m].items[index];
        g_string_append_printf(page,
                               "<span><span class=\"chip\" style=\"background:var(--m%d)\"></span>",
                               pred->index);
        rep_text(page, pred->name);
        if (score->ok)
            g_string_append_printf(page, " <span class=\"score\">%.3f</span></span>", score->dsc);
        else
            g_string_append(page, " not scored</span>");
    }
    g_string_append(page, "</p></header>\n");
}

static void caption(GString *page, const char *what, const char *who)
{
    g_string_append(page, "<figcaption><b>");
    rep_text(page, what);
    g_string_append(page, "</b> ");
    rep_text(page, who);
    g_string_append(page, "</figcaption></figure>\n");
}

/* The upper row: the slide, then what each model found. */
static bool add_found(GString *page, const report *r, guint index, const rep_picture *p,
                      uint8_t *const *labels, GError **error)
{
    const job_slide *slide = &g_array_index(r->set, job_slide, index);
    g_autofree char *alt = g_strdup_printf("Slide %s", slide->name);
    g_string_append(page, "<figure>");
    if (!add_picture(page, p->rgb, p, alt, true, error))
        return false;
    caption(page, "Slide", "");
    for (guint m = 0; m < r->pred->len; m++) {
        const rep_named *pred = &g_array_index(r->pred, rep_named, m);
        g_string_append(page, "<figure>");
        if (labels[m] && !add_labels(page, p, labels[m], r, rep_model_rgb(pred->index),
                                     "Prediction", slide->name, error))
            return false;
        caption(page, labels[m] ? "Prediction" : "No prediction", pred->name);
    }
    return true;
}

/* The lower row: the truth, then where each model is wrong. */
static bool add_errors(GString *page, const report *r, guint index, const rep_picture *p,
                       uint8_t *const *labels, GError **error)
{
    static const uint8_t ink[3] = {20, 20, 20};
    const job_slide *slide = &g_array_index(r->set, job_slide, index);
    const char *from;
    job_slide_truth(slide, &from);
    g_string_append(page, "<figure>");
    if (!add_labels(page, p, p->truth, r, ink, "Truth", slide->name, error))
        return false;
    caption(page, "Truth", g_str_equal(from, "truth") ? "" : "(annotation)");
    g_autofree uint8_t *out = g_malloc((size_t)p->w * (size_t)p->h * 3);
    for (guint m = 0; m < r->pred->len; m++) {
        const rep_named *pred = &g_array_index(r->pred, rep_named, m);
        const job_score *score = &r->scores[m].items[index];
        g_string_append(page, "<figure>");
        if (labels[m] && score->ok) {
            g_autofree char *alt =
                g_strdup_printf("Errors of %s on %s: DSC %.3f, Jaccard %.3f", pred->name,
                                slide->name, score->dsc, score->jaccard);
            rep_paint_errors(p, labels[m], out);
            if (!add_picture(page, out, p, alt, false, error))
                return false;
            g_string_append(page, "<figcaption>");
            add_bar(page, &score->counts);
            g_string_append(page, "</figcaption>");
        }
        g_string_append(page, "</figure>\n");
    }
    return true;
}

static bool add_slide(GString *page, const report *r, guint index, GError **error)
{
    const job_slide *slide = &g_array_index(r->set, job_slide, index);
    const qs_classes *classes = &r->scores[0].classes;
    rep_picture p;
    uint8_t *labels[REPORT_MODELS_MAX] = {0};
    if (!rep_picture_read(&p, slide, classes, error))
        return false;
    bool ok = true;
    for (guint m = 0; ok && m < r->pred->len; m++) {
        const char *dir = g_array_index(r->pred, rep_named, m).path;
        g_autofree char *path = job_mask_path(dir, slide);
        /* A stranger's mask is no picture of this slide: its score says why it is missing. */
        if (!g_file_test(path, G_FILE_TEST_IS_REGULAR) || !job_mask_is_of(dir, slide, NULL))
            continue;
        labels[m] = rep_picture_labels(&p, slide, path, classes, error);
        ok = labels[m] != NULL;
    }
    if (ok) {
        add_heading(page, r, index, &p);
        g_string_append_printf(page,
                               "<div class=\"wide\"><div class=\"cells\" "
                               "style=\"grid-template-columns:repeat(%u,minmax(0,1fr))\">\n",
                               r->pred->len + 1);
        ok = add_found(page, r, index, &p, labels, error) &&
             (!p.truth || add_errors(page, r, index, &p, labels, error));
        g_string_append(page, "</div></div></article>\n");
    }
    for (guint m = 0; m < r->pred->len; m++)
        g_free(labels[m]);
    rep_picture_clear(&p);
    return ok;
}

bool rep_slides(GString *page, const report *r, GError **error)
{
    guint n = MIN(r->set->len, (guint)r->max_slides);
    g_string_append(
        page,
        "<section aria-label=\"Slides\"><h2>Slide by slide</h2>\n<p class=\"note\">Outlined parts "
        "keep "
        "their colour, the rest is washed out. Below each prediction: where it is right and where "
        "not; the bar is the union of truth and "
        "prediction, and its first part the Jaccard index.");
    if (n < r->set->len)
        g_string_append_printf(page, " The first %u of %u slides are shown; the table counts all.",
                               n, r->set->len);
    g_string_append(page, "</p>\n<ul class=\"key\">");
    static const char *const keys[][3] = {
        {"tp", "found (true positive)", "plain"},
        {"fp", "false alarm, hatched (false positive)", "hatched"},
        {"fn", "missed, dotted (false negative)", "dotted"}};
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        g_string_append_printf(
            page,
            "<li><span class=\"chip square %s\" style=\"background-color:var(--%s)\"></span>%s</li>",
            keys[i][2], keys[i][0], keys[i][1]);
    g_string_append(page, "</ul>\n");
    for (guint i = 0; i < n; i++) {
        if (!qs_stop_check(error) || !add_slide(page, r, i, error))
            return false;
        qs_progress_update(r->progress, "report", i + 1, n, NULL);
    }
    g_string_append(page, "</section>\n");
    return true;
}
