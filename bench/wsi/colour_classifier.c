/* How far colour alone goes: the best per-pixel colour classifier of a cohort.
 *
 *   colour_classifier COHORT MPP
 *
 * A pixel is called tumour when the likelihood ratio of its colour, from 32×32×32 RGB histograms of
 * the tumour and the other pixels, exceeds a threshold. For a fixed distribution no function of
 * the colour has a higher DSC (the optimal set is a set of bins with the highest share of tumour).
 * Printed per test slide:
 *   share    tumour / tissue (tissue: pixels that are not near white)
 *   all      DSC of calling all tissue tumour
 *   train    histograms and threshold from the training slides: what a user could have
 *   oracle   histograms and threshold from the test slide itself: above any stain normalisation
 * One CSV line a slide and one with the means. */
#include "base/error.h"
#include "base/report.h"
#include "wsi/cohort/cohort.h"
#include "wsi/annot/mask.h"
#include "wsi/slide/slide.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 5, BINS = 1 << (3 * BITS), STRIP = 256, WHITE = 215 };

typedef struct {
    double tumour[BINS], other[BINS];
    double tissue, tumour_tissue;
} histogram;

static void add_pixels(histogram *hist, const uint8_t *rgb, const uint8_t *label, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = rgb + 3 * i;
        size_t bin = (size_t)(p[0] >> 3) << 10 | (size_t)(p[1] >> 3) << 5 | p[2] >> 3;
        if (label[i] == QS_CLASS_IGNORE)
            continue;
        (label[i] ? hist->tumour : hist->other)[bin]++;
        bool tissue = label[i] || p[1] < WHITE; /* eosin and haematoxylin both absorb green */
        hist->tissue += tissue;
        hist->tumour_tissue += label[i] != 0;
    }
}

static bool add_slide(histogram *hist, const wsi_cohort_row *row, double mpp, GError **error)
{
    qs_classes classes;
    qs_classes_init_binary(&classes, "tumour");
    wsi_slide *slide = wsi_slide_open(row->slide, row->mpp, error);
    if (!slide)
        return false;
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    const char *truth = row->truth ? row->truth : row->mask;
    wsi_view view;
    wsi_mask *mask = wsi_mask_open(truth, info->levels[0].w, info->levels[0].h, &classes, error);
    bool ok = mask && wsi_view_init(&view, slide, false, mpp, error);
    size_t w = ok ? (size_t)view.w : 0;
    g_autofree uint8_t *rgb = g_malloc(w * STRIP * 3), *label = g_malloc(w * STRIP);
    for (int64_t y = 0; ok && y < view.h; y += STRIP) {
        int h = (int)MIN(STRIP, view.h - y);
        ok = wsi_view_read(&view, 0, y, (int)w, h, rgb, w * 3, error) &&
             wsi_mask_read(mask, &view, 0, y, (int)w, h, label, w, error);
        if (ok)
            add_pixels(hist, rgb, label, w * (size_t)h);
    }
    wsi_mask_close(mask);
    wsi_slide_close(slide);
    return ok;
}

static const histogram *sorting;

/* Bins by falling share of tumour; ties by number, so the order is one. */
static int by_ratio(const void *a, const void *b)
{
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    double x = sorting->tumour[i] * sorting->other[j], y = sorting->tumour[j] * sorting->other[i];
    if (x != y)
        return x > y ? -1 : 1;
    return i < j ? -1 : 1;
}

/* Which bins to call tumour for the highest DSC on `fit`; returns that DSC. */
static double fit_bins(const histogram *fit, bool *called)
{
    uint32_t *order = g_new(uint32_t, BINS);
    int n = 0;
    double positives = 0;
    for (uint32_t i = 0; i < BINS; i++) {
        positives += fit->tumour[i];
        if (fit->tumour[i] > 0)
            order[n++] = i;
    }
    sorting = fit;
    qsort(order, (size_t)n, sizeof *order, by_ratio);
    double tp = 0, fp = 0, best = 0;
    int n_best = 0;
    for (int i = 0; i < n; i++) {
        tp += fit->tumour[order[i]];
        fp += fit->other[order[i]];
        double dsc = 2 * tp / (positives + tp + fp);
        if (dsc > best) {
            best = dsc;
            n_best = i + 1;
        }
    }
    memset(called, 0, BINS * sizeof *called);
    for (int i = 0; i < n_best; i++)
        called[order[i]] = true;
    g_free(order);
    return best;
}

static double score(const histogram *on, const bool *called)
{
    double tp = 0, fp = 0, positives = 0;
    for (int i = 0; i < BINS; i++) {
        positives += on->tumour[i];
        tp += called[i] ? on->tumour[i] : 0;
        fp += called[i] ? on->other[i] : 0;
    }
    return positives + tp + fp > 0 ? 2 * tp / (positives + tp + fp) : 1;
}

static bool run(const char *path, double mpp, GError **error)
{
    wsi_cohort *cohort = wsi_cohort_read(path, error);
    if (!cohort)
        return false;
    histogram *train = g_new0(histogram, 1), *test = g_new(histogram, 1);
    bool *from_train = g_new0(bool, BINS), *from_test = g_new0(bool, BINS), ok = true;
    for (guint i = 0; ok && i < cohort->rows->len; i++)
        if (wsi_cohort_get(cohort, i)->split == WSI_SPLIT_TRAIN)
            ok = add_slide(train, wsi_cohort_get(cohort, i), mpp, error);
    fit_bins(train, from_train);
    double sum[4] = {0};
    int n = 0;
    printf("slide,share,all,train,oracle\n");
    for (guint i = 0; ok && i < cohort->rows->len; i++) {
        const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
        if (row->split != WSI_SPLIT_TEST)
            continue;
        memset(test, 0, sizeof *test);
        ok = add_slide(test, row, mpp, error);
        double share = test->tumour_tissue / fmax(test->tissue, 1);
        double value[4] = {share, 2 * share / (1 + share), score(test, from_train),
                           fit_bins(test, from_test)};
        g_autofree char *name = g_path_get_basename(row->slide);
        printf("%s,%.3f,%.3f,%.3f,%.3f\n", name, value[0], value[1], value[2], value[3]);
        for (int k = 0; k < 4; k++)
            sum[k] += value[k];
        n++;
    }
    if (ok && n > 0)
        printf("mean,%.3f,%.3f,%.3f,%.3f\n", sum[0] / n, sum[1] / n, sum[2] / n, sum[3] / n);
    g_free(train);
    g_free(test);
    g_free(from_train);
    g_free(from_test);
    wsi_cohort_destroy(cohort);
    return ok;
}

int main(int argc, char **argv)
{
    GError *error = NULL;
    double mpp = argc == 3 ? g_ascii_strtod(argv[2], NULL) : 0;
    if (!(mpp > 0)) {
        fprintf(stderr, "usage: colour_classifier COHORT MPP\n");
        return 2;
    }
    if (run(argv[1], mpp, &error))
        return 0;
    fprintf(stderr, "colour_classifier: %s\n", error->message);
    g_error_free(error);
    return 1;
}
