/* The work list and trainings: ranks by hand, numbers of a slide against counting, a log that grows,
 * is cut, is broken, has a line's half, and who holds a run's lock. */
#include "tests/view/world.h"
#include "view/rank.h"
#include "view/run.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

/* ---- ranks ----------------------------------------------------------------------------------- */
static void test_ranks(void)
{
    vw_rank_row rows[5] = {
        {.ready = true, .uncertainty = 0.1, .disagreement = NAN, .distance = 0.5},
        {.ready = true, .uncertainty = 0.3, .disagreement = NAN, .distance = 0.2},
        {.ready = true, .uncertainty = 0.3, .disagreement = NAN, .distance = NAN},
        {.ready = false, .uncertainty = 9, .disagreement = 9, .distance = 9},
        {.ready = true, .uncertainty = NAN, .disagreement = NAN, .distance = NAN},
    };
    vw_rank(rows, 5);
    g_assert_cmpfloat(rows[0].look, ==, (0.0 + 1.0) / 2); /* least uncertain, most wrong */
    g_assert_cmpfloat(rows[1].look, ==,
                      (0.75 + 0.0) / 2); /* above one of two, equal to the other */
    g_assert_cmpfloat(rows[2].look, ==, 0.75);
    g_assert_true(isnan(rows[3].look) && isnan(rows[4].look));
}

static JsonObject *object_of(JsonParser *parser, GBytes *bytes)
{
    gsize n;
    const char *text = g_bytes_get_data(bytes, &n);
    g_assert_true(json_parser_load_from_data(parser, text, (gssize)n, NULL));
    return json_node_get_object(json_parser_get_root(parser));
}

static void test_worklist(void)
{
    world w;
    world_init(&w, 3);
    vw_slide *gone = &g_array_index(w.shown.slides, vw_slide, 2);
    g_free(gone->path);
    gone->path = g_strdup("/nowhere/gone.tif");
    int64_t found = 0, wrong = 0;
    for (int64_t y = 0; y < WORLD_PRED_H; y++)
        for (int64_t x = 0; x < WORLD_PRED_W; x++) {
            uint8_t p = world_pred(x, y), t = world_truth(2 * x + 1, 2 * y + 1);
            if (t == QS_CLASS_IGNORE)
                continue;
            found += p && p == t;
            wrong += (p && p != t) + (t && p != t);
        }
    double dsc = 2.0 * (double)found / (double)(2 * found + wrong);
    for (int i = 0; i < 600; i++) {
        g_autoptr(JsonParser) parser = json_parser_new();
        vw_answer answer = world_get(&w, "api/worklist");
        g_assert_cmpuint(answer.status, ==, 200);
        JsonObject *list = object_of(parser, answer.body);
        vw_answer_clear(&answer);
        if (json_object_get_int_member(list, "done") < 3) {
            g_usleep(20000);
            g_assert_cmpint(i, <, 599);
            continue;
        }
        JsonArray *rows = json_object_get_array_member(list, "rows");
        JsonObject *row = json_array_get_object_element(rows, 0);
        JsonArray *values = json_object_get_array_member(row, "dsc");
        g_assert_cmpfloat_with_epsilon(json_array_get_double_element(values, 0), dsc, 1e-12);
        g_assert_cmpfloat(json_object_get_double_member(row, "disagreement"), ==,
                          0); /* the same masks */
        g_assert_true(json_object_get_null_member(row, "uncertainty"));
        JsonObject *bad = json_array_get_object_element(rows, 2);
        g_assert_false(json_object_get_boolean_member(bad, "ready"));
        g_assert_nonnull(strstr(json_object_get_string_member(bad, "error"), "gone.tif"));
        break;
    }
    world_clear(&w);
}

/* ---- runs ------------------------------------------------------------------------------------ */
typedef struct {
    gint64 from, next;
    guint n_rows;
    gint64 first;
    bool broken;
} told;

static told ask(const char *dir, gint64 from)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    GBytes *bytes = vw_run_describe("run", dir, from);
    JsonObject *o = object_of(parser, bytes);
    g_bytes_unref(bytes);
    JsonArray *rows = json_object_get_array_member(o, "rows");
    told t = {.from = json_object_get_int_member(o, "from"),
              .next = json_object_get_int_member(o, "next"),
              .n_rows = json_array_get_length(rows),
              .broken = !json_object_get_null_member(o, "broken")};
    if (t.n_rows)
        t.first = json_array_get_int_element(json_array_get_array_element(rows, 0), 0);
    return t;
}

static void put(const char *dir, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

#define HEAD "iteration,name,value,unit\n"
static void test_log_grows(void)
{
    g_autofree char *dir = g_dir_make_tmp("vw-run-XXXXXX", NULL);
    g_assert_cmpuint(ask(dir, 0).n_rows, ==, 0); /* no log yet */
    put(dir, "metrics.csv", HEAD "5,loss,1.5,\n5,lr,nan,\n10,lo");
    told t = ask(dir, 0);
    g_assert_cmpuint(t.n_rows, ==, 2); /* the half line waits */
    g_assert_false(t.broken);
    put(dir, "metrics.csv", HEAD "5,loss,1.5,\n5,lr,nan,\n10,loss,1.25,\n");
    told more = ask(dir, t.next);
    g_assert_cmpint(more.from, ==, t.next);
    g_assert_cmpuint(more.n_rows, ==, 1);
    g_assert_cmpint(more.first, ==, 10);
    g_assert_cmpuint(ask(dir, more.next).n_rows, ==, 0);
    put(dir, "metrics.csv", HEAD "5,loss,1.5,\n"); /* cut by a resume */
    told cut = ask(dir, more.next);
    g_assert_cmpint(cut.from, ==, 0);
    g_assert_cmpuint(cut.n_rows, ==, 1);
    put(dir, "metrics.csv",
        HEAD "15,loss_sup,1.5,\n25,loss_sup,1.25,\n35,x,1,\n"); /* a line's middle */
    g_assert_cmpint(ask(dir, t.next).from, ==, 0);
    put(dir, "metrics.csv", HEAD "5,loss,1.5,\nrubbish\n\n10,loss,zero,\n15,loss,1,\n");
    told broken = ask(dir, 0);
    g_assert_true(broken.broken);
    g_assert_cmpuint(broken.n_rows, ==, 2);
    g_autofree char *path = g_build_filename(dir, "metrics.csv", NULL);
    g_unlink(path);
    g_rmdir(dir);
}

static void test_states(void)
{
    g_autofree char *dir = g_dir_make_tmp("vw-run-XXXXXX", NULL);
    g_autofree char *lock = g_build_filename(dir, "lock", NULL);
    g_autofree char *info = g_build_filename(dir, "run.json", NULL);
    put(dir, "lock", "");
    put(dir, "run.json", "{\"state\":\"running\"}");
    g_assert_cmpint(vw_run_state_of(dir), ==, VW_RUN_STOPPED); /* killed: nobody has its lock */
    int fd = open(lock, O_RDWR | O_CLOEXEC);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &whole), ==, 0);
    g_assert_cmpint(vw_run_state_of(dir), ==, VW_RUN_RUNNING);
    int other = open(lock, O_RDWR | O_CLOEXEC);
    close(fd);
    g_assert_cmpint(fcntl(other, F_OFD_SETLK, &whole), ==, 0); /* asking took no lock */
    close(other);
    put(dir, "run.json", "{\"state\":\"done\"}");
    g_assert_cmpint(vw_run_state_of(dir), ==, VW_RUN_DONE);
    put(dir, "run.json", "{\"state\":\"failed\"}");
    g_assert_cmpint(vw_run_state_of(dir), ==, VW_RUN_FAILED);
    put(dir, "run.json", "[1,");
    g_assert_cmpint(vw_run_state_of(dir), ==, VW_RUN_STOPPED);
    g_assert_null(vw_run_snapshot(dir, 5));
    g_unlink(lock);
    g_unlink(info);
    g_rmdir(dir);
    g_assert_cmpint(vw_run_state_of(dir), ==, VW_RUN_GONE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/view/ranks", test_ranks);
    g_test_add_func("/view/worklist", test_worklist);
    g_test_add_func("/view/run/log", test_log_grows);
    g_test_add_func("/view/run/states", test_states);
    return g_test_run();
}
