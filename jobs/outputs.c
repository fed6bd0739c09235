/* See outputs.h. */
#include "jobs/outputs.h"

#include "base/error.h"
#include "jobs/slide_set.h"
#include "wsi/image/sniff.h"
#include "wsi/tiff/probe.h"

#include <glib/gstdio.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { HEAD_BYTES = 65536, TAIL_BYTES = 4096 };

struct job_outputs {
    GArray *inputs; /* of input */
};

typedef struct {
    char *path;
    dev_t dev;
    ino_t ino;
} input;

static void input_clear(gpointer data)
{
    g_free(((input *)data)->path);
}

job_outputs *job_outputs_create(void)
{
    job_outputs *o = g_new0(job_outputs, 1);
    o->inputs = g_array_new(FALSE, FALSE, sizeof(input));
    g_array_set_clear_func(o->inputs, input_clear);
    return o;
}

void job_outputs_destroy(job_outputs *o)
{
    if (!o)
        return;
    g_array_unref(o->inputs);
    g_free(o);
}

void job_outputs_input(job_outputs *o, const char *path)
{
    struct stat st;
    if (!path || stat(path, &st) != 0)
        return;
    input in = {g_strdup(path), st.st_dev, st.st_ino};
    g_array_append_val(o->inputs, in);
}

void job_outputs_input_set(job_outputs *o, const GArray *set)
{
    for (guint i = 0; i < set->len; i++) {
        const job_slide *slide = &g_array_index(set, job_slide, i);
        job_outputs_input(o, slide->slide);
        job_outputs_input(o, slide->mask);
        job_outputs_input(o, slide->truth);
        job_outputs_input(o, slide->tissue);
    }
}

/* The mark as each kind of file holds it; those of the versions before marks are known by what only we
 * wrote. */
static const struct {
    const char *text;
    size_t n;
} marks[] = {
    {"Software\0quadslide ", 19},        /* PNG tEXt */
    {"\"program\" : \"quadslide ", 23},  /* JSON of scores and notes */
    {"\"program\":\"quadslide ", 21},    /* GeoJSON */
    {"<!-- quadslide ", 15},             /* ASAP XML */
    {"content=\"quadslide ", 19},        /* HTML */
    {"\"key\" : \"model ", 15},          /* a mask's note of 0.1.0 */
    {"class=\"eyebrow\">quadslide", 25}, /* a page of 0.1.0 */
};

static bool holds(const char *head, size_t n, const char *what, size_t n_what)
{
    for (size_t i = 0; i + n_what <= n; i++)
        if (head[i] == what[0] && !memcmp(head + i, what, n_what))
            return true;
    return false;
}

bool job_is_ours(const char *path)
{
    wsi_file_type type;
    int64_t n_bytes;
    FILE *file = fopen(path, "rbe");
    if (!file)
        return false;
    g_autofree char *head = g_malloc(HEAD_BYTES + TAIL_BYTES);
    size_t n = fread(head, 1, HEAD_BYTES, file);
    if (n == HEAD_BYTES &&
        fseek(file, -TAIL_BYTES, SEEK_END) == 0) /* a PNG's text may lie at its end */
        n += fread(head + n, 1, TAIL_BYTES, file);
    fclose(file);
    if (wsi_sniff(path, &type, &n_bytes, NULL) && type == WSI_FILE_TIFF)
        return wsi_tiff_is_ours(path);
    if (n > 6 && !memcmp(head, "\xff\xd8\xff\xfe", 4)) /* JPEG whose first segment is a comment */
        return holds(head, MIN(n, 64), "quadslide ", 10);
    for (size_t i = 0; i < G_N_ELEMENTS(marks); i++)
        if (holds(head, n, marks[i].text, marks[i].n))
            return true;
    return false;
}

bool job_is_wreck(const char *path, const char *note)
{
    wsi_file_type type;
    int64_t n_bytes;
    wsi_tiff_facts facts;
    return wsi_sniff(path, &type, &n_bytes, NULL) && type == WSI_FILE_TIFF &&
           !wsi_tiff_probe(path, n_bytes, &facts, NULL) && job_is_ours(note);
}

bool job_outputs_check(const job_outputs *o, const char *path, GError **error)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return true; /* a link that leads nowhere is replaced itself, not followed */
    for (guint i = 0; i < o->inputs->len; i++) {
        const input *in = &g_array_index(o->inputs, input, i);
        if (in->dev == st.st_dev && in->ino == st.st_ino) {
            g_set_error(
                error, QS_ERROR, QS_ERROR_ARG,
                "%s: would be written over %s, which this run reads; name another place for the output",
                path, in->path);
            return false;
        }
    }
    if (S_ISDIR(st.st_mode)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: is a folder; name a file for the output",
                    path);
        return false;
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0 || job_is_ours(path))
        return true;
    g_set_error(
        error, QS_ERROR, QS_ERROR_ARG,
        "%s: is there already and was not written by quadslide; move it away, or name another place for "
        "the output",
        path);
    return false;
}

bool job_output_check(const char *path, const GArray *set, const char *file, const char *file2,
                      GError **error)
{
    job_outputs *o = job_outputs_create();
    if (set)
        job_outputs_input_set(o, set);
    job_outputs_input(o, file);
    job_outputs_input(o, file2);
    bool ok = job_outputs_check(o, path, error);
    job_outputs_destroy(o);
    return ok;
}
