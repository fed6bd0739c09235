#include "train/run/log.h"

#include "base/error.h"
#include "base/file.h"
#include "train/loss/region_weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct tr_log {
    qs_file *file;
    int64_t n_bytes;
    GString *lines; /* kept to be reused */
};

static const char header[] = "iteration,name,value,unit\n";
static const char *const region_names[KN_N_REGIONS] = {"uc", "us", "dc", "ds"};

static bool start_file(tr_log *log, const char *path, int64_t n_bytes, GError **error)
{
    int64_t size = qs_file_size(log->file, error);
    if (size < 0)
        return false;
    if (n_bytes > 0 && size < n_bytes) {
        qs_warn("%s: has %" G_GINT64_FORMAT " bytes of the %" G_GINT64_FORMAT
                " that the state knows; it goes on without the rest",
                path, size, n_bytes);
        n_bytes = size;
    }
    if (!qs_file_truncate(log->file, n_bytes, error))
        return false;
    log->n_bytes = n_bytes;
    if (n_bytes > 0)
        return true;
    log->n_bytes = (int64_t)strlen(header);
    return qs_file_write_at(log->file, 0, header, strlen(header), error);
}

tr_log *tr_log_open(const char *path, int64_t n_bytes, GError **error)
{
    tr_log *log = g_new0(tr_log, 1);
    log->lines = g_string_sized_new(8192);
    log->file = qs_file_open(path, QS_FILE_UPDATE, error);
    if (!log->file || !start_file(log, path, n_bytes, error)) {
        tr_log_close(log);
        return NULL;
    }
    return log;
}

void tr_log_close(tr_log *log)
{
    if (!log)
        return;
    qs_file_close(log->file, NULL);
    g_string_free(log->lines, TRUE);
    g_free(log);
}

bool tr_log_add(tr_log *log, int64_t iteration, const char *const *names, const double *values,
                const char *const *units, size_t n, GError **error)
{
    g_string_truncate(log->lines, 0);
    for (size_t i = 0; i < n; i++)
        g_string_append_printf(log->lines, "%" G_GINT64_FORMAT ",%s,%.9g,%s\n", iteration, names[i],
                               values[i], units[i]);
    if (!qs_file_write_at(log->file, log->n_bytes, log->lines->str, log->lines->len, error))
        return false;
    log->n_bytes += (int64_t)log->lines->len;
    return true;
}

bool tr_log_sync(tr_log *log, GError **error)
{
    return qs_file_sync(log->file, error);
}

int64_t tr_log_bytes(const tr_log *log)
{
    return log->n_bytes;
}

void tr_window_add(tr_window *window, const tr_step_result *step)
{
    tr_step_result *sum = &window->sum;
    window->n_steps++;
    sum->loss += step->loss;
    sum->sup += step->sup;
    sum->unsup += step->unsup;
    sum->lr = step->lr;
    sum->lambda = step->lambda;
    for (int half = 0; half < 2; half++) {
        for (int r = 0; r < KN_N_REGIONS; r++) {
            sum->region_px[half][r] += step->region_px[half][r];
            sum->region_right[half][r] += step->region_right[half][r];
            sum->truth_px[half][r] += step->truth_px[half][r];
            sum->region_loss[half][r] += step->region_loss[half][r];
        }
    }
}

static void region_status(const tr_step_result *sum, int half, tr_status *status)
{
    double px = 0, loss = 0;
    for (int r = 0; r < KN_N_REGIONS; r++) {
        px += (double)sum->region_px[half][r];
        loss += sum->region_loss[half][r];
    }
    for (int r = 0; r < KN_N_REGIONS; r++) {
        int64_t known = sum->truth_px[half][r];
        status->region_share[r] = px > 0 ? (double)sum->region_px[half][r] / px : NAN;
        status->region_loss_share[r] = loss > 0 ? sum->region_loss[half][r] / loss : NAN;
        status->region_accuracy[r] =
            known > 0 ? (double)sum->region_right[half][r] / (double)known : NAN;
    }
}

static void gamma_status(const tr_learner *l, ssl_half half, double *gamma)
{
    for (int c = 0; c < QS_CLASSES_MAX; c++)
        gamma[c] = NAN;
    for (int g = 0; g < l->plan.n_gammas; g++) {
        if (l->plan.gammas[g].half == half) {
            memcpy(gamma, l->gamma[l->slot[g]], (size_t)l->n_classes * sizeof *gamma);
            return;
        }
    }
}

void tr_window_status(const tr_window *window, const tr_learner *l, tr_status *status)
{
    double n = (double)window->n_steps;
    const tr_step_result *sum = &window->sum;
    status->loss = n > 0 ? sum->loss / n : NAN;
    status->loss_sup = n > 0 ? sum->sup / n : NAN;
    status->loss_unsup = n > 0 && l->plan.n_unlabelled > 0 ? sum->unsup / n : NAN;
    status->lr = sum->lr;
    status->lambda = sum->lambda;
    status->n_classes = l->n_classes;
    region_status(sum, l->plan.n_unlabelled > 0 ? 1 : 0, status);
    gamma_status(l, SSL_UNLABELLED, status->gamma_unl);
    gamma_status(l, SSL_LABELLED, status->gamma_lab);
}

void tr_weights_status(const tr_learner *l, const tr_options *options, tr_status *status)
{
    for (int r = 0; r < KN_N_REGIONS; r++)
        status->region_weight[r] = status->held_accuracy[r] = NAN;
    if (options->weights != TR_WEIGHTS_AUTO)
        return;
    for (int g = 0; g < l->plan.n_gammas; g++)
        if (l->plan.gammas[g].half == SSL_UNLABELLED) {
            tr_weights_now(l, options, g, status->region_weight, status->held_accuracy);
            return;
        }
}

void tr_metrics_add(tr_metrics *m, const char *name, double value, const char *unit)
{
    if (isnan(value) || m->n == TR_METRICS_MAX)
        return;
    g_strlcpy(m->text[m->n], name, sizeof m->text[m->n]);
    m->names[m->n] = m->text[m->n];
    m->values[m->n] = value;
    m->units[m->n++] = unit;
}

static void add_indexed(tr_metrics *m, const char *prefix, const char *suffix, double value,
                        const char *unit)
{
    char name[32];
    snprintf(name, sizeof name, "%s_%s", prefix, suffix);
    tr_metrics_add(m, name, value, unit);
}

void tr_metrics_from_status(tr_metrics *m, const tr_status *status)
{
    m->n = 0;
    tr_metrics_add(m, "loss", status->loss, "");
    tr_metrics_add(m, "loss_sup", status->loss_sup, "");
    tr_metrics_add(m, "loss_unsup", status->loss_unsup, "");
    tr_metrics_add(m, "lr", status->lr, "");
    tr_metrics_add(m, "lambda", status->lambda, "");
    for (int r = 0; r < KN_N_REGIONS; r++) {
        add_indexed(m, "share", region_names[r], status->region_share[r], "fraction");
        add_indexed(m, "loss_share", region_names[r], status->region_loss_share[r], "fraction");
        add_indexed(m, "accuracy", region_names[r], status->region_accuracy[r], "fraction");
        add_indexed(m, "weight", region_names[r], status->region_weight[r], "");
        add_indexed(m, "held_accuracy", region_names[r], status->held_accuracy[r], "fraction");
    }
    for (int c = 0; c < status->n_classes; c++) {
        char cls[12];
        snprintf(cls, sizeof cls, "%d", c);
        add_indexed(m, "gamma_unl", cls, status->gamma_unl[c], "");
        add_indexed(m, "gamma_lab", cls, status->gamma_lab[c], "");
    }
    tr_metrics_add(m, "patches_per_s", status->patches_per_s, "1/s");
}
