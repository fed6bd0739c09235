/* Layout: for network k "net<k>.params", ".buffers", ".momentum" (trained ones), ".second" (with
 * Adam), ".batches_tracked"; "memory" (of the method's own terms); "gamma" (slots, classes),
 * "gamma_state" and "held" f64; "counters" i64 and "scores" f64 in the order of the enums below.
 * "window" is the memory of tr_window as it is: another layout has another size and is refused.
 * __metadata__: format, options, data, conv_choices, threads. Weights are f32 in every backend's
 * file; the reference backend (f64) therefore does not resume to the same bits. */
#include "train/run/state.h"

#include "base/error.h"
#include "model/safetensors.h"
#include "train/ssl/history.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STATE_FORMAT "quadslide-train-state-1"

enum {
    COUNT_ITERATION,
    COUNT_ITERATIONS,
    COUNT_PLANNED,
    COUNT_BEST_ITERATION,
    COUNT_VAL_ITERATION,
    COUNT_CSV_BYTES,
    COUNT_STAGE,
    COUNT_SWEEPS,
    N_COUNTS
};
enum { N_HELD = sizeof(tr_region_counts) / sizeof(double) };
enum { SCORE_ELAPSED, SCORE_VAL, SCORE_BEST, N_SCORES };

/* Flat arrays of a network that a state holds. */
static const struct {
    kn_array array;
    const char *name;
} arrays[] = {
    {KN_ARRAY_PARAMS, "params"},
    {KN_ARRAY_BUFFERS, "buffers"},
    {KN_ARRAY_MOMENTUM, "momentum"},
    {KN_ARRAY_SECOND, "second"},
};
enum { N_ARRAYS = G_N_ELEMENTS(arrays), N_TENSORS_MAX = SSL_NETS_MAX * (N_ARRAYS + 1) + 11 };

struct tr_state_writer {
    float *host[SSL_NETS_MAX][N_ARRAYS];
    char names[SSL_NETS_MAX][N_ARRAYS + 1][32];
    int64_t tracked[SSL_NETS_MAX], counts[N_COUNTS];
    double scores[N_SCORES], memory[SSL_MEMORY_MAX], gamma[SSL_GAMMAS_MAX][QS_CLASSES_MAX];
    double gamma_state[SSL_GAMMAS_MAX][TR_GAMMA_STATE];
    tr_region_counts held[SSL_GAMMAS_MAX];
};

void tr_progress_init(tr_progress *progress, int64_t iterations)
{
    *progress = (tr_progress){.iterations = iterations,
                              .val_dsc = NAN,
                              .best_dsc = NAN,
                              .best_iteration = -1,
                              .val_iteration = -1};
}

void tr_identity_clear(tr_identity *identity)
{
    g_clear_pointer(&identity->options, g_free);
    g_clear_pointer(&identity->data, g_free);
}

/* Elements of an array of network k; 0 where it has none. */
static int64_t array_n(const tr_learner *l, int k, int a)
{
    if (arrays[a].array == KN_ARRAY_BUFFERS)
        return kn_net_n_buffers(l->nets[k]);
    if (!kn_weights_has(l->weights[k], arrays[a].array))
        return 0;
    return kn_net_n_trained(l->nets[k]);
}

int64_t tr_state_memory(const tr_learner *l)
{
    int64_t n = 0;
    for (int k = 0; k < l->plan.n_nets; k++)
        for (int a = 0; a < N_ARRAYS; a++)
            n += array_n(l, k, a);
    int64_t history = 0, bytes;
    const char *name;
    for (int i = 0; l->history && tr_history_array(l->history, i, &name, &bytes); i++)
        history += bytes;
    /* and the file, put together before it is written */
    return 2 * n * (int64_t)sizeof(float) + history;
}

tr_state_writer *tr_state_writer_create(const tr_learner *l)
{
    tr_state_writer *w = g_new0(tr_state_writer, 1);
    for (int k = 0; k < l->plan.n_nets; k++) {
        for (int a = 0; a < N_ARRAYS; a++) {
            if (array_n(l, k, a) > 0)
                w->host[k][a] = g_new0(float, (gsize)array_n(l, k, a));
            snprintf(w->names[k][a], sizeof w->names[k][a], "net%d.%s", k, arrays[a].name);
        }
        snprintf(w->names[k][N_ARRAYS], sizeof w->names[k][N_ARRAYS], "net%d.batches_tracked", k);
    }
    return w;
}

void tr_state_writer_destroy(tr_state_writer *w)
{
    if (!w)
        return;
    for (int k = 0; k < SSL_NETS_MAX; k++)
        for (int a = 0; a < N_ARRAYS; a++)
            g_free(w->host[k][a]);
    g_free(w);
}

static bool all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* Copies the networks to host memory and appends their tensors. */
static bool gather_nets(tr_state_writer *w, const tr_learner *l, st_tensor *tensors,
                        size_t *n_tensors, GError **error)
{
    for (int k = 0; k < l->plan.n_nets; k++) {
        for (int a = 0; a < N_ARRAYS; a++) {
            int64_t n = array_n(l, k, a);
            if (n == 0)
                continue;
            kn_weights_get(l->weights[k], arrays[a].array, 0, n, w->host[k][a]);
            if (!all_finite(w->host[k][a], n)) {
                g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                            "the %s of network %d are not finite any more", arrays[a].name, k + 1);
                return false;
            }
            tensors[(*n_tensors)++] = (st_tensor){.name = w->names[k][a],
                                                  .dtype = ST_F32,
                                                  .n_dims = 1,
                                                  .shape = {n},
                                                  .data = w->host[k][a]};
        }
        w->tracked[k] = kn_weights_batches_tracked(l->weights[k]);
        tensors[(*n_tensors)++] = (st_tensor){.name = w->names[k][N_ARRAYS],
                                              .dtype = ST_I64,
                                              .n_dims = 1,
                                              .shape = {1},
                                              .data = &w->tracked[k]};
    }
    return true;
}

/* CEUD's memory of every pixel. */
static void gather_history(tr_state_writer *w, const tr_learner *l, st_tensor *tensors,
                           size_t *n_tensors)
{
    const char *name;
    int64_t bytes;
    const uint8_t *data;
    if (!l->history)
        return;
    w->counts[COUNT_SWEEPS] = tr_history_n_sweeps(l->history);
    for (int i = 0; (data = tr_history_array(l->history, i, &name, &bytes)); i++)
        tensors[(*n_tensors)++] =
            (st_tensor){.name = name, .dtype = ST_U8, .n_dims = 1, .shape = {bytes}, .data = data};
}

static void gather_progress(tr_state_writer *w, const tr_learner *l, const tr_progress *p,
                            st_tensor *tensors, size_t *n_tensors)
{
    w->counts[COUNT_ITERATION] = p->iteration;
    w->counts[COUNT_ITERATIONS] = p->iterations;
    w->counts[COUNT_PLANNED] = p->planned;
    w->counts[COUNT_BEST_ITERATION] = p->best_iteration;
    w->counts[COUNT_VAL_ITERATION] = p->val_iteration;
    w->counts[COUNT_CSV_BYTES] = p->csv_bytes;
    w->counts[COUNT_STAGE] = l->stage;
    w->scores[SCORE_ELAPSED] = p->elapsed_s;
    w->scores[SCORE_VAL] = p->val_dsc;
    w->scores[SCORE_BEST] = p->best_dsc;
    memcpy(w->gamma, l->gamma, sizeof w->gamma);
    memcpy(w->gamma_state, l->gamma_state, sizeof w->gamma_state);
    memcpy(w->held, l->held, sizeof w->held);
    memcpy(w->memory, l->memory, sizeof w->memory);
    tensors[(*n_tensors)++] = (st_tensor){.name = "memory",
                                          .dtype = ST_F64,
                                          .n_dims = 1,
                                          .shape = {SSL_MEMORY_MAX},
                                          .data = w->memory};
    tensors[(*n_tensors)++] = (st_tensor){.name = "gamma",
                                          .dtype = ST_F64,
                                          .n_dims = 2,
                                          .shape = {SSL_GAMMAS_MAX, QS_CLASSES_MAX},
                                          .data = w->gamma};
    tensors[(*n_tensors)++] = (st_tensor){.name = "gamma_state",
                                          .dtype = ST_F64,
                                          .n_dims = 2,
                                          .shape = {SSL_GAMMAS_MAX, TR_GAMMA_STATE},
                                          .data = w->gamma_state};
    tensors[(*n_tensors)++] = (st_tensor){.name = "held",
                                          .dtype = ST_F64,
                                          .n_dims = 2,
                                          .shape = {SSL_GAMMAS_MAX, N_HELD},
                                          .data = w->held};
    tensors[(*n_tensors)++] = (st_tensor){
        .name = "counters", .dtype = ST_I64, .n_dims = 1, .shape = {N_COUNTS}, .data = w->counts};
    tensors[(*n_tensors)++] = (st_tensor){
        .name = "scores", .dtype = ST_F64, .n_dims = 1, .shape = {N_SCORES}, .data = w->scores};
    tensors[(*n_tensors)++] = (st_tensor){.name = "window",
                                          .dtype = ST_U8,
                                          .n_dims = 1,
                                          .shape = {sizeof p->window},
                                          .data = &p->window};
}

static GHashTable *make_metadata(const tr_learner *l, const tr_identity *identity)
{
    GHashTable *meta = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_hash_table_insert(meta, g_strdup("format"), g_strdup(STATE_FORMAT));
    g_hash_table_insert(meta, g_strdup("options"), g_strdup(identity->options));
    g_hash_table_insert(meta, g_strdup("data"), g_strdup(identity->data));
    g_hash_table_insert(meta, g_strdup("conv_choices"), kn_engine_conv_choices(l->engine));
    g_hash_table_insert(meta, g_strdup("threads"),
                        g_strdup_printf("%d", kn_engine_threads(l->engine)));
    return meta;
}

bool tr_state_write(tr_state_writer *w, const char *path, const tr_learner *l,
                    const tr_progress *progress, const tr_identity *identity, GError **error)
{
    st_tensor tensors[N_TENSORS_MAX];
    size_t n = 0;
    if (!gather_nets(w, l, tensors, &n, error))
        return false;
    gather_progress(w, l, progress, tensors, &n);
    gather_history(w, l, tensors, &n);
    GHashTable *meta = make_metadata(l, identity);
    bool ok = st_write(path, tensors, n, meta, error);
    g_hash_table_unref(meta);
    return ok;
}

static bool same_text(const char *path, const char *was, const char *is, GError **error)
{
    g_autofree char *difference = tr_options_difference(was ? was : "", is);
    if (!difference)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                "%s: the run was started otherwise: %s; give the old value to go on, or --fresh to "
                "start over "
                "(the old run is moved aside)",
                path, difference);
    return false;
}

char *tr_state_read_choices(const char *path, const tr_identity *identity, int *threads,
                            GError **error)
{
    st_file *file = st_open(path, error);
    if (!file)
        return NULL;
    char *choices = NULL;
    const char *format = st_metadata(file, "format"), *n_threads = st_metadata(file, "threads");
    if (!format || strcmp(format, STATE_FORMAT) != 0)
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: is no training state of this version (format \"%s\", wanted %s)", path,
                    format ? format : "", STATE_FORMAT);
    else if (same_text(path, st_metadata(file, "options"), identity->options, error) &&
             same_text(path, st_metadata(file, "data"), identity->data, error))
        choices =
            g_strdup(st_metadata(file, "conv_choices") ? st_metadata(file, "conv_choices") : "");
    *threads = n_threads ? (int)g_ascii_strtoll(n_threads, NULL, 10) : 0;
    st_close(file);
    return choices;
}

/* The data of a tensor of n elements of that type. */
static const void *want(const st_file *file, const char *path, const char *name, st_dtype dtype,
                        int64_t n, GError **error)
{
    const st_tensor *t = st_find(file, name);
    int64_t have = t ? 1 : 0;
    for (int d = 0; t && d < t->n_dims; d++)
        have *= t->shape[d];
    if (t && t->dtype == dtype && have == n)
        return t->data;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "%s: tensor %s has %" G_GINT64_FORMAT " elements, wanted %" G_GINT64_FORMAT, path,
                name, have, n);
    return NULL;
}

static bool read_nets(const st_file *file, const char *path, tr_learner *l, GError **error)
{
    char name[32];
    for (int k = 0; k < l->plan.n_nets; k++) {
        for (int a = 0; a < N_ARRAYS; a++) {
            int64_t n = array_n(l, k, a);
            snprintf(name, sizeof name, "net%d.%s", k, arrays[a].name);
            const float *x = n > 0 ? want(file, path, name, ST_F32, n, error) : NULL;
            if (n > 0 && !x)
                return false;
            if (n > 0)
                kn_weights_set(l->weights[k], arrays[a].array, 0, n, x);
        }
        snprintf(name, sizeof name, "net%d.batches_tracked", k);
        const int64_t *tracked = want(file, path, name, ST_I64, 1, error);
        if (!tracked)
            return false;
        kn_weights_set_batches_tracked(l->weights[k], tracked[0]);
    }
    return true;
}

static bool read_history(const st_file *file, const char *path, tr_learner *l, int64_t n_sweeps,
                         GError **error)
{
    const char *name;
    int64_t bytes;
    uint8_t *data;
    for (int i = 0; l->history && (data = tr_history_array(l->history, i, &name, &bytes)); i++) {
        const void *was = want(file, path, name, ST_U8, bytes, error);
        if (!was)
            return false;
        memcpy(data, was, (size_t)bytes);
    }
    if (l->history)
        tr_history_set_sweeps(l->history, n_sweeps);
    return true;
}

/* A counter that cannot be says that the file is damaged, whatever its checksum. */
static bool counters_possible(const char *path, const int64_t *c, int64_t most, GError **error)
{
    if (c[COUNT_ITERATIONS] >= 1 && c[COUNT_ITERATIONS] <= most && c[COUNT_ITERATION] >= 0 &&
        c[COUNT_ITERATION] <= c[COUNT_ITERATIONS] && c[COUNT_BEST_ITERATION] >= -1 &&
        c[COUNT_BEST_ITERATION] <= c[COUNT_ITERATION] && c[COUNT_VAL_ITERATION] >= -1 &&
        c[COUNT_VAL_ITERATION] <= c[COUNT_ITERATION] && c[COUNT_CSV_BYTES] >= 0 &&
        c[COUNT_SWEEPS] >= 0 && c[COUNT_STAGE] >= 0)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "%s: damaged: it says step %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
                " where 0 to %" G_GINT64_FORMAT
                " are possible; take it from a copy, or --fresh to start over (the old run is "
                "moved aside)",
                path, c[COUNT_ITERATION], c[COUNT_ITERATIONS], most);
    return false;
}

bool tr_state_read(const char *path, tr_learner *l, tr_progress *p, GError **error)
{
    st_file *file = st_open(path, error);
    if (!file)
        return false;
    const double *gamma = want(file, path, "gamma", ST_F64, SSL_GAMMAS_MAX * QS_CLASSES_MAX, error);
    const double *gamma_state =
        gamma ? want(file, path, "gamma_state", ST_F64, SSL_GAMMAS_MAX * TR_GAMMA_STATE, error)
              : NULL;
    const double *held =
        gamma_state ? want(file, path, "held", ST_F64, SSL_GAMMAS_MAX * N_HELD, error) : NULL;
    const int64_t *counts = held ? want(file, path, "counters", ST_I64, N_COUNTS, error) : NULL;
    const double *scores = counts ? want(file, path, "scores", ST_F64, N_SCORES, error) : NULL;
    const void *window =
        scores ? want(file, path, "window", ST_U8, sizeof(tr_window), error) : NULL;
    const double *memory =
        window ? want(file, path, "memory", ST_F64, SSL_MEMORY_MAX, error) : NULL;
    bool ok = memory && st_verify(file, NULL, error) &&
              counters_possible(path, counts, p->iterations, error) &&
              read_nets(file, path, l, error) &&
              read_history(file, path, l, counts[COUNT_SWEEPS], error);
    if (ok) {
        memcpy(l->gamma, gamma, sizeof l->gamma);
        memcpy(l->gamma_state, gamma_state, sizeof l->gamma_state);
        memcpy(l->held, held, sizeof l->held);
        memcpy(l->memory, memory, sizeof l->memory);
        l->stage = (int)counts[COUNT_STAGE];
        *p = (tr_progress){
            .iteration = counts[COUNT_ITERATION],
            .iterations = counts[COUNT_ITERATIONS],
            .planned = counts[COUNT_PLANNED] != 0,
            .best_iteration = counts[COUNT_BEST_ITERATION],
            .val_iteration = counts[COUNT_VAL_ITERATION],
            .csv_bytes = counts[COUNT_CSV_BYTES],
            .elapsed_s = scores[SCORE_ELAPSED],
            .val_dsc = scores[SCORE_VAL],
            .best_dsc = scores[SCORE_BEST],
        };
        memcpy(&p->window, window, sizeof p->window);
    }
    st_close(file);
    return ok;
}
