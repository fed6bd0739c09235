/* Training curves from RUN/metrics.csv (iteration,name,value,unit), and the pictures of batches
 * that a run leaves in RUN/snapshots.
 *
 * Noisy per-step values are drawn twice: as they are, faint, and as a running mean over a fortieth
 * of the run. Charts show what there is: a series that a run did not log is left out. A line that
 * cannot be read is an error, but for an unfinished last one: the run may be going on. */
#include "report/report.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHART_W = 520, CHART_H = 250, LEFT = 46, RIGHT = 12, TOP = 10, BOTTOM = 30 };
enum { N_SNAPSHOTS = 3, N_REGIONS = 4 };
static const int N_RAW_MAX = 600; /* points of a faint curve: more than pixels helps no one */

typedef struct {
    double x, y;
} point;

/* One run's log: series by name. */
typedef struct {
    const rep_named *run;
    GHashTable *series; /* name → GArray of point, by iteration */
    double last;        /* largest iteration */
} run_log;

static const char *const regions[N_REGIONS] = {"uc", "us", "dc", "ds"};
static const char *const region_words[N_REGIONS] = {
    "confident and agreed (UC)", "suspicious, agreed (US)", "confident, disagreed (DC)",
    "suspicious, disagreed (DS)"};

/* Is it iteration,name,value,unit? A value that is no finite number is no point. */
static bool add_line(run_log *log, char *line)
{
    char *name = strchr(line, ',');
    char *value = name ? strchr(name + 1, ',') : NULL;
    if (!value)
        return false;
    *name++ = 0;
    *value++ = 0;
    char *end;
    point p = {.x = g_ascii_strtod(line, &end)};
    if (end == line || *end)
        return false;
    p.y = g_ascii_strtod(value, &end);
    if (end == value || (*end && *end != ','))
        return false;
    if (!isfinite(p.y))
        return true;
    g_autofree char *key = g_ascii_strdown(name, -1);
    GArray *points = g_hash_table_lookup(log->series, key);
    if (!points) {
        points = g_array_new(FALSE, FALSE, sizeof(point));
        g_hash_table_insert(log->series, g_strdup(key), points);
    }
    g_array_append_val(points, p);
    log->last = MAX(log->last, p.x);
    return true;
}

static bool broken_log(const char *path, int number, const char *line, GError **error)
{
    g_autofree char *shown = g_utf8_make_valid(line, (gssize)MIN(strlen(line), 40));
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "%s: line %d is \"%s\" and not iteration,name,value,unit: the log is broken; leave "
                "the run out, or train it again with --fresh",
                path, number, shown);
    return false;
}

static bool log_read(run_log *log, const rep_named *run, GError **error)
{
    *log = (run_log){.run = run,
                     .series = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                                     (GDestroyNotify)g_array_unref)};
    g_autofree char *path = g_build_filename(run->path, "metrics.csv", NULL);
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, error)) {
        g_prefix_error(error, "--run %s: ", run->name);
        return false;
    }
    int number = 0;
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        g_autofree char *whole = g_strdup(line); /* add_line cuts it */
        bool header = number++ == 0 && g_str_equal(line, "iteration,name,value,unit");
        bool unfinished = !next && number > 1; /* the run is writing it, or was killed there */
        if (!header && !add_line(log, line) && !unfinished)
            return broken_log(path, number, whole, error);
    }
    return true;
}

static GArray *find(const run_log *log, const char *name)
{
    return g_hash_table_lookup(log->series, name);
}

static GArray *find_region(const run_log *log, int i)
{
    g_autofree char *name = g_strdup_printf("share_%s", regions[i]);
    return find(log, name);
}

/* A step of 1, 2 or 5 times a power of ten that cuts the range into about n. */
static double nice_step(double range, int n)
{
    double raw = range / n, power = pow(10, floor(log10(raw))), m = raw / power;
    return power * (m < 1.5 ? 1 : m < 3.5 ? 2 : m < 7.5 ? 5 : 10);
}

typedef struct {
    double x_max, y_min, y_max;
} axes;

static double px(const axes *a, double x)
{
    return LEFT + (CHART_W - LEFT - RIGHT) * (a->x_max > 0 ? x / a->x_max : 0);
}

static double py(const axes *a, double y)
{
    return TOP + (CHART_H - TOP - BOTTOM) * (a->y_max - CLAMP(y, a->y_min, a->y_max)) /
                     (a->y_max - a->y_min);
}

static void open_chart(GString *page, const axes *a, const char *label, const char *y_format)
{
    g_string_append_printf(page, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", CHART_W,
                           CHART_H);
    rep_text(page, label);
    g_string_append(page, "\">\n");
    double step = nice_step(a->y_max - a->y_min, 4);
    for (double y = step * ceil(a->y_min / step); y <= a->y_max + step * 1e-6; y += step) {
        g_string_append_printf(page,
                               "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>",
                               LEFT, CHART_W - RIGHT, py(a, y), py(a, y));
        g_string_append_printf(page, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT - 8,
                               py(a, y) + 4);
        g_autofree char *number = g_strdup_printf(strcmp(y_format, "%") ? "%.3g" : "%.0f %%",
                                                  strcmp(y_format, "%") ? y : 100 * y);
        g_string_append_printf(page, "%s</text>\n", number);
    }
    if (!(a->x_max > 0))
        return;
    step = nice_step(a->x_max, 4);
    for (double x = 0; x <= a->x_max * 1.0001; x += step)
        g_string_append_printf(page,
                               "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
                               px(a, x), CHART_H - BOTTOM + 20, x);
}

static void add_path(GString *page, const axes *a, const GArray *points, const char *class,
                     int colour)
{
    guint every = MAX(1, points->len / (guint)N_RAW_MAX);
    g_string_append_printf(page, "<polyline class=\"%s\" style=\"stroke:var(--m%d)\" points=\"",
                           class, colour);
    for (guint i = 0; i < points->len; i += every) {
        const point *p = &g_array_index(points, point, i);
        g_string_append_printf(page, "%.1f,%.1f ", px(a, p->x), py(a, p->y));
    }
    g_string_append(page, "\"/>\n");
}

/* Running mean over a window of a fortieth of the points and at least five, centred. */
static GArray *smooth(const GArray *points)
{
    GArray *out = g_array_sized_new(FALSE, FALSE, sizeof(point), points->len);
    int n = (int)points->len, half = MAX(2, n / 80);
    for (int i = 0; i < n; i++) {
        int first = MAX(0, i - half), last = MIN(n - 1, i + half);
        point mean = g_array_index(points, point, i);
        mean.y = 0;
        for (int j = first; j <= last; j++)
            mean.y += g_array_index(points, point, j).y;
        mean.y /= last - first + 1;
        g_array_append_val(out, mean);
    }
    return out;
}

/* The top of a loss chart: the 98th percentile, so that the first steps do not flatten the rest. */
static double high_percentile(const run_log *logs, guint n, const char *name)
{
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(double));
    for (guint i = 0; i < n; i++) {
        GArray *points = find(&logs[i], name);
        for (guint k = 0; points && k < points->len; k++)
            g_array_append_val(all, g_array_index(points, point, k).y);
    }
    double top = 0;
    for (guint rank = all->len / 50 + 1; rank > 0 && all->len > 0; rank--) {
        guint best = 0;
        for (guint k = 1; k < all->len; k++)
            best = g_array_index(all, double, k) > g_array_index(all, double, best) ? k : best;
        top = g_array_index(all, double, best);
        g_array_remove_index_fast(all, best);
    }
    return top;
}

static bool any_has(const run_log *logs, guint n, const char *name)
{
    for (guint i = 0; i < n; i++)
        if (find(&logs[i], name))
            return true;
    return false;
}

static double longest(const run_log *logs, guint n)
{
    double last = 0;
    for (guint i = 0; i < n; i++)
        last = MAX(last, logs[i].last);
    return last;
}

/* Runs of one name, as the seeds of a method are, have one entry in the key. */
static bool named_before(const run_log *logs, guint i, const char *series)
{
    for (guint k = 0; k < i; k++)
        if (find(&logs[k], series) && !strcmp(logs[k].run->name, logs[i].run->name))
            return true;
    return false;
}

static void add_chart(GString *page, const run_log *logs, guint n, const char *name,
                      const char *title, const char *note, double y_max, bool smoothed)
{
    if (!any_has(logs, n, name))
        return;
    axes a = {.x_max = longest(logs, n), .y_min = 0, .y_max = y_max > 0 ? y_max : 1};
    g_autofree char *label = g_strdup_printf("%s over iterations", title);
    g_string_append_printf(page, "<figure><h3>%s</h3><ul class=\"key\">", title);
    for (guint i = 0; i < n; i++) {
        if (!find(&logs[i], name) || named_before(logs, i, name))
            continue;
        g_string_append_printf(page,
                               "<li><span class=\"chip\" style=\"background:var(--m%d)\"></span>",
                               logs[i].run->index);
        rep_text(page, logs[i].run->name);
        g_string_append(page, "</li>");
    }
    g_string_append(page, "</ul>");
    open_chart(page, &a, label, "");
    for (guint i = 0; i < n; i++) {
        GArray *points = find(&logs[i], name);
        if (!points)
            continue;
        g_autoptr(GArray) line = smoothed ? smooth(points) : g_array_ref(points);
        if (smoothed)
            add_path(page, &a, points, "raw", logs[i].run->index);
        add_path(page, &a, line, "line", logs[i].run->index);
        for (guint k = 0; !smoothed && k < points->len; k++)
            g_string_append_printf(page,
                                   "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"var(--m%d)\"/>",
                                   px(&a, g_array_index(points, point, k).x),
                                   py(&a, g_array_index(points, point, k).y), logs[i].run->index);
    }
    g_string_append_printf(page, "</svg><figcaption>%s</figcaption></figure>\n", note);
}

/* One region's band between base and base + share; the base rises by it. */
static void add_band(GString *page, const axes *a, const GArray *share, double *base, guint n,
                     const char *region)
{
    guint every = MAX(1, n / (guint)N_RAW_MAX), n_points = (n + every - 1) / every;
    g_string_append_printf(page, "<polygon fill=\"var(--%s)\" points=\"", region);
    for (guint k = 0; k < 2 * n_points; k++) {
        bool upper = k < n_points;
        guint i = every * (upper ? k : 2 * n_points - 1 - k);
        const point *p = &g_array_index(share, point, i);
        g_string_append_printf(page, "%.1f,%.1f ", px(a, p->x),
                               py(a, base[i] + (upper ? p->y : 0)));
    }
    g_string_append(page, "\"/>\n");
    for (guint i = 0; i < n; i++)
        base[i] += g_array_index(share, point, i).y;
}

/* The four shares of one run, stacked to 1. */
static void add_regions(GString *page, const run_log *log)
{
    guint n = G_MAXUINT;
    for (int k = 0; k < N_REGIONS; k++) {
        GArray *points = find_region(log, k);
        if (!points)
            return;
        n = MIN(n, points->len);
    }
    axes a = {.x_max = log->last, .y_min = 0, .y_max = 1};
    g_string_append(page, "<figure><h3>Quadripartition, ");
    rep_text(page, log->run->name);
    g_string_append(page, "</h3><ul class=\"key\">");
    for (int k = 0; k < N_REGIONS; k++)
        g_string_append_printf(
            page, "<li><span class=\"chip square\" style=\"background:var(--%s)\"></span>%s</li>",
            regions[k], region_words[k]);
    g_string_append(page, "</ul>");
    open_chart(page, &a, "Shares of the four regions over iterations", "%");
    g_autofree double *base = g_new0(double, n);
    for (int k = 0; k < N_REGIONS; k++) {
        g_autoptr(GArray) share = smooth(find_region(log, k));
        add_band(page, &a, share, base, n, regions[k]);
    }
    g_string_append(
        page, "</svg><figcaption>Share of the pixels, by agreement of the two predictions and "
              "confidence of the reference.</figcaption></figure>\n");
}

/* How often the reference is right in each region, where a truth is known (the paper's Fig. 10). */
static void add_accuracy(GString *page, const run_log *log)
{
    GArray *series[N_REGIONS];
    bool any = false;
    for (int k = 0; k < N_REGIONS; k++) {
        g_autofree char *name = g_strdup_printf("accuracy_%s", regions[k]);
        series[k] = find(log, name);
        any = any || series[k];
    }
    if (!any)
        return;
    axes a = {.x_max = log->last, .y_min = 0, .y_max = 1};
    g_string_append(page, "<figure><h3>Right in each region, ");
    rep_text(page, log->run->name);
    g_string_append(page, "</h3><ul class=\"key\">");
    for (int k = 0; k < N_REGIONS; k++)
        if (series[k])
            g_string_append_printf(page,
                                   "<li><span class=\"chip square\" "
                                   "style=\"background:var(--%s)\"></span>%s</li>",
                                   regions[k], region_words[k]);
    g_string_append(page, "</ul>");
    open_chart(page, &a, "Accuracy of the reference in the four regions over iterations", "%");
    for (int k = 0; k < N_REGIONS; k++) {
        if (!series[k])
            continue;
        g_autoptr(GArray) line = smooth(series[k]);
        g_string_append_printf(
            page, "<polyline class=\"line\" style=\"stroke:var(--%s)\" points=\"", regions[k]);
        guint every = MAX(1, line->len / (guint)N_RAW_MAX);
        for (guint i = 0; i < line->len; i += every) {
            const point *p = &g_array_index(line, point, i);
            g_string_append_printf(page, "%.1f,%.1f ", px(&a, p->x), py(&a, p->y));
        }
        g_string_append(page, "\"/>\n");
    }
    g_string_append(page, "</svg><figcaption>Share of the pixels of a region whose pseudo-label is "
                          "right, where the truth is known; running mean.</figcaption></figure>\n");
}

static int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The picture nearest to a step. */
static guint nearest(const GPtrArray *names, int64_t step)
{
    guint best = 0;
    int64_t best_off = G_MAXINT64;
    for (guint i = 0; i < names->len; i++) {
        int64_t off = llabs(g_ascii_strtoll(names->pdata[i], NULL, 10) - step);
        if (off < best_off) {
            best = i;
            best_off = off;
        }
    }
    return best;
}

/* Which of the pictures are shown: n of them, in order. */
static guint choose(const GPtrArray *names, const GArray *steps, guint *chosen, guint room)
{
    guint n = 0;
    for (guint k = 0; steps && steps->len > 0 && names->len > 0 && k < steps->len && n < room;
         k++) {
        guint at = nearest(names, g_array_index(steps, int64_t, k));
        if (n == 0 || chosen[n - 1] != at)
            chosen[n++] = at;
    }
    if (n > 0)
        return n;
    n = MIN(N_SNAPSHOTS, names->len);
    for (guint k = 0; k < n; k++)
        chosen[k] = n == 1 ? 0 : k * (names->len - 1) / (n - 1);
    return n;
}

/* Of RUN/snapshots/…png; the names sort by iteration. */
static bool add_snapshots(GString *page, const rep_named *run, const GArray *steps,
                          GError **error)
{
    g_autofree char *dir_path = g_build_filename(run->path, "snapshots", NULL);
    g_autoptr(GDir) dir = g_dir_open(dir_path, 0, NULL);
    if (!dir)
        return true; /* a run without pictures */
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (const char *name; (name = g_dir_read_name(dir));)
        if (g_str_has_suffix(name, ".png"))
            g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, by_name);
    guint chosen[16], n = choose(names, steps, chosen, G_N_ELEMENTS(chosen));
    for (guint k = 0; k < n; k++) {
        const char *name = names->pdata[chosen[k]];
        g_autofree char *path = g_build_filename(dir_path, name, NULL);
        g_autofree char *bytes = NULL, *stem = g_strndup(name, strlen(name) - strlen(".png"));
        gsize n_bytes;
        if (!g_file_get_contents(path, &bytes, &n_bytes, error))
            return false;
        if (n_bytes < 8 || memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) != 0) {
            g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: no PNG picture; delete it", path);
            return false;
        }
        g_string_append(page, "<figure><img src=\"");
        rep_data_uri(page, "image/png", (const uint8_t *)bytes, n_bytes);
        g_string_append(page, "\" alt=\"A training batch of ");
        rep_text(page, run->name);
        g_string_append(page, "\"><figcaption>");
        rep_text(page, run->name);
        g_string_append(page, ", iteration ");
        const char *digits = stem + strcspn(stem, "0123456789");
        digits += strspn(digits, "0");
        rep_text(page, *digits ? digits : "0");
        g_string_append(page, "</figcaption></figure>\n");
    }
    return true;
}

/* What the rows of a snapshot are; nothing when no run has one. */
static void add_snapshot_note(GString *page, const GArray *runs)
{
    bool any = false;
    for (guint i = 0; i < runs->len; i++) {
        const rep_named *run = &g_array_index(runs, rep_named, i);
        g_autofree char *dir = g_build_filename(run->path, "snapshots", NULL);
        if (run->plain)
            continue;
        any = any || g_file_test(dir, G_FILE_TEST_IS_DIR);
    }
    if (any)
        g_string_append(
            page,
            "<p class=\"note\" style=\"margin:28px 0 0\">Training batches as the loss saw "
            "them, labelled patches first. Rows: patch; annotation (grey: none); prediction; "
            "reference, where the loss has one; with MetaSSL the four regions, in the colours "
            "of the quadripartition above.</p>");
}

bool rep_charts(GString *page, const GArray *runs, const GArray *steps, GError **error)
{
    guint n = runs->len, n_read = 0;
    g_autofree run_log *logs = g_new0(run_log, MAX(1, n));
    bool ok = true;
    for (; ok && n_read < n; n_read++)
        ok = log_read(&logs[n_read], &g_array_index(runs, rep_named, n_read), error);
    if (ok) {
        g_string_append(page, "<div class=\"charts\">\n");
        add_chart(page, logs, n, "loss", "Loss", "As logged, faint, and a running mean over it.",
                  1.05 * high_percentile(logs, n, "loss"), true);
        add_chart(page, logs, n, "val_dsc", "Validation DSC",
                  "Mean over the validation slides, stitched.", 1, false);
        for (guint i = 0; i < n; i++) {
            if (logs[i].run->plain)
                continue;
            add_regions(page, &logs[i]);
            add_accuracy(page, &logs[i]);
        }
        g_string_append(page, "</div>\n<div class=\"snap\">\n");
        add_snapshot_note(page, runs);
        for (guint i = 0; ok && i < n; i++)
            ok = logs[i].run->plain || add_snapshots(page, logs[i].run, steps, error);
        g_string_append(page, "</div>");
    }
    for (guint i = 0; i < n_read; i++)
        g_hash_table_destroy(logs[i].series);
    return ok;
}

bool rep_runs(GString *page, const report *r, GError **error)
{
    if (r->run->len == 0)
        return true;
    g_string_append(page, "<section aria-label=\"Training\"><h2>Training</h2>\n");
    bool ok = rep_charts(page, r->run, NULL, error);
    g_string_append(page, "</section>\n");
    return ok;
}
