/* Everything that can be wrong with a manifest, said at once. Equal content is looked for among
 * slides of equal size only, so a cohort of a thousand slides is checked without reading them. */
#include "wsi/cohort/cohort_priv.h"

#include "base/error.h"
#include "base/file.h"

#include <string.h>
#include <sys/stat.h>

const char *wsi_cohort_finding_name(wsi_cohort_finding_kind kind)
{
    static const char *const names[WSI_COHORT_N_FINDINGS] = {
        [WSI_COHORT_CASE_LEAK] = "case-leak",
        [WSI_COHORT_SLIDE_TWICE] = "slide-twice",
        [WSI_COHORT_CONTENT_LEAK] = "content-leak",
        [WSI_COHORT_MISSING] = "missing",
        [WSI_COHORT_COPY] = "copy",
        [WSI_COHORT_SAME_NAME] = "same-name"};
    return names[kind];
}

bool wsi_cohort_finding_is_error(wsi_cohort_finding_kind kind)
{
    return kind != WSI_COHORT_COPY && kind != WSI_COHORT_SAME_NAME;
}

static void finding_clear(gpointer data)
{
    g_free(((wsi_cohort_finding *)data)->text);
}

/* Takes `text` over. */
static void add(GArray *findings, wsi_cohort_finding_kind kind, char *text)
{
    wsi_cohort_finding finding = {kind, text};
    g_array_append_val(findings, finding);
}

static void find_leaks(const wsi_cohort *cohort, GArray *findings)
{
    g_autoptr(GHashTable) slides = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) cases = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < cohort->rows->len; i++) {
        wsi_cohort_finding_kind kind;
        GError *leak = NULL;
        if (wsi_cohort_check_row(cohort, i, slides, cases, &kind, &leak))
            continue;
        add(findings, kind, g_strdup(leak->message));
        g_error_free(leak);
    }
}

static void find_missing(const wsi_cohort *cohort, GArray *findings)
{
    static const char *const columns[] = {"slide", "mask", "truth"};
    for (guint i = 0; i < cohort->rows->len; i++) {
        const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
        const char *files[] = {row->slide, row->mask, row->truth};
        for (int k = 0; k < 3; k++) {
            if (!files[k] || g_file_test(files[k], G_FILE_TEST_EXISTS))
                continue;
            g_autofree char *here = wsi_cohort_place(cohort, i);
            add(findings, WSI_COHORT_MISSING,
                g_strdup_printf("%s: %s '%s' is not there", here, columns[k], files[k]));
        }
    }
}

/* Results are named after the slide without its folder and extension. */
static void find_same_names(const wsi_cohort *cohort, GArray *findings)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < cohort->rows->len; i++) {
        const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
        char *stem = g_path_get_basename(row->slide), *dot = strrchr(stem, '.');
        gpointer first;
        if (dot && dot != stem)
            *dot = '\0';
        if (g_hash_table_lookup_extended(seen, stem, NULL, &first)) {
            g_autofree char *here = wsi_cohort_place(cohort, i);
            g_autofree char *there = wsi_cohort_place(cohort, GPOINTER_TO_UINT(first));
            add(findings, WSI_COHORT_SAME_NAME,
                g_strdup_printf("%s: '%s' has the base name of '%s' (%s); results are called %s~2",
                                here, row->slide,
                                wsi_cohort_get(cohort, GPOINTER_TO_UINT(first))->slide, there,
                                stem));
            g_free(stem);
        } else {
            g_hash_table_insert(seen, stem, GUINT_TO_POINTER(i));
        }
    }
}

/* ---- content ---- */
char *wsi_cohort_content_file(const char *slide)
{
    const char *dot = strrchr(slide, '.');
    if (!dot || g_ascii_strcasecmp(dot, ".mrxs"))
        return g_strdup(slide);
    g_autofree char *folder = g_strndup(slide, (gsize)(dot - slide));
    char *ini = g_build_filename(folder, "Slidedat.ini", NULL);
    if (g_file_test(ini, G_FILE_TEST_IS_REGULAR))
        return ini;
    g_free(ini);
    return g_strdup(slide);
}

static int64_t size_of(const char *slide)
{
    g_autofree char *path = wsi_cohort_content_file(slide);
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (int64_t)st.st_size : -1;
}

static void add_copy(const wsi_cohort *cohort, guint i, guint first, GArray *findings)
{
    const wsi_cohort_row *row = wsi_cohort_get(cohort, i), *other = wsi_cohort_get(cohort, first);
    g_autofree char *here = wsi_cohort_place(cohort, i), *there = wsi_cohort_place(cohort, first);
    bool leak = row->split != other->split;
    add(findings, leak ? WSI_COHORT_CONTENT_LEAK : WSI_COHORT_COPY,
        g_strdup_printf("%s: '%s' (%s) has the same content as '%s' (%s) at %s%s", here, row->slide,
                        wsi_split_name(row->split), other->slide, wsi_split_name(other->split),
                        there, leak ? ": a leak; take one of them out" : ""));
}

/* Rows by size of their slides, those alone in their size left out: *order is of row numbers. */
static void rows_of_equal_size(const wsi_cohort *cohort, GArray *order)
{
    g_autoptr(GHashTable) n_of_size =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (int pass = 0; pass < 2; pass++)
        for (guint i = 0; i < cohort->rows->len; i++) {
            gint64 size = size_of(wsi_cohort_get(cohort, i)->slide);
            guint n = GPOINTER_TO_UINT(g_hash_table_lookup(n_of_size, &size));
            if (pass == 0 && size >= 0)
                g_hash_table_insert(n_of_size, g_memdup2(&size, sizeof size),
                                    GUINT_TO_POINTER(n + 1));
            else if (pass == 1 && n > 1)
                g_array_append_val(order, i);
        }
}

static bool find_copies(const wsi_cohort *cohort, const qs_progress *progress, GArray *findings,
                        GError **error)
{
    g_autoptr(GArray) order = g_array_new(FALSE, FALSE, sizeof(guint));
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    rows_of_equal_size(cohort, order);
    for (guint k = 0; k < order->len; k++) {
        guint i = g_array_index(order, guint, k);
        const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
        qs_progress_update(progress, "compare", k, order->len, row->slide);
        g_autofree char *file = wsi_cohort_content_file(row->slide);
        char *hash = qs_stop_check(error) ? qs_file_hash(file, error) : NULL;
        gpointer first;
        if (!hash)
            return false;
        if (!g_hash_table_lookup_extended(seen, hash, NULL, &first)) {
            g_hash_table_insert(seen, hash, GUINT_TO_POINTER(i));
            continue;
        }
        g_free(hash);
        g_autofree char *a = g_canonicalize_filename(row->slide, NULL);
        g_autofree char *b =
            g_canonicalize_filename(wsi_cohort_get(cohort, GPOINTER_TO_UINT(first))->slide, NULL);
        if (strcmp(a, b)) /* one path twice is said already */
            add_copy(cohort, i, GPOINTER_TO_UINT(first), findings);
    }
    return true;
}

GArray *wsi_cohort_check(const wsi_cohort *cohort, bool content, const qs_progress *progress,
                         GError **error)
{
    GArray *findings = g_array_new(FALSE, FALSE, sizeof(wsi_cohort_finding));
    g_array_set_clear_func(findings, finding_clear);
    find_leaks(cohort, findings);
    find_missing(cohort, findings);
    find_same_names(cohort, findings);
    if (content && !find_copies(cohort, progress, findings, error))
        g_clear_pointer(&findings, g_array_unref);
    return findings;
}
