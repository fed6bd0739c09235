#include "train/ssl/history.h"

#include "base/error.h"
#include "base/report.h"
#include "kernels/loss/loss.h"
#include "kernels/engine/memory.h"

#include <string.h>

struct tr_history {
    const tr_source *source;
    size_t px;           /* of a patch */
    int64_t *correct_of; /* (n_items) a patch's row of `correct`; -1 none */
    int64_t n_correct;
    kn_block block;        /* all that follows */
    uint8_t *y;            /* (n_items,h,w) classes of the last sweep */
    uint8_t *agreed;       /* (n_items,h,w) */
    uint8_t *next, *right; /* (n_items,h,w), (n_correct,h,w): of the sweep under way */
    uint8_t *correct;      /* (n_correct,h,w) */
    uint8_t *rgb, *label;  /* one patch */
    float *input;
    int64_t n_sweeps;
};

static size_t patch_pixels(const tr_source *source)
{
    return (size_t)source->patch_px * (size_t)source->patch_px;
}

static bool has_correctness(const tr_item *item)
{
    return item->labelled && item->has_label;
}

/* Takes the arrays out of the block; with no block yet, only counts its bytes. */
static size_t lay_out(tr_history *h)
{
    size_t n = h->source->n_items * h->px, n_correct = (size_t)h->n_correct * h->px, used = 0;
    struct {
        void **at;
        size_t bytes;
    } parts[] = {
        {(void **)&h->y, n},
        {(void **)&h->agreed, n},
        {(void **)&h->next, n},
        {(void **)&h->right, n_correct},
        {(void **)&h->correct, n_correct},
        {(void **)&h->rgb, 3 * h->px},
        {(void **)&h->label, h->px},
        {(void **)&h->input, 3 * h->px * sizeof(float)},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (h->block.data)
            *parts[i].at = (char *)h->block.data + used;
        used += kn_round_up(parts[i].bytes, KN_ALIGN);
    }
    return used;
}

static void history_init(tr_history *h, const tr_source *source)
{
    *h = (tr_history){.source = source, .px = patch_pixels(source)};
    for (size_t i = 0; i < source->n_items; i++)
        h->n_correct += has_correctness(&source->items[i]);
}

int64_t tr_history_memory(const tr_source *source)
{
    tr_history h;
    history_init(&h, source);
    return (int64_t)(lay_out(&h) + source->n_items * sizeof *h.correct_of);
}

tr_history *tr_history_create(const tr_source *source, GError **error)
{
    tr_history *h = g_new(tr_history, 1);
    history_init(h, source);
    size_t bytes = lay_out(h);
    if (!kn_block_alloc(&h->block, bytes, "the history of every training pixel", error)) {
        g_free(h);
        return NULL;
    }
    lay_out(h);
    memset(h->block.data, 0, bytes);
    h->correct_of = g_new(int64_t, source->n_items);
    int64_t row = 0;
    for (size_t i = 0; i < source->n_items; i++)
        h->correct_of[i] = has_correctness(&source->items[i]) ? row++ : -1;
    return h;
}

void tr_history_destroy(tr_history *h)
{
    if (!h)
        return;
    kn_block_free(&h->block);
    g_free(h->correct_of);
    g_free(h);
}

/* One patch into image `at` of the pass. */
static bool load(tr_history *h, size_t item, kn_pass *pass, int at, const model_spec *spec,
                 GError **error)
{
    int64_t row = h->correct_of[item];
    if (!h->source->read(h->source->user, item, h->rgb, row >= 0 ? h->label : NULL, error)) {
        g_prefix_error(error, "training patch %zu: ", item);
        return false;
    }
    if (row >= 0)
        memcpy(h->right + (size_t)row * h->px, h->label, h->px);
    model_normalise(spec, h->rgb, (int64_t)h->px, h->input);
    kn_tensor image = kn_tensor_images(kn_pass_input(pass), at, 1);
    for (size_t i = 0; i < h->px; i++)
        for (int c = 0; c < 3; c++) {
            size_t to = i * (size_t)image.ldc + (size_t)c;
            if (image.dtype == KN_F64)
                kn_f64(&image)[to] = (double)h->input[3 * i + (size_t)c];
            else
                kn_f32(&image)[to] = h->input[3 * i + (size_t)c];
        }
    return true;
}

static void count_up(uint8_t *counter, bool yes)
{
    *counter = (uint8_t)(*counter + (yes && *counter < 255));
}

/* The sweep is whole: its classes become those that the next one is compared with. */
static void take_over(tr_history *h)
{
    size_t n = h->source->n_items * h->px;
    for (size_t i = 0; i < n && h->n_sweeps > 0; i++)
        count_up(&h->agreed[i], h->next[i] == h->y[i]);
    for (size_t item = 0; item < h->source->n_items; item++) {
        if (h->correct_of[item] < 0)
            continue;
        size_t from = item * h->px, to = (size_t)h->correct_of[item] * h->px;
        for (size_t i = 0; i < h->px; i++)
            count_up(&h->correct[to + i], h->next[from + i] == h->right[to + i]);
    }
    memcpy(h->y, h->next, n);
    h->n_sweeps++;
}

bool tr_history_sweep(tr_history *h, kn_engine *engine, kn_pass *pass, kn_weights *weights,
                      const model_spec *spec, GError **error)
{
    const kn_tensor *logits = kn_pass_logits(pass);
    size_t n = h->source->n_items, step = (size_t)logits->n;
    for (size_t first = 0; first < n; first += step) {
        size_t here = MIN(step, n - first); /* images past it keep what was there: not used */
        if (!qs_stop_check(error))
            return false;
        for (size_t i = 0; i < here; i++)
            if (!load(h, first + i, pass, (int)i, spec, error))
                return false;
        if (!kn_pass_forward(pass, weights, 0, error))
            return false;
        kn_tensor z = kn_tensor_images(logits, 0, (int)here);
        kn_argmax(engine, &z, h->next + first * h->px);
    }
    take_over(h);
    return true;
}

int64_t tr_history_n_sweeps(const tr_history *h)
{
    return h->n_sweeps;
}

void tr_history_read(const tr_history *h, tr_history_counter counter, size_t item,
                     const tr_augment *augment, uint8_t *count)
{
    int64_t row = counter == TR_HISTORY_AGREEMENT ? (int64_t)item : h->correct_of[item];
    const uint8_t *of = counter == TR_HISTORY_AGREEMENT ? h->agreed : h->correct;
    if (row < 0)
        memset(count, 0, h->px);
    else
        tr_augment_geometry(augment, of + (size_t)row * h->px, h->source->patch_px, 1, count);
}

uint8_t *tr_history_array(tr_history *h, int i, const char **name, int64_t *bytes)
{
    size_t n = h->source->n_items * h->px, n_correct = (size_t)h->n_correct * h->px;
    const struct {
        const char *name;
        uint8_t *data;
        size_t bytes;
    } arrays[] = {{"history.y", h->y, n},
                  {"history.agreed", h->agreed, n},
                  {"history.correct", h->correct, n_correct}};
    if (i < 0 || i >= (int)G_N_ELEMENTS(arrays))
        return NULL;
    *name = arrays[i].name;
    *bytes = (int64_t)arrays[i].bytes;
    return arrays[i].data;
}

void tr_history_set_sweeps(tr_history *h, int64_t n_sweeps)
{
    h->n_sweeps = n_sweeps;
}
