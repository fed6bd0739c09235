/* See draft.h. Files are named through the folder's open descriptor, /proc/self/fd/N/…: if somebody
 * puts another folder in its place, nothing is written there. */
#include "view/draft.h"

#include "base/error.h"
#include "base/file.h"
#include "view/json.h"
#include "wsi/annot/shapes.h"
#include "wsi/cohort/cohort.h"

#include <glib/gstdio.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char not_reviewed[] = "not reviewed";
enum { POINTS_MAX = 200000 };

struct vw_drafts {
    const vw_shown *shown;
    char *dir;    /* as the user named it, for messages */
    char *within; /* /proc/self/fd/N */
    int fd;
    qs_file *lock_file;
    GMutex lock; /* one request at a time */
};

/* ---- files ----------------------------------------------------------------------------------- */
static char *path_of(const vw_drafts *d, const char *name)
{
    return g_build_filename(d->within, name, NULL);
}

static char *draft_path(const vw_drafts *d, guint i)
{
    g_autofree char *name = g_strconcat(vw_shown_slide(d->shown, i)->name, ".geojson", NULL);
    return path_of(d, name);
}

/* Messages name the folder as the user knows it. */
static void name_folder(const vw_drafts *d, GError *error)
{
    g_auto(GStrv) parts = error ? g_strsplit(error->message, d->within, -1) : NULL;
    if (!parts)
        return;
    char *text = g_strjoinv(d->dir, parts);
    g_free(error->message);
    error->message = text;
}

/* The file's bytes; *bytes NULL, and true, when there is none. Links are refused. */
static bool read_file(const char *path, GBytes **bytes, GError **error)
{
    *bytes = NULL;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return true;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > VW_DRAFT_BYTES) {
        qs_set_error_errno(error, fd < 0 ? errno : EINVAL, "%s is no draft", path);
        if (fd >= 0)
            close(fd);
        return false;
    }
    size_t n = (size_t)st.st_size, done = 0;
    char *text = g_malloc(n + 1);
    for (ssize_t k; done < n && (k = read(fd, text + done, n - done)) > 0;)
        done += (size_t)k;
    close(fd);
    *bytes = g_bytes_new_take(text, done);
    return true;
}

/* As qs_file_replace, and through no link. */
static bool replace(const char *path, const void *data, size_t n, GError **error)
{
    g_autofree char *part = g_strconcat(path, ".part", NULL);
    struct stat st;
    if (lstat(part, &st) == 0 && !S_ISREG(st.st_mode)) {
        g_set_error(error, QS_ERROR, QS_ERROR_IO, "%s is in the way: remove it", part);
        return false;
    }
    return qs_file_replace(path, data, n, error);
}

static char *etag_of(GBytes *bytes)
{
    if (!bytes)
        return g_strdup("\"none\"");
    g_autofree char *sum = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, bytes);
    return g_strdup_printf("\"%.32s\"", sum);
}

/* ---- cohort and label map -------------------------------------------------------------------- */
static bool write_cohort(vw_drafts *d, GError **error)
{
    wsi_cohort *cohort = wsi_cohort_new();
    for (guint i = 0; i < d->shown->slides->len; i++) {
        const vw_slide *s = vw_shown_slide(d->shown, i);
        g_autofree char *draft = draft_path(d, i), *slide = g_canonicalize_filename(s->path, NULL);
        bool drawn = g_file_test(draft, G_FILE_TEST_IS_REGULAR);
        wsi_cohort_row row = {.slide = slide,
                              .mask = drawn ? draft : s->annot,
                              .truth = s->truth,
                              .tissue = s->tissue,
                              .case_id = *s->case_id ? s->case_id : s->name,
                              .split = WSI_SPLIT_TRAIN,
                              .labelled = drawn || s->labelled,
                              .mpp = s->mpp};
        if (*s->split)
            wsi_split_parse(s->split, &row.split);
        wsi_cohort_add(cohort, &row);
    }
    g_autofree char *path = path_of(d, "cohort.csv");
    bool ok = wsi_cohort_write(cohort, path, error);
    wsi_cohort_destroy(cohort);
    return ok;
}

static void add_line(GString *map, const char *name, const char *value)
{
    for (const char *p = name; *p; p++) {
        if (strchr("=*\\#", *p))
            g_string_append_c(map, '\\');
        g_string_append_c(map, *p);
    }
    g_string_append_printf(map, "=%s\n", value);
}

static bool write_label_map(vw_drafts *d, GError **error)
{
    g_autoptr(GString) map = g_string_new("# What the outlines of this folder mean to tile.\n");
    for (int k = 0; k < d->shown->classes.n; k++) {
        g_autofree char *number = g_strdup_printf("%d", k);
        add_line(map, d->shown->classes.items[k].name, number);
    }
    add_line(map, not_reviewed, "ignore");
    g_autofree char *path = path_of(d, "label-map.txt");
    return replace(path, map->str, map->len, error);
}

/* ---- opening --------------------------------------------------------------------------------- */
static bool open_folder(vw_drafts *d, GError **error)
{
    if (!qs_dir_create(d->dir, error))
        return false;
    d->fd = open(d->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd < 0) {
        qs_set_error_errno(error, errno, "%s", d->dir);
        return false;
    }
    d->within = g_strdup_printf("/proc/self/fd/%d", d->fd);
    g_autofree char *lock = path_of(d, "lock"), *history = path_of(d, "history");
    d->lock_file = qs_file_open(lock, QS_FILE_UPDATE, error);
    return d->lock_file && qs_file_lock(d->lock_file, error) && qs_dir_create(history, error) &&
           write_label_map(d, error) && write_cohort(d, error);
}

vw_drafts *vw_drafts_open(const vw_shown *shown, const char *dir, GError **error)
{
    vw_drafts *d = g_new0(vw_drafts, 1);
    d->shown = shown;
    d->dir = g_strdup(dir);
    d->fd = -1;
    g_mutex_init(&d->lock);
    GError *why = NULL;
    if (open_folder(d, &why))
        return d;
    if (d->within)
        name_folder(d, why);
    g_propagate_prefixed_error(error, why, "--annotate: ");
    vw_drafts_close(d);
    return NULL;
}

void vw_drafts_close(vw_drafts *d)
{
    if (!d)
        return;
    qs_file_close(d->lock_file, NULL);
    if (d->fd >= 0)
        close(d->fd);
    g_mutex_clear(&d->lock);
    g_free(d->dir);
    g_free(d->within);
    g_free(d);
}

/* ---- checks ---------------------------------------------------------------------------------- */
char *vw_draft_head(int64_t w, int64_t h)
{
    return g_strdup_printf("{\"type\":\"FeatureCollection\",\"quadslide\":{\"w\":%" G_GINT64_FORMAT
                           ",\"h\":%" G_GINT64_FORMAT "},\"features\":[",
                           w, h);
}

static bool has_head(const char *text, size_t n, int64_t w, int64_t h)
{
    g_autofree char *head = vw_draft_head(w, h);
    return n > strlen(head) && !memcmp(text, head, strlen(head));
}

static bool class_is_known(const vw_drafts *d, const char *name)
{
    bool known = !strcmp(name, not_reviewed);
    for (int k = 0; k < d->shown->classes.n; k++)
        known |= !strcmp(name, d->shown->classes.items[k].name);
    return known;
}

/* What our readers make of it: areas of known classes, on the canvas. */
static bool check_shapes(const vw_drafts *d, const wsi_annotations *set, int64_t w, int64_t h,
                         GError **error)
{
    const char *fault = set->points->len > POINTS_MAX ? "more than 200,000 points" : NULL;
    for (guint i = 0; !fault && i < set->shapes->len; i++) {
        const wsi_shape *s = &g_array_index(set->shapes, wsi_shape, i);
        if (s->kind != WSI_SHAPE_AREA)
            fault = "a shape that is no area";
        else if (!class_is_known(d, s->class_name))
            fault = "a class that is none of the table";
        else if (s->x0 < 0 || s->y0 < 0 || s->x1 > (double)w || s->y1 > (double)h)
            fault = "a shape beyond the slide";
    }
    if (fault)
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "no draft: %s", fault);
    return !fault;
}

static bool check_body(const vw_drafts *d, const vw_request *r, int64_t w, int64_t h,
                       GError **error)
{
    if (!r->body || !has_head((const char *)r->body, r->n_body, w, h)) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "no draft of a slide of %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT " pixels", w,
                    h);
        return false;
    }
    int fd = memfd_create("draft", MFD_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    bool ok = fd >= 0 && write(fd, r->body, r->n_body) == (ssize_t)r->n_body;
    if (!ok)
        qs_set_error_errno(error, errno, "memfd_create");
    wsi_annotations *set = ok ? wsi_annotations_read(path, error) : NULL;
    ok = set && check_shapes(d, set, w, h, error);
    wsi_annotations_destroy(set);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* The present version, and whether it may be replaced at all. */
static bool read_draft(vw_drafts *d, guint i, int64_t w, int64_t h, GBytes **bytes, GError **error)
{
    g_autofree char *path = draft_path(d, i);
    if (!read_file(path, bytes, error))
        return false;
    gsize n = 0;
    const char *text = *bytes ? g_bytes_get_data(*bytes, &n) : NULL;
    if (!text || has_head(text, n, w, h))
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                "%s is no draft of a slide of %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
                " pixels and stays as it is; move it away to draw here",
                path, w, h);
    g_clear_pointer(bytes, g_bytes_unref);
    return false;
}

/* ---- history --------------------------------------------------------------------------------- */
/* The lowest and highest number of NAME.NUMBER.geojson in the history, and how many there are. */
static int history_range(const char *folder, const char *name, int *first, int *last)
{
    g_autofree char *head = g_strconcat(name, ".", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    int n = 0;
    *first = G_MAXINT;
    *last = 0;
    for (const char *file; dir && (file = g_dir_read_name(dir));) {
        char *end;
        if (!g_str_has_prefix(file, head))
            continue;
        long number = strtol(file + strlen(head), &end, 10);
        if (strcmp(end, ".geojson") != 0 || number < 1 || number > 999999999)
            continue;
        n++;
        *first = MIN(*first, (int)number);
        *last = MAX(*last, (int)number);
    }
    return n;
}

static char *version_path(const char *folder, const char *name, int number)
{
    g_autofree char *file = g_strdup_printf("%s.%d.geojson", name, number);
    return g_build_filename(folder, file, NULL);
}

static bool keep_version(vw_drafts *d, guint i, GBytes *old, GError **error)
{
    const char *name = vw_shown_slide(d->shown, i)->name;
    g_autofree char *folder = path_of(d, "history");
    struct stat st;
    int first, last;
    if (lstat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) {
        g_set_error(error, QS_ERROR, QS_ERROR_IO, "%s is no folder", folder);
        return false;
    }
    int n = history_range(folder, name, &first, &last);
    g_autofree char *path = version_path(folder, name, last + 1);
    gsize size;
    const void *data = g_bytes_get_data(old, &size);
    if (!replace(path, data, size, error))
        return false;
    for (n++; n > VW_DRAFT_VERSIONS; first++) {
        g_autofree char *oldest = version_path(folder, name, first);
        n -= g_unlink(oldest) == 0;
        if (first > last)
            break;
    }
    return true;
}

/* ---- answers --------------------------------------------------------------------------------- */
void vw_draft_get(vw_drafts *d, guint i, int64_t w, int64_t h, vw_answer *answer)
{
    GError *error = NULL;
    GBytes *bytes = NULL;
    g_mutex_lock(&d->lock);
    bool ok = read_draft(d, i, w, h, &bytes, &error);
    g_mutex_unlock(&d->lock);
    if (!ok) {
        name_folder(d, error);
        vw_answer_fail(answer, 409, error);
        return;
    }
    answer->etag = etag_of(bytes);
    if (!bytes) {
        g_autofree char *head = vw_draft_head(w, h);
        char *empty = g_strconcat(head, "]}", NULL);
        bytes = g_bytes_new_take(empty, strlen(empty));
    }
    vw_answer_bytes(answer, "application/json", bytes);
}

/* Returns the status; *etag of what is there now. */
static unsigned put(vw_drafts *d, guint i, int64_t w, int64_t h, const vw_request *r, char **etag,
                    GError **error)
{
    g_autoptr(GBytes) old = NULL;
    g_autofree char *path = draft_path(d, i);
    if (!read_draft(d, i, w, h, &old, error))
        return 409;
    g_autoptr(GBytes) body = g_bytes_new(r->body, r->n_body);
    g_autofree char *present = etag_of(old);
    bool same = old && g_bytes_equal(old, body);
    if (!same && (r->if_match.n != 1 || strcmp(r->if_match.value, present) != 0)) {
        g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                    "another window has saved this slide meanwhile");
        return 412;
    }
    if (!same && !check_body(d, r, w, h, error))
        return 422;
    if (!same && old && !keep_version(d, i, old, error))
        return 507;
    if (!same && !replace(path, r->body, r->n_body, error))
        return 507;
    if ((same || !old) && !write_cohort(d, error))
        return 507;
    *etag = etag_of(body);
    return 200;
}

void vw_draft_put(vw_drafts *d, guint i, int64_t w, int64_t h, const vw_request *request,
                  vw_answer *answer)
{
    GError *error = NULL;
    char *etag = NULL;
    if (request->n_body > VW_DRAFT_BYTES) {
        vw_answer_fail(answer, 413, NULL);
        return;
    }
    g_mutex_lock(&d->lock);
    unsigned status = put(d, i, w, h, request, &etag, &error);
    g_mutex_unlock(&d->lock);
    if (status != 200) {
        name_folder(d, error);
        vw_answer_fail(answer, status, error);
        return;
    }
    vw_answer_bytes(answer, "application/json", g_bytes_new_static("{}", 2));
    answer->etag = etag;
}
