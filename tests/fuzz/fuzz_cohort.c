/* Any bytes as a cohort.csv. What is read is written again and read again: the rows must be the
 * same, and the guard that passed once must pass again. */
#include "tests/fuzz/fuzz.h"
#include "wsi/cohort/cohort.h"

#include <string.h>

static void same(const wsi_cohort *a, const wsi_cohort *b)
{
    if (a->rows->len != b->rows->len)
        abort();
    for (guint i = 0; i < a->rows->len; i++) {
        const wsi_cohort_row *p = wsi_cohort_get(a, i), *q = wsi_cohort_get(b, i);
        g_autofree char *p_slide = g_canonicalize_filename(p->slide, NULL);
        g_autofree char *q_slide = g_canonicalize_filename(q->slide, NULL);
        if (strcmp(p_slide, q_slide) || strcmp(p->case_id, q->case_id) || p->split != q->split ||
            p->labelled != q->labelled || (p->mask != NULL) != (q->mask != NULL) ||
            (p->truth != NULL) != (q->truth != NULL))
            abort();
    }
}

static void write_and_read(const wsi_cohort *cohort)
{
    static char *path;
    GError *error = NULL;
    if (!path)
        path = g_strdup_printf("%s/quadslide-fuzz-cohort-%d.csv", g_get_tmp_dir(), getpid());
    if (!wsi_cohort_write(cohort, path, &error))
        abort();
    wsi_cohort *again = wsi_cohort_read(path, &error);
    if (!again)
        abort();
    same(cohort, again);
    wsi_cohort_destroy(again);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[FUZZ_PATH];
    GError *error = NULL;
    int fd = fuzz_open(data, n, path);
    wsi_cohort *cohort = wsi_cohort_read(path, &error);
    if ((cohort != NULL) == (error != NULL))
        abort();
    if (cohort)
        write_and_read(cohort);
    wsi_cohort_destroy(cohort);
    g_clear_error(&error);
    fuzz_close(fd);
    return 0;
}
