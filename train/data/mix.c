#include "train/data/mix.h"

#include "train/data/streams.h"

#include <math.h>
#include <string.h>

/* UniMatch's box: area U(.02,.4) of the patch, sides' ratio U(.3, 1/.3). */
static const double CUT_AREA[2] = {0.02, 0.4}, CUT_RATIO[2] = {0.3, 1 / 0.3};

static kn_box cut_box(const tr_options *options, int px, int64_t it, int image)
{
    qs_rng rng;
    qs_rng_init(&rng, options->seed,
                qs_rng_stream_id(TR_STREAM_MIX, (uint64_t)it, (uint64_t)image));
    if (!(qs_rng_unit(&rng) < options->cutmix))
        return (kn_box){0};
    double area = qs_rng_range(&rng, CUT_AREA[0], CUT_AREA[1]) * px * px;
    double ratio = qs_rng_range(&rng, CUT_RATIO[0], CUT_RATIO[1]);
    int w = CLAMP((int)sqrt(area / ratio), 1, px), h = CLAMP((int)sqrt(area * ratio), 1, px);
    int x = (int)qs_rng_below(&rng, (uint32_t)(px - w + 1));
    int y = (int)qs_rng_below(&rng, (uint32_t)(px - h + 1));
    return (kn_box){x, y, x + w, y + h};
}

static kn_box cut_hole(const tr_options *options, int px, int64_t it, int image)
{
    qs_rng rng;
    qs_rng_init(&rng, options->seed,
                qs_rng_stream_id(TR_STREAM_MIX, (uint64_t)it, (uint64_t)image + (1u << 20)));
    if (!(qs_rng_unit(&rng) < options->strong.cutout_p))
        return (kn_box){0};
    int side = CLAMP((int)(options->strong.cutout * px), 0, px);
    int x = (int)qs_rng_below(&rng, (uint32_t)(px - side + 1));
    int y = (int)qs_rng_below(&rng, (uint32_t)(px - side + 1));
    return (kn_box){x, y, x + side, y + side};
}

/* BCP's: one square a step. */
static kn_box square(const ssl_plan *plan, const tr_options *options, int px, int64_t it)
{
    qs_rng rng;
    qs_rng_init(&rng, options->seed, qs_rng_stream_id(TR_STREAM_MIX, (uint64_t)it, UINT64_MAX));
    int side = CLAMP((int)floor(plan->mix_share * px + 1e-9), 1, px - 1);
    int x = (int)qs_rng_below(&rng, (uint32_t)(px - side));
    int y = (int)qs_rng_below(&rng, (uint32_t)(px - side));
    return (kn_box){x, y, x + side, y + side};
}

kn_view tr_view_of(const ssl_plan *plan, const tr_options *options, const ssl_forward *forward,
                   int patch_px, int64_t it, int i)
{
    int n_l = plan->n_labelled, n_u = plan->n_unlabelled;
    int first = forward->half == SSL_UNLABELLED ? n_l : 0;
    switch (forward->mix) {
    case SSL_MIX_NONE:
        break;
    case SSL_MIX_CUT: {
        int u = first + i - n_l;
        if (u < 0)
            break;
        return (kn_view){first + i, n_l + (u + 1) % n_u, cut_box(options, patch_px, it, first + i),
                         cut_hole(options, patch_px, it, first + i)};
    }
    case SSL_MIX_PAIRS:
        return (kn_view){i, n_l / 2 + i, square(plan, options, patch_px, it), {0}};
    case SSL_MIX_CROSS: {
        kn_box box = square(plan, options, patch_px, it);
        return i < n_l / 2 ? (kn_view){n_l + i, i, box, {0}} : (kn_view){i, n_l + i, box, {0}};
    }
    }
    return (kn_view){.outer = first + i};
}

/* `plane` of image `image` of the batch, at the box or outside it, into dst. */
static void fill_part(uint8_t *dst, const uint8_t *src, int value, int px, kn_box box, bool inside)
{
    for (int y = 0; y < px; y++)
        for (int x = 0; x < px; x++) {
            bool in = x >= box.x0 && x < box.x1 && y >= box.y0 && y < box.y1;
            int at = y * px + x;
            if (in == inside)
                dst[at] = src ? src[at] : (uint8_t)value;
        }
}

void tr_planes_fill(const kn_planes *p, const tr_batch *batch, const uint8_t *held,
                    const kn_view *view, int i)
{
    int px = batch->patch_px;
    size_t n = (size_t)px * (size_t)px, at = (size_t)i * n;
    for (int inside = 0; inside < 2; inside++) {
        int image = inside ? view->inner : view->outer;
        bool labelled = image < batch->n_labelled;
        size_t l = (size_t)image * n, u = (size_t)(image - batch->n_labelled) * n;
        fill_part(p->label + at, labelled ? batch->label + l : NULL, QS_CLASS_IGNORE, px, view->box,
                  inside);
        fill_part(p->exclude + at, labelled ? NULL : batch->exclude + u, QS_CLASS_IGNORE, px,
                  view->box, inside);
        fill_part(p->truth + at, labelled ? batch->label + l : batch->truth + u, 0, px, view->box,
                  inside);
        fill_part(p->held + at, labelled ? NULL : held + u, QS_CLASS_IGNORE, px, view->box, inside);
        fill_part(p->outer + at, NULL, inside ? QS_CLASS_IGNORE : 0, px, view->box, inside);
        fill_part(p->inner + at, NULL, inside ? 0 : QS_CLASS_IGNORE, px, view->box, inside);
    }
    fill_part(p->exclude + at, NULL, QS_CLASS_IGNORE, px, view->hole, true);
}
