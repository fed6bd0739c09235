/* What a step did, as planes of the batch's own images: classes, references, regions. On the host,
 * after the run; images that were mixed are taken apart again. */
#include "train/data/feed.h"
#include "train/loss/losses_priv.h"

#include <string.h>

/* The forward that shows a half: the model network's of this stage, with gradient; of unmixed images
 * where there is one. */
static int shown_forward(const tr_losses *s, ssl_half half)
{
    int found = SSL_NONE;
    for (int f = s->plan->n_forwards - 1; f >= 0; f--) {
        const ssl_forward *forward = &s->plan->forwards[f];
        bool unmixed = forward->mix == SSL_MIX_NONE;
        if (forward->net != s->plan->model_net || !forward->grad ||
            !ssl_half_has(forward->half, half) || !ssl_in_stage(forward->stages, s->stage))
            continue;
        if (found == SSL_NONE || unmixed)
            found = f;
    }
    return found;
}

/* Planes of forward f's images, from `first` on, back to the images of the batch that they were
 * made of; what was covered there stays as it is. */
static void show(const tr_losses *s, int f, int first, int n, const uint8_t *plane,
                 const uint8_t *exclude, uint8_t *to)
{
    int px = s->patch_px;
    size_t one = (size_t)px * (size_t)px;
    for (int i = 0; i < n; i++) {
        kn_view view = tr_view_of(s->plan, s->options, &s->plan->forwards[f], px, s->it, first + i);
        for (int k = 0; k < px * px; k++) {
            int x = k % px, y = k / px;
            bool in = x >= view.box.x0 && x < view.box.x1 && y >= view.box.y0 && y < view.box.y1;
            size_t at = (size_t)i * one + (size_t)k;
            if (!exclude || exclude[at] != QS_CLASS_IGNORE)
                to[(size_t)(in ? view.inner : view.outer) * one + (size_t)k] = plane[at];
        }
    }
}

/* Where a term on mixed images does not look, on the host; NULL: it looks everywhere. */
static const uint8_t *unseen_of(tr_losses *s, int t, bool there)
{
    const ssl_term *term = &s->plan->terms[t];
    const prepared_term *ready = &s->terms[t];
    if (ready->mixed == SSL_NONE)
        return NULL;
    const mixed *m = &s->mixes[ready->mixed];
    bool labelled = ssl_term_on(term) & SSL_LABELLED;
    uint8_t *host = labelled ? m->host.label : m->host.exclude;
    if (there)
        kn_engine_download(s->learner->engine, host, labelled ? m->planes.label : m->planes.exclude,
                           m->bytes);
    return host + (size_t)ready->first * (size_t)s->patch_px * (size_t)s->patch_px;
}

/* One term's reference and regions, where they say something. */
static void show_term(tr_losses *s, int t, const uint8_t *exclude, tr_snapshot *snap)
{
    kn_engine *engine = s->learner->engine;
    const ssl_term *term = &s->plan->terms[t];
    const prepared_term *ready = &s->terms[t];
    int seen = term->added ? ready->compared : ready->reference;
    size_t bytes = (size_t)ready->n * (size_t)s->patch_px * (size_t)s->patch_px;
    kn_engine_download(engine, s->snap_mixed, s->references[seen].ref.y, bytes);
    show(s, term->p, ready->first, ready->n, s->snap_mixed, exclude, s->snap_ref);
    snap->y_ref = s->snap_ref;
    if (term->gamma == SSL_NONE)
        return;
    kn_engine_download(engine, s->snap_mixed, ready->region, bytes);
    show(s, term->p, ready->first, ready->n, s->snap_mixed, exclude, s->snap_region);
    snap->region = s->snap_region;
}

void tr_losses_snapshot(tr_losses *s, const tr_batch *batch, const tr_prediction *of, int64_t it,
                        tr_snapshot *snap)
{
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px;
    size_t n_l = (size_t)batch->n_labelled * px, n_u = (size_t)(batch->n - batch->n_labelled) * px;
    *snap = (tr_snapshot){.iteration = it,
                          .n = batch->n,
                          .n_labelled = batch->n_labelled,
                          .patch_px = s->patch_px,
                          .n_classes = s->learner->n_classes,
                          .rgb = batch->feed ? tr_feed_picture(batch->feed) : batch->rgb,
                          .label = s->snap_label,
                          .y = s->snap_y};
    if (batch->feed)
        kn_engine_download(s->learner->engine, s->snap_label, batch->label, n_l);
    else
        memcpy(s->snap_label, batch->label, n_l);
    memset(s->snap_label + n_l, QS_CLASS_IGNORE, n_u);
    memset(s->snap_y, QS_CLASS_IGNORE, n_l + n_u);
    memset(s->snap_ref, QS_CLASS_IGNORE, n_l + n_u);
    memset(s->snap_region, KN_REGION_EXCLUDED, n_l + n_u);
    int last = SSL_NONE;
    for (ssl_half half = SSL_LABELLED; half <= SSL_UNLABELLED; half++) {
        int shown = shown_forward(s, half);
        if (shown == SSL_NONE || shown == last)
            continue;
        kn_argmax(s->learner->engine, of[shown].z[0], s->snap_mixed);
        show(s, shown, 0, ssl_forward_n(s->plan, &s->plan->forwards[shown]), s->snap_mixed, NULL,
             s->snap_y);
        last = shown;
    }
    if (last == SSL_NONE)
        return;
    for (int t = 0; t < s->plan->n_terms; t++) {
        const ssl_term *term = &s->plan->terms[t];
        bool refers = s->terms[t].reference != SSL_NONE && ssl_in_stage(term->stages, s->stage);
        if (refers && s->plan->forwards[term->p].net == s->plan->model_net)
            show_term(s, t, unseen_of(s, t, batch->feed != NULL), snap);
    }
}
