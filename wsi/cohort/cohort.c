/* The manifest in memory, in and out of cohort.csv, and the leak guard.
 *
 * Invariants of a validated cohort: every slide is listed once; all slides of a case are in one
 * split; a labelled row has a mask. Slides are compared by canonical path (no "..", no "//", made
 * absolute), not by following links; cohort_check.c compares what is in them.
 */
#include "wsi/cohort/cohort.h"

#include "base/error.h"
#include "base/file.h"
#include "base/report.h"
#include "wsi/cohort/cohort_priv.h"
#include "base/csv.h"

#include <string.h>

/* Pixel sizes outside this are a wrong unit, not a microscope. */
#define MPP_MIN 0.01
#define MPP_MAX 100.0

static const char *const SPLIT_NAMES[] = {"train", "val", "test"};

const char *wsi_split_name(wsi_split split)
{
    return SPLIT_NAMES[split];
}

bool wsi_split_parse(const char *name, wsi_split *split)
{
    for (int i = 0; i < (int)G_N_ELEMENTS(SPLIT_NAMES); i++) {
        if (!strcmp(name, SPLIT_NAMES[i])) {
            *split = (wsi_split)i;
            return true;
        }
    }
    return false;
}

static void row_clear(gpointer data)
{
    wsi_cohort_row *row = data;
    g_free(row->slide);
    g_free(row->mask);
    g_free(row->truth);
    g_free(row->tissue);
    g_free(row->case_id);
}

wsi_cohort *wsi_cohort_new(void)
{
    wsi_cohort *cohort = g_new0(wsi_cohort, 1);
    cohort->rows = g_array_new(FALSE, TRUE, sizeof(wsi_cohort_row));
    g_array_set_clear_func(cohort->rows, row_clear);
    return cohort;
}

void wsi_cohort_destroy(wsi_cohort *cohort)
{
    if (!cohort)
        return;
    g_array_unref(cohort->rows);
    g_free(cohort->path);
    g_free(cohort);
}

void wsi_cohort_add(wsi_cohort *cohort, const wsi_cohort_row *row)
{
    wsi_cohort_row copy = *row;
    copy.slide = g_strdup(row->slide);
    copy.mask = g_strdup(row->mask);
    copy.truth = g_strdup(row->truth);
    copy.tissue = g_strdup(row->tissue);
    copy.case_id = g_strdup(row->case_id);
    g_array_append_val(cohort->rows, copy);
}

const wsi_cohort_row *wsi_cohort_get(const wsi_cohort *cohort, guint i)
{
    return &g_array_index(cohort->rows, wsi_cohort_row, i);
}

/* ---- the leak guard ---- */

char *wsi_cohort_place(const wsi_cohort *cohort, guint i)
{
    const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
    if (cohort->path && row->line > 0)
        return g_strdup_printf("%s:%d", cohort->path, row->line);
    return g_strdup_printf("row %u", i + 1);
}

bool wsi_cohort_check_row(const wsi_cohort *cohort, guint i, GHashTable *slides, GHashTable *cases,
                          wsi_cohort_finding_kind *kind, GError **error)
{
    const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
    g_autofree char *here = wsi_cohort_place(cohort, i);
    char *key = g_canonicalize_filename(row->slide, NULL);
    gpointer seen;
    if (g_hash_table_lookup_extended(slides, key, NULL, &seen)) {
        g_free(key);
        const wsi_cohort_row *first = wsi_cohort_get(cohort, GPOINTER_TO_UINT(seen));
        g_autofree char *there = wsi_cohort_place(cohort, GPOINTER_TO_UINT(seen));
        g_set_error(
            error, QS_ERROR, QS_ERROR_MISMATCH,
            "%s: slide '%s' (%s) is already listed as '%s' (%s) at %s; list every slide once", here,
            row->slide, wsi_split_name(row->split), first->slide, wsi_split_name(first->split),
            there);
        *kind = WSI_COHORT_SLIDE_TWICE;
        return false;
    }
    g_hash_table_insert(slides, key, GUINT_TO_POINTER(i));
    if (g_hash_table_lookup_extended(cases, row->case_id, NULL, &seen)) {
        const wsi_cohort_row *first = wsi_cohort_get(cohort, GPOINTER_TO_UINT(seen));
        if (first->split != row->split) {
            g_autofree char *there = wsi_cohort_place(cohort, GPOINTER_TO_UINT(seen));
            g_set_error(
                error, QS_ERROR, QS_ERROR_MISMATCH,
                "%s: case '%s' is in %s with '%s' but in %s with '%s' (%s): a leak; keep all "
                "slides of a case in one split",
                here, row->case_id, wsi_split_name(row->split), row->slide,
                wsi_split_name(first->split), first->slide, there);
            *kind = WSI_COHORT_CASE_LEAK;
            return false;
        }
        return true;
    }
    g_hash_table_insert(cases, row->case_id, GUINT_TO_POINTER(i));
    return true;
}

bool wsi_cohort_validate(const wsi_cohort *cohort, GError **error)
{
    g_autoptr(GHashTable) slides = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) cases = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < cohort->rows->len; i++) {
        wsi_cohort_finding_kind kind;
        if (!wsi_cohort_check_row(cohort, i, slides, cases, &kind, error))
            return false;
    }
    return true;
}

/* ---- reading ---- */

enum {
    COL_SLIDE,
    COL_MASK,
    COL_CASE,
    COL_SPLIT,
    COL_LABELLED,
    COL_MPP,
    COL_TRUTH,
    COL_TISSUE,
    N_COLS
};
static const char *const COLUMNS[N_COLS] = {"slide",    "mask", "case",  "split",
                                            "labelled", "mpp",  "truth", "tissue"};
static const bool REQUIRED[N_COLS] = {
    [COL_SLIDE] = true, [COL_CASE] = true, [COL_SPLIT] = true, [COL_LABELLED] = true};

typedef struct {
    const char *path;
    char *dir;
    int at[N_COLS]; /* field of each column, -1 absent */
    guint n_fields;
} reader;

static bool read_header(reader *r, const wsi_csv_record *header, GError **error)
{
    for (int c = 0; c < N_COLS; c++)
        r->at[c] = -1;
    r->n_fields = header->fields->len;
    for (guint i = 0; i < r->n_fields; i++) {
        const char *name = g_strstrip(header->fields->pdata[i]);
        int c = 0;
        while (c < N_COLS && strcmp(name, COLUMNS[c]))
            c++;
        if (c == N_COLS) {
            qs_warn("%s:%d: column '%s' is not known and is ignored", r->path, header->line, name);
        } else if (r->at[c] >= 0) {
            g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s:%d: column '%s' is there twice",
                        r->path, header->line, name);
            return false;
        } else {
            r->at[c] = (int)i;
        }
    }
    for (int c = 0; c < N_COLS; c++) {
        if (REQUIRED[c] && r->at[c] < 0) {
            g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                        "%s:%d: no column '%s'; the first line must name the columns "
                        "slide,mask,case,split,labelled,mpp[,truth][,tissue]",
                        r->path, header->line, COLUMNS[c]);
            return false;
        }
    }
    return true;
}

static const char *field(const reader *r, const wsi_csv_record *record, int column)
{
    return r->at[column] < 0 ? "" : record->fields->pdata[r->at[column]];
}

static char *resolve(const reader *r, const char *path)
{
    if (!*path)
        return NULL;
    return g_path_is_absolute(path) ? g_strdup(path) : g_build_filename(r->dir, path, NULL);
}

static bool bad_value(const reader *r, const wsi_csv_record *record, int column, const char *wanted,
                      GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s:%d: %s '%s': %s", r->path, record->line,
                COLUMNS[column], field(r, record, column), wanted);
    return false;
}

static bool read_row(const reader *r, const wsi_csv_record *record, wsi_cohort_row *row,
                     GError **error)
{
    if (record->fields->len != r->n_fields) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s:%d: %u fields where the header has %u; quote fields that contain commas",
                    r->path, record->line, record->fields->len, r->n_fields);
        return false;
    }
    row->line = record->line;
    row->slide = resolve(r, field(r, record, COL_SLIDE));
    row->mask = resolve(r, field(r, record, COL_MASK));
    row->truth = resolve(r, field(r, record, COL_TRUTH));
    row->tissue = resolve(r, field(r, record, COL_TISSUE));
    row->case_id = g_strdup(field(r, record, COL_CASE));
    if (!row->slide)
        return bad_value(r, record, COL_SLIDE, "empty; give the slide's path", error);
    if (!*row->case_id)
        return bad_value(r, record, COL_CASE,
                         "empty; without it leaks between splits cannot be seen", error);
    if (!wsi_split_parse(field(r, record, COL_SPLIT), &row->split))
        return bad_value(r, record, COL_SPLIT, "must be train, val or test", error);
    const char *labelled = field(r, record, COL_LABELLED);
    if (strcmp(labelled, "0") && strcmp(labelled, "1"))
        return bad_value(r, record, COL_LABELLED, "must be 0 or 1", error);
    row->labelled = *labelled == '1';
    if (row->labelled && !row->mask)
        return bad_value(r, record, COL_LABELLED,
                         "but the mask is empty; give it or set labelled to 0", error);
    const char *mpp = field(r, record, COL_MPP);
    if (*mpp) {
        char *end;
        row->mpp = g_ascii_strtod(mpp, &end);
        if (*end || !(row->mpp >= MPP_MIN && row->mpp <= MPP_MAX))
            return bad_value(r, record, COL_MPP,
                             "must be micrometres per pixel between 0.01 and 100, or empty", error);
    }
    return true;
}

static bool read_records(reader *r, GPtrArray *records, wsi_cohort *cohort, GError **error)
{
    if (records->len == 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s:1: empty; the first line must name the columns", r->path);
        return false;
    }
    if (!read_header(r, records->pdata[0], error))
        return false;
    for (guint i = 1; i < records->len; i++) {
        wsi_cohort_row row = {0};
        bool ok = read_row(r, records->pdata[i], &row, error);
        g_array_append_val(cohort->rows, row); /* moved, whole or not */
        if (!ok)
            return false;
    }
    if (cohort->rows->len == 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: a header and no slides", r->path);
        return false;
    }
    return true;
}

wsi_cohort *wsi_cohort_read_unguarded(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    gsize n;
    GError *local = NULL;
    if (!g_file_get_contents(path, &text, &n, &local)) {
        g_set_error(error, QS_ERROR, QS_ERROR_IO, "cohort: %s", local->message);
        g_error_free(local);
        return NULL;
    }
    g_autoptr(GPtrArray) records = qs_csv_parse(path, text, n, error);
    if (!records)
        return NULL;
    wsi_cohort *cohort = wsi_cohort_new();
    cohort->path = g_strdup(path);
    reader r = {.path = path, .dir = g_path_get_dirname(path)};
    bool ok = read_records(&r, records, cohort, error);
    g_free(r.dir);
    if (ok)
        return cohort;
    wsi_cohort_destroy(cohort);
    return NULL;
}

wsi_cohort *wsi_cohort_read(const char *path, GError **error)
{
    wsi_cohort *cohort = wsi_cohort_read_unguarded(path, error);
    if (cohort && !wsi_cohort_validate(cohort, error))
        g_clear_pointer(&cohort, wsi_cohort_destroy);
    return cohort;
}

/* ---- writing ---- */

/* Relative to `dir` (canonical) when below it, else absolute. */
static char *relative_to(const char *dir, const char *path)
{
    char *full = g_canonicalize_filename(path, NULL);
    size_t n = strlen(dir);
    if (!strncmp(full, dir, n) && full[n] == '/') {
        char *below = g_strdup(full + n + 1);
        g_free(full);
        return below;
    }
    return full;
}

static void append_path(GString *out, const char *dir, const char *path, bool first)
{
    g_autofree char *text = path ? relative_to(dir, path) : g_strdup("");
    qs_csv_append(out, text, first);
}

bool wsi_cohort_write(const wsi_cohort *cohort, const char *path, GError **error)
{
    if (!wsi_cohort_validate(cohort, error))
        return false;
    g_autofree char *full = g_canonicalize_filename(path, NULL);
    g_autofree char *dir = g_path_get_dirname(full);
    bool has_truth = false, has_tissue = false;
    for (guint i = 0; i < cohort->rows->len; i++) {
        has_truth = has_truth || wsi_cohort_get(cohort, i)->truth;
        has_tissue = has_tissue || wsi_cohort_get(cohort, i)->tissue;
    }
    g_autoptr(GString) out = g_string_new("slide,mask,case,split,labelled,mpp");
    g_string_append(out, has_truth ? ",truth" : "");
    g_string_append(out, has_tissue ? ",tissue\n" : "\n");
    for (guint i = 0; i < cohort->rows->len; i++) {
        const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
        char mpp[G_ASCII_DTOSTR_BUF_SIZE] = "";
        if (row->mpp > 0)
            g_ascii_formatd(mpp, sizeof mpp, "%.10g", row->mpp);
        append_path(out, dir, row->slide, true);
        append_path(out, dir, row->mask, false);
        qs_csv_append(out, row->case_id, false);
        qs_csv_append(out, wsi_split_name(row->split), false);
        qs_csv_append(out, row->labelled ? "1" : "0", false);
        qs_csv_append(out, mpp, false);
        if (has_truth)
            append_path(out, dir, row->truth, false);
        if (has_tissue)
            append_path(out, dir, row->tissue, false);
        g_string_append_c(out, '\n');
    }
    return qs_file_replace(path, out->str, out->len, error);
}
