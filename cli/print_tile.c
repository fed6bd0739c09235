/* See print_tile.h. */
#include "cli/print_tile.h"

#include "cli/cli.h"

void cli_print_tile_plan(const tile_run *run, GPtrArray *order, int n_threads)
{
    int64_t memory, temp;
    int n_broken = 0;
    for (guint i = 0; i < order->len; i++)
        n_broken += ((const job_tile *)order->pdata[i])->state == TILE_FAILED;
    job_crew_needs(order, n_threads, &memory, &temp);
    g_autofree char *memory_text = qs_format_bytes(memory), *temp_text = qs_format_bytes(temp);
    cli_print("%u slides, %" G_GINT64_FORMAT
              " patches of %d pixels at stride %d, %d threads, at most %s of memory",
              order->len, run->n_cells, run->config->patch_px, run->config->stride_px, n_threads,
              memory_text);
    if (temp > 0)
        cli_print(" and %s of temporary files in %s", temp_text, g_get_tmp_dir());
    cli_print("\n");
    if (n_broken)
        cli_print("%d of them cannot be opened; they are recorded as failed\n", n_broken);
}

void cli_print_tile_totals(const job_totals *t)
{
    const job_run_times *times = &t->times;
    double wall_s = times->wall_s;
    g_autofree char *wall = qs_format_seconds(wall_s);
    cli_print("slides    %d done, %d were already, %d failed, %d stopped or not begun\n",
              t->n[TILE_DONE], t->n[TILE_ALREADY], t->n[TILE_FAILED],
              t->n[TILE_STOPPED] + t->n[TILE_TODO]);
    cli_print("patches   %" G_GINT64_FORMAT " kept; dropped: %" G_GINT64_FORMAT
              " for tissue, %" G_GINT64_FORMAT " blank; %" G_GINT64_FORMAT " damaged\n",
              t->kept, t->tissue, t->blank, t->damaged);
    if (t->copies)
        cli_print("copied    %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
                  " patches are the slides' own JPEG tiles, the others encoded\n",
                  t->copied, t->kept);
    int n_masks = 0;
    for (int i = 0; i < WSI_MASK_KINDS; i++)
        n_masks += t->n_masks[i];
    if (n_masks > 0)
        cli_print("masks     %d label maps, %d binary (their values are 0 and 255), %d JPEG "
                  "(binary at >= 128), %d annotation files; %d smaller "
                  "than their slide by a whole number\n",
                  t->n_masks[WSI_MASK_LABELS], t->n_masks[WSI_MASK_BINARY_255],
                  t->n_masks[WSI_MASK_BINARY_JPEG], t->n_masks[WSI_MASK_ANNOTATION],
                  t->n_small_masks);
    if (t->gaps > 0)
        cli_print("missing   %" G_GINT64_FORMAT
                  " regions have no bytes in their file; `status --damage` says where\n",
                  t->gaps);
    g_autofree char *went = job_run_times_text(times);
    cli_print("time      %s, %s\n", wall, went);
    qs_event("summary",
             "\"done\":%d,\"already\":%d,\"failed\":%d,\"kept\":%" G_GINT64_FORMAT
             ",\"copied\":%" G_GINT64_FORMAT ",\"tissue\":%" G_GINT64_FORMAT
             ",\"blank\":%" G_GINT64_FORMAT ",\"damaged\":%" G_GINT64_FORMAT ",\"seconds\":%.3f",
             t->n[TILE_DONE], t->n[TILE_ALREADY], t->n[TILE_FAILED], t->kept, t->copied, t->tissue,
             t->blank, t->damaged, wall_s);
}

static void print_table(GArray *jobs)
{
    cli_print("%-32s %15s %8s %7s %9s  %s\n", "slide", "size", "mpp", "/", "patches", "");
    for (guint i = 0; i < jobs->len; i++) {
        const job_tile *job = &g_array_index(jobs, job_tile, i);
        g_autofree char *name = g_path_get_basename(job->path);
        if (job->state == TILE_FAILED) {
            cli_print("%-32s fails: %s\n", name, job->error->message);
            continue;
        }
        g_autofree char *mpp =
            job->mpp_l0 > 0 ? g_strdup_printf("%.4g", job->mpp_l0) : g_strdup("?");
        cli_print("%-32s %7" G_GINT64_FORMAT " x%6" G_GINT64_FORMAT " %8s %7.4g %9" G_GINT64_FORMAT
                  "  %s\n",
                  name, job->w_l0, job->h_l0, mpp, job->downsample, job->n_cells,
                  job->known ? "in the store, begun or done" : "");
    }
}

static void print_figures(GArray *jobs, const job_estimate *e, int n_threads)
{
    g_autofree char *bytes = qs_format_bytes((int64_t)e->bytes),
                    *memory = qs_format_bytes(e->memory);
    g_autofree char *temp = qs_format_bytes(e->temp), *free_text = qs_format_bytes(e->n_free);
    g_autofree char *time = qs_format_seconds(e->seconds);
    cli_print("\npatches   %.0f of %" G_GINT64_FORMAT " cells (%s)\n",
              (double)e->n_cells * e->kept_share, e->n_cells, e->kept_from);
    cli_print("bytes     %s (%s)", bytes, e->bytes_from);
    if (e->n_free >= 0)
        cli_print("; %s free there%s", free_text,
                  e->bytes > (double)e->n_free ? ", which is too little" : "");
    cli_print("\nmemory    at most %s on %d threads (counted)", memory, n_threads);
    if (e->temp > 0)
        cli_print(", and %s of temporary files in %s", temp, g_get_tmp_dir());
    cli_print("\ntime      %s, %.1f minutes at %.3g MP/s (%s)\n", time, e->seconds / 60, e->rate,
              e->rate_from);
    cli_print("slides    %" G_GINT64_FORMAT " of %u would fail\n", e->n_failed, jobs->len);
}

void cli_print_estimate(GArray *jobs, const job_estimate *e, int n_threads)
{
    print_table(jobs);
    print_figures(jobs, e, n_threads);
}
