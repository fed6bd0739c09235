/* Edits against brute force on pixels, accepted regions against flooding by hand, and drafts: what
 * can go wrong between a drawing and the disk, every write failed once, two windows, links, files of
 * somebody else's. */
#include "tests/view/world.h"
#include "base/file.h"
#include "view/edit.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

/* ---- edits ----------------------------------------------------------------------------------- */
enum { CANVAS = 200 };

static JsonArray *shapes_of(JsonParser *parser, GBytes *bytes)
{
    gsize n;
    const char *text = g_bytes_get_data(bytes, &n);
    g_assert_true(json_parser_load_from_data(parser, text, (gssize)n, NULL));
    return json_object_get_array_member(json_node_get_object(json_parser_get_root(parser)),
                                        "shapes");
}

/* Is a place inside a list of shapes: even-odd over each shape's rings. */
static bool inside(JsonArray *shapes, double x, double y)
{
    bool any = false;
    for (guint s = 0; s < json_array_get_length(shapes); s++) {
        JsonArray *rings = json_array_get_array_element(shapes, s);
        bool odd = false;
        for (guint r = 0; r < json_array_get_length(rings); r++) {
            JsonArray *ring = json_array_get_array_element(rings, r);
            guint n = json_array_get_length(ring);
            for (guint i = 0; i < n; i++) {
                JsonArray *a = json_array_get_array_element(ring, i);
                JsonArray *b = json_array_get_array_element(ring, (i + 1) % n);
                double ax = json_array_get_double_element(a, 0),
                       ay = json_array_get_double_element(a, 1);
                double bx = json_array_get_double_element(b, 0),
                       by = json_array_get_double_element(b, 1);
                if ((ay > y) != (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax)
                    odd = !odd;
            }
        }
        any |= odd;
    }
    return any;
}

/* A crossing star, a square with a hole, a stroke: added to or taken from a rectangle, at pixels of
 * different sizes. Every pixel's centre is in the answer just when it is in by the request. */
static void test_edits(void)
{
    static const char *const areas[] = {
        "\"area\":[[[100,20],[150,170],[20,70],[180,70],[50,170]]]",
        "\"area\":[[[30,30],[160,30],[160,150],[30,150]],[[60,60],[60,120],[120,120],[120,60]]]",
        "\"area\":[[[-50,-50],[80,-50],[80,260],[-50,260]]]",
        "\"path\":[[20,30],[90,90],[170,50]],\"radius\":13.5",
    };
    static const char rectangle[] = "[[[40.3,50.1],[140.2,50.1],[140.2,120.9],[40.3,120.9]]]";
    const double steps[] = {1, 0.5, 2, 3.7};
    for (size_t k = 0; k < G_N_ELEMENTS(areas) * 2 * G_N_ELEMENTS(steps); k++) {
        bool subtract = k & 1;
        double step = steps[(k >> 1) % G_N_ELEMENTS(steps)];
        const char *area = areas[k / (2 * G_N_ELEMENTS(steps))];
        char number[G_ASCII_DTOSTR_BUF_SIZE];
        g_ascii_dtostr(number, sizeof number, step);
        g_autofree char *request =
            g_strdup_printf("{\"op\":\"%s\",\"step\":%s,\"shapes\":[%s],%s}",
                            subtract ? "subtract" : "add", number, rectangle, area);
        GError *error = NULL;
        GBytes *bytes = vw_edit(request, -1, CANVAS, CANVAS, &error);
        g_assert_no_error(error);
        g_autoptr(JsonParser) parser = json_parser_new();
        JsonArray *got = shapes_of(parser, bytes);
        g_autoptr(JsonParser) asked = json_parser_new();
        g_autofree char *plain = g_strdup_printf("{\"r\":[%s],%s}", rectangle, area);
        g_assert_true(json_parser_load_from_data(asked, plain, -1, NULL));
        JsonObject *o = json_node_get_object(json_parser_get_root(asked));
        JsonArray *one = json_array_new();
        if (json_object_has_member(o, "area"))
            json_array_add_array_element(one,
                                         json_array_ref(json_object_get_array_member(o, "area")));
        for (double y = step / 2; y < CANVAS; y += step)
            for (double x = step / 2; x < CANVAS; x += step) {
                bool in_area = inside(one, x, y);
                if (!json_object_has_member(o, "area")) {
                    double d1 = hypot(70, 60),
                           t = CLAMP(((x - 20) * 70 + (y - 30) * 60) / d1 / d1, 0, 1);
                    double d2 = hypot(80, 40),
                           u = CLAMP(((x - 90) * 80 - (y - 90) * 40) / d2 / d2, 0, 1);
                    in_area = hypot(x - 20 - 70 * t, y - 30 - 60 * t) <= 13.5 ||
                              hypot(x - 90 - 80 * u, y - 90 + 40 * u) <= 13.5;
                }
                bool in_rectangle = inside(json_object_get_array_member(o, "r"), x, y);
                bool want = subtract ? in_rectangle && !in_area : in_rectangle || in_area;
                if (inside(got, x, y) != want)
                    g_error("%s: %g,%g", request, x, y);
            }
        json_array_unref(one);
        g_bytes_unref(bytes);
    }
}

static void test_bad_edits(void)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"op\":\"add\"}",
        "{\"op\":\"cut\",\"step\":1,\"shapes\":[],\"area\":[]}",
        "{\"op\":\"add\",\"step\":0,\"shapes\":[],\"area\":[]}",
        "{\"op\":\"add\",\"step\":1,\"shapes\":{},\"area\":[]}",
        "{\"op\":\"add\",\"step\":1,\"shapes\":[[1]],\"area\":[]}",
        "{\"op\":\"add\",\"step\":1,\"shapes\":[],\"area\":[[[1]]]}",
        "{\"op\":\"add\",\"step\":1,\"shapes\":[],\"area\":[[[1,{}]]]}",
        "{\"op\":\"add\",\"step\":1,\"shapes\":[],\"area\":[[[1,1e99]]]}",
        "{\"op\":\"add\",\"step\":1,\"shapes\":[],\"path\":[[1,1]]}",
        "{\"op\":\"add\",\"step\":0.02,\"shapes\":[],\"area\":[[[0,0],[200,0],[200,200],[0,200]]]}"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *error = NULL;
        g_assert_null(vw_edit(bad[i], -1, CANVAS, CANVAS, &error));
        g_assert_nonnull(error);
        g_clear_error(&error);
    }
    g_assert_null(vw_edit(NULL, 0, CANVAS, CANVAS, NULL));
}

/* ---- through the service --------------------------------------------------------------------- */
static vw_answer ask(world *w, vw_method method, const char *rest, const char *body,
                     const char *if_match)
{
    g_autofree char *target = g_strdup_printf("/%s/%s", w->guard.token, rest);
    vw_request request = {.method = method,
                          .target = target,
                          .host = {w->host, 1},
                          .origin = {w->origin, 1},
                          .own = {"1", 1},
                          .if_match = {if_match, if_match ? 1 : 0},
                          .body = (const uint8_t *)body,
                          .n_body = body ? strlen(body) : 0};
    vw_answer answer;
    vw_service_answer(w->service, &request, &answer);
    return answer;
}

typedef struct {
    world w;
    vw_drafts *drafts;
    char *dir, *file;
} studio;

static void studio_open(studio *s)
{
    GError *error = NULL;
    world_init(&s->w, 1);
    s->dir = g_build_filename(s->w.dir, "drawn", NULL);
    s->file = g_build_filename(s->dir, "s0.geojson", NULL);
    s->drafts = vw_drafts_open(&s->w.shown, s->dir, &error);
    g_assert_no_error(error);
    vw_service_destroy(s->w.service);
    s->w.service = vw_service_create(&s->w.shown, &s->w.guard, s->drafts);
}

static void studio_close(studio *s)
{
    vw_service_destroy(s->w.service);
    s->w.service = NULL;
    vw_drafts_close(s->drafts);
    world_clear(&s->w);
    g_free(s->dir);
    g_free(s->file);
}

/* A square of 10 pixels at x, as a draft. */
static char *draft_at(int x)
{
    g_autofree char *head = vw_draft_head(WORLD_W, WORLD_H);
    return g_strdup_printf(
        "%s{\"type\":\"Feature\",\"geometry\":{\"type\":\"Polygon\",\"coordinates\":"
        "[[[%d,5],[%d,5],[%d,15],[%d,15],[%d,5]]]},\"properties\":{\"objectType\":"
        "\"annotation\",\"classification\":{\"name\":\"class 1\"}}}]}\n",
        head, x, x + 10, x + 10, x, x);
}

/* PUTs; the status. *etag is replaced when it was saved. */
static unsigned put(studio *s, const char *body, char **etag)
{
    vw_answer answer = ask(&s->w, VW_PUT, "api/slides/0/draft", body, *etag);
    unsigned status = answer.status;
    if (status == 200) {
        g_free(*etag);
        *etag = g_strdup(answer.etag);
    }
    vw_answer_clear(&answer);
    return status;
}

static char *etag_now(studio *s)
{
    vw_answer answer = ask(&s->w, VW_GET, "api/slides/0/draft", NULL, NULL);
    g_assert_cmpuint(answer.status, ==, 200);
    char *etag = g_strdup(answer.etag);
    vw_answer_clear(&answer);
    return etag;
}

static char *content(const char *path)
{
    char *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? text : g_strdup("");
}

static void test_drafts(void)
{
    studio s;
    studio_open(&s);
    g_autofree char *etag = etag_now(&s), *old = g_strdup(etag);
    g_autofree char *a = draft_at(5), *b = draft_at(50);
    g_assert_cmpuint(put(&s, a, &etag), ==, 200);
    g_autofree char *now = content(s.file);
    g_assert_cmpstr(now, ==, a);
    g_assert_cmpuint(put(&s, b, &old), ==, 412); /* a window that has not seen a */
    g_assert_cmpuint(put(&s, a, &old), ==, 200); /* said again: it is there */
    vw_answer none = ask(&s.w, VW_PUT, "api/slides/0/draft", b, NULL);
    g_assert_cmpuint(none.status, ==, 412);
    vw_answer_clear(&none);
    g_autofree char *csv = g_build_filename(s.dir, "cohort.csv", NULL), *cohort = content(csv);
    g_assert_nonnull(strstr(cohort, "s0.geojson"));
    g_assert_null(strstr(cohort, "/proc/"));
    static const char *const bad[] = {
        "", "{}", "[1,",
        "{\"type\":\"FeatureCollection\",\"quadslide\":{\"w\":9,\"h\":9},\"features\":[]}"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_cmpuint(put(&s, bad[i], &etag), ==, 422);
    g_autofree char *beyond = draft_at(WORLD_W - 5);
    g_assert_cmpuint(put(&s, beyond, &etag), ==, 422);
    g_auto(GStrv) parts = g_strsplit(b, "class 1", -1);
    g_autofree char *stranger = g_strjoinv("no class", parts);
    g_assert_cmpuint(put(&s, stranger, &etag), ==, 422);
    now = (g_free(now), content(s.file));
    g_assert_cmpstr(now, ==, a);
    GError *error = NULL;
    g_assert_null(vw_drafts_open(&s.w.shown, s.dir, &error)); /* somebody draws there */
    g_assert_error(error, QS_ERROR, QS_ERROR_BUSY);
    g_clear_error(&error);
    studio_close(&s);
}

/* The twenty versions before the present one, the newest among them. */
static void test_history(void)
{
    studio s;
    studio_open(&s);
    g_autofree char *etag = etag_now(&s), *folder = g_build_filename(s.dir, "history", NULL);
    for (int i = 0; i < 30; i++) {
        g_autofree char *body = draft_at(i);
        g_assert_cmpuint(put(&s, body, &etag), ==, 200);
    }
    GDir *dir = g_dir_open(folder, 0, NULL);
    int n = 0;
    while (g_dir_read_name(dir))
        n++;
    g_dir_close(dir);
    g_assert_cmpint(n, ==, VW_DRAFT_VERSIONS);
    g_autofree char *newest = g_build_filename(folder, "s0.29.geojson", NULL);
    g_autofree char *had = content(newest), *want = draft_at(28);
    g_assert_cmpstr(had, ==, want);
    studio_close(&s);
}

static int fail_at, n_calls;
static int failing(void *user, qs_io_kind kind, const char *path, const char *path2, int64_t offset,
                   const void *data, size_t n)
{
    (void)user, (void)kind, (void)path, (void)path2, (void)offset, (void)data, (void)n;
    return ++n_calls == fail_at ? ENOSPC : 0;
}

/* Each write, sync and rename of a save fails once. Afterwards the file is the old version or the
 * new one, whole; what was answered is what is there; and the next try succeeds. */
static void test_faults(void)
{
    studio s;
    studio_open(&s);
    g_autofree char *etag = etag_now(&s);
    int n_failed = 0;
    for (int k = 1;; k++) {
        g_autofree char *before = content(s.file), *body = draft_at(k);
        fail_at = k;
        n_calls = 0;
        qs_io_set_hook(failing, NULL);
        unsigned status = put(&s, body, &etag);
        qs_io_set_hook(NULL, NULL);
        g_autofree char *after = content(s.file);
        g_assert_true(!strcmp(after, before) || !strcmp(after, body));
        if (status == 200)
            g_assert_cmpstr(after, ==, body);
        else
            g_assert_cmpuint(status, ==, 507);
        n_failed += status != 200;
        if (status == 200 && n_calls < k)
            break;
        g_assert_cmpuint(put(&s, body, &etag), ==, 200);
    }
    g_assert_cmpint(n_failed, >, 5);
    studio_close(&s);
}

/* Links in the folder are neither read nor written through; a file that is no draft of ours stays. */
static void test_links_and_strangers(void)
{
    studio s;
    studio_open(&s);
    g_autofree char *outside = g_build_filename(s.w.dir, "outside.txt", NULL), *body = draft_at(5);
    g_autofree char *part = g_strconcat(s.file, ".part", NULL), *etag = etag_now(&s);
    g_assert_true(g_file_set_contents(outside, "mine", -1, NULL));
    g_assert_cmpint(symlink(outside, part), ==, 0);
    g_assert_cmpuint(put(&s, body, &etag), ==, 507);
    g_unlink(part);
    g_assert_cmpint(symlink(outside, s.file), ==, 0);
    g_assert_cmpuint(put(&s, body, &etag), ==, 409);
    vw_answer answer = ask(&s.w, VW_GET, "api/slides/0/draft", NULL, NULL);
    g_assert_cmpuint(answer.status, ==, 409);
    vw_answer_clear(&answer);
    g_autofree char *still = content(outside);
    g_assert_cmpstr(still, ==, "mine");
    g_unlink(s.file);
    g_assert_true(
        g_file_set_contents(s.file, "{\"type\":\"FeatureCollection\",\"features\":[]}", -1, NULL));
    g_assert_cmpuint(put(&s, body, &etag), ==, 409);
    g_autofree char *foreign = content(s.file);
    g_assert_cmpstr(foreign, ==, "{\"type\":\"FeatureCollection\",\"features\":[]}");
    g_unlink(s.file);
    g_autofree char *moved = g_strconcat(s.dir, "-moved", NULL);
    g_assert_cmpint(g_rename(s.dir, moved), ==,
                    0); /* another folder in its place is not written to */
    g_mkdir(s.dir, 0700);
    g_assert_cmpuint(put(&s, body, &etag), ==, 200);
    g_assert_false(g_file_test(s.file, G_FILE_TEST_EXISTS));
    studio_close(&s);
}

static void test_accept(void)
{
    studio s;
    studio_open(&s);
    vw_answer answer = ask(&s.w, VW_POST, "api/slides/0/accept/0?x=430&y=300", NULL, NULL);
    g_assert_cmpuint(answer.status, ==, 200);
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonArray *shapes = shapes_of(parser, answer.body);
    for (int64_t y = 0; y < WORLD_PRED_H; y++)
        for (int64_t x = 0; x < WORLD_PRED_W; x++)
            g_assert_true(inside(shapes, 2 * (double)x + 1, 2 * (double)y + 1) ==
                          (world_pred(x, y) == 1));
    vw_answer_clear(&answer);
    answer = ask(&s.w, VW_POST, "api/slides/0/accept/0?x=3&y=3", NULL, NULL);
    g_assert_cmpuint(answer.status, ==, 422); /* background */
    vw_answer_clear(&answer);
    answer = ask(&s.w, VW_GET, "api/slides/0/accept/0?x=3&y=3", NULL, NULL);
    g_assert_cmpuint(answer.status, ==, 405);
    vw_answer_clear(&answer);
    answer = ask(&s.w, VW_POST, "api/slides/0/shape", "rubbish", NULL);
    g_assert_cmpuint(answer.status, ==, 422);
    vw_answer_clear(&answer);
    studio_close(&s);
}

static void test_without_annotate(void)
{
    world w;
    world_init(&w, 1);
    g_autofree char *body = draft_at(5);
    vw_answer answer = ask(&w, VW_PUT, "api/slides/0/draft", body, "\"none\"");
    g_assert_cmpuint(answer.status, ==, 404);
    vw_answer_clear(&answer);
    world_clear(&w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/view/edits", test_edits);
    g_test_add_func("/view/edits/bad", test_bad_edits);
    g_test_add_func("/view/accept", test_accept);
    g_test_add_func("/view/drafts", test_drafts);
    g_test_add_func("/view/drafts/history", test_history);
    g_test_add_func("/view/drafts/faults", test_faults);
    g_test_add_func("/view/drafts/links", test_links_and_strangers);
    g_test_add_func("/view/drafts/off", test_without_annotate);
    return g_test_run();
}
