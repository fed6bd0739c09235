/* See run.h. A log that a resumed run has cut is shorter than the page believes, or has a line's
 * middle where the page wants to go on: both begin again at 0. */
#include "view/run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 4 << 20, SNAPSHOTS_MAX = 4096 };
#define SNAPSHOT_BYTES ((gint64)64 << 20)
static const char header[] = "iteration,name,value,unit";

const char *vw_run_state_name(vw_run_state state)
{
    static const char *const names[] = {"running", "done", "stopped", "failed", "gone"};
    return names[state];
}

/* ---- the lock -------------------------------------------------------------------------------- */
/* Asks whether somebody holds it, and takes nothing: a run that starts now must not be refused. */
static bool is_locked(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "lock", NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    bool locked = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    if (fd >= 0)
        close(fd);
    return locked;
}

static JsonObject *read_info(const char *dir, JsonParser *parser)
{
    g_autofree char *path = g_build_filename(dir, "run.json", NULL);
    if (!json_parser_load_from_file(parser, path, NULL))
        return NULL;
    JsonNode *root = json_parser_get_root(parser);
    return root && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
}

static vw_run_state state_of(const char *dir, JsonObject *info)
{
    if (is_locked(dir))
        return VW_RUN_RUNNING;
    if (!g_file_test(dir, G_FILE_TEST_IS_DIR))
        return VW_RUN_GONE;
    const char *said = info ? json_object_get_string_member_with_default(info, "state", "") : "";
    return !strcmp(said, "done")     ? VW_RUN_DONE
           : !strcmp(said, "failed") ? VW_RUN_FAILED
                                     : VW_RUN_STOPPED; /* "running" without its lock was killed */
}

vw_run_state vw_run_state_of(const char *dir)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    return state_of(dir, read_info(dir, parser));
}

/* ---- the log --------------------------------------------------------------------------------- */
typedef struct {
    gint64 from, next, size;
    char *broken; /* the first line that cannot be read, owned */
} log_part;

/* [iteration, name, value] of a line; false when it is none. */
static bool add_row(JsonBuilder *b, char *line)
{
    g_auto(GStrv) cells = g_strsplit(line, ",", 4);
    char *end = NULL;
    if (g_strv_length(cells) < 3)
        return false;
    gint64 iteration = g_ascii_strtoll(cells[0], &end, 10);
    if (end == cells[0] || *end || !g_utf8_validate(cells[1], -1, NULL))
        return false;
    double value = g_ascii_strtod(cells[2], &end);
    if (end == cells[2] || *end)
        return false;
    json_builder_begin_array(b);
    json_builder_add_int_value(b, iteration);
    json_builder_add_string_value(b, cells[1]);
    if (isfinite(value))
        json_builder_add_double_value(b, value);
    else
        json_builder_add_null_value(b);
    json_builder_end_array(b);
    return true;
}

static void add_rows(JsonBuilder *b, char *text, size_t n, log_part *part)
{
    char *line = text;
    for (char *end; (end = memchr(line, '\n', (size_t)(text + n - line))); line = end + 1) {
        *end = 0;
        if (part->from + (line - text) == 0 && !strcmp(line, header))
            continue;
        if (!add_row(b, line) && !part->broken) {
            g_autofree char *shown = g_strndup(line, 60);
            part->broken = g_utf8_make_valid(shown, -1);
        }
    }
    part->next = part->from + (line - text);
}

static bool begins_line(int fd, gint64 at)
{
    char before = 0;
    return at == 0 || (pread(fd, &before, 1, at - 1) == 1 && before == '\n');
}

static void read_log(JsonBuilder *b, const char *dir, log_part *part)
{
    g_autofree char *path = g_build_filename(dir, "metrics.csv", NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st = {0};
    if (fd < 0 || fstat(fd, &st) != 0) {
        part->from = 0;
        if (fd >= 0)
            close(fd);
        return;
    }
    part->size = st.st_size;
    if (part->from > part->size || !begins_line(fd, part->from))
        part->from = 0;
    size_t n = (size_t)MIN(CHUNK_BYTES, part->size - part->from);
    g_autofree char *text = g_malloc(n + 1);
    ssize_t got = n ? pread(fd, text, n, part->from) : 0;
    part->next = part->from;
    if (got > 0)
        add_rows(b, text, (size_t)got, part);
    close(fd);
}

/* ---- snapshots ------------------------------------------------------------------------------- */
static gint by_number(gconstpointer a, gconstpointer b)
{
    gint64 x = *(const gint64 *)a, y = *(const gint64 *)b;
    return x < y ? -1 : x > y;
}

static void add_snapshots(JsonBuilder *b, const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "snapshots", NULL);
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    g_autoptr(GArray) numbers = g_array_new(FALSE, FALSE, sizeof(gint64));
    for (const char *name; folder && (name = g_dir_read_name(folder));) {
        char *end;
        gint64 number = g_ascii_strtoll(name, &end, 10);
        if (end != name && !strcmp(end, ".png") && number >= 0 && numbers->len < SNAPSHOTS_MAX)
            g_array_append_val(numbers, number);
    }
    g_array_sort(numbers, by_number);
    vw_json_array(b, "snapshots");
    for (guint i = 0; i < numbers->len; i++)
        json_builder_add_int_value(b, g_array_index(numbers, gint64, i));
    json_builder_end_array(b);
}

GBytes *vw_run_snapshot(const char *dir, gint64 iteration)
{
    g_autofree char *file = g_strdup_printf("%08" G_GINT64_FORMAT ".png", iteration);
    g_autofree char *path = g_build_filename(dir, "snapshots", file, NULL);
    struct stat st;
    char *bytes = NULL;
    gsize n = 0;
    if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > SNAPSHOT_BYTES ||
        !g_file_get_contents(path, &bytes, &n, NULL))
        return NULL;
    return g_bytes_new_take(bytes, n);
}

/* ---- all of it ------------------------------------------------------------------------------- */
GBytes *vw_run_describe(const char *name, const char *dir, gint64 from)
{
    static const char *const numbers[] = {"iteration", "iterations", "elapsed_s", "best_dsc"};
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *info = read_info(dir, parser);
    log_part part = {.from = from};
    JsonBuilder *b = json_builder_new();
    json_builder_begin_object(b);
    vw_json_string(b, "name", name);
    vw_json_string(b, "state", vw_run_state_name(state_of(dir, info)));
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        vw_json_double(b, numbers[i],
                       info ? json_object_get_double_member_with_default(info, numbers[i], NAN)
                            : NAN);
    vw_json_string(b, "error",
                   info ? json_object_get_string_member_with_default(info, "error", NULL) : NULL);
    vw_json_array(b, "rows");
    read_log(b, dir, &part);
    json_builder_end_array(b);
    vw_json_int(b, "from", part.from);
    vw_json_int(b, "next", part.next);
    vw_json_int(b, "size", part.size);
    vw_json_string(b, "broken", part.broken);
    add_snapshots(b, dir);
    json_builder_end_object(b);
    g_free(part.broken);
    return vw_json_bytes(b);
}
