/* Progress on stderr: one bar that is redrawn on a terminal, a plain line every ten seconds where
 * there is none (logs, CI). The ETA is linear in the work done since the stage began, so that a
 * resumed run does not count what an earlier one did. */
#include "cli/cli_priv.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static GMutex lock; /* guards everything below */
static bool quiet, bar_open;
static char stage_now[64];
static int64_t stage_first, stage_start_us, last_us;

static void draw(const char *stage, int64_t done, int64_t total, const char *detail, int64_t now,
                 bool terminal)
{
    double elapsed = (double)(now - stage_start_us) * 1e-6;
    g_autofree char *eta = NULL;
    if (total > 0 && done > stage_first && done < total)
        eta = qs_format_seconds(elapsed * (double)(total - done) / (double)(done - stage_first));
    GString *line = g_string_new(stage);
    if (total > 0) {
        int percent = (int)(100 * done / total), width = 24, filled = (int)(width * done / total);
        if (terminal) {
            g_string_append(line, " [");
            for (int i = 0; i < width; i++)
                g_string_append(line, i < filled ? "█" : "·");
            g_string_append_c(line, ']');
        }
        g_string_append_printf(line, " %d %% (%" G_GINT64_FORMAT "/%" G_GINT64_FORMAT ")", percent,
                               done, total);
    } else {
        g_string_append_printf(line, " %" G_GINT64_FORMAT, done);
    }
    if (detail && *detail)
        g_string_append_printf(line, "  %s", detail);
    if (eta)
        g_string_append_printf(line, "  ETA %s", eta);
    fprintf(stderr, terminal ? "\r\033[K%s" : "%s\n", line->str);
    fflush(stderr);
    g_string_free(line, TRUE);
    bar_open = terminal;
}

static void update(void *user, const char *stage, int64_t done, int64_t total, const char *detail)
{
    (void)user;
    int64_t now = g_get_monotonic_time();
    g_mutex_lock(&lock);
    bool terminal = isatty(STDERR_FILENO), fresh = strcmp(stage, stage_now) != 0;
    if (fresh) {
        g_strlcpy(stage_now, stage, sizeof stage_now);
        stage_first = done;
        stage_start_us = now;
        last_us = terminal ? 0 : now;
    }
    int64_t wait = terminal ? 100000 : 10000000;
    if (!quiet && (now - last_us >= wait || (done == total && total > 0 && terminal))) {
        last_us = now;
        draw(stage, done, total, detail, now, terminal);
    }
    g_mutex_unlock(&lock);
}

const qs_progress *cli_progress(void)
{
    static const qs_progress sink = {.update = update};
    return &sink;
}

void cli_progress_end(void)
{
    g_mutex_lock(&lock);
    if (bar_open) {
        fputc('\n', stderr);
        bar_open = false;
    }
    g_mutex_unlock(&lock);
}

void cli_progress_set_quiet(bool value)
{
    quiet = value;
}
