/* The manifest: what is read, what is refused and how it is said, round trips with hostile names,
 * leaks, and DigestPath's folders. */
#include "tests/wsi/helpers.h"
#include "wsi/cohort.h"
#include "wsi/digestpath_priv.h"

#include <stdint.h>

#define HEADER "slide,mask,case,split,labelled,mpp\n"

static wsi_cohort *read_text(const char *text, GError **error)
{
    g_autofree char *path = temp_path("cohort.csv");
    write_file(path, text, strlen(text));
    return wsi_cohort_read(path, error);
}

static wsi_cohort *read_ok(const char *text)
{
    GError *error = NULL;
    wsi_cohort *cohort = read_text(text, &error);
    g_assert_no_error(error);
    g_assert_nonnull(cohort);
    return cohort;
}

static void expect_refused(const char *text, int code, const char *where, const char *word)
{
    GError *error = NULL;
    g_assert_null(read_text(text, &error));
    expect_error(error, code, where, word, NULL);
}

static void test_plain(void)
{
    wsi_cohort *cohort = read_ok("\xEF\xBB\xBF" HEADER "a/x.svs,m/x.png,P1,train,1,0.25\r\n"
                                 "\r\n"
                                 "/abs/y.svs,,P2,test,0,\r\n");
    g_assert_cmpuint(cohort->rows->len, ==, 2);
    const wsi_cohort_row *row = wsi_cohort_get(cohort, 0);
    g_autofree char *slide = temp_path("a/x.svs"), *mask = temp_path("m/x.png");
    g_assert_cmpstr(row->slide, ==, slide);
    g_assert_cmpstr(row->mask, ==, mask);
    g_assert_cmpstr(row->case_id, ==, "P1");
    g_assert_cmpint(row->split, ==, WSI_SPLIT_TRAIN);
    g_assert_true(row->labelled);
    g_assert_cmpfloat(row->mpp, ==, 0.25);
    g_assert_null(row->truth);
    g_assert_cmpint(row->line, ==, 2);
    row = wsi_cohort_get(cohort, 1);
    g_assert_cmpstr(row->slide, ==, "/abs/y.svs");
    g_assert_null(row->mask);
    g_assert_false(row->labelled);
    g_assert_cmpfloat(row->mpp, ==, 0);
    g_assert_cmpint(row->line, ==, 4);
    wsi_cohort_destroy(cohort);
}

static void test_columns(void)
{
    /* Any order, unknown ones ignored, optional ones absent, quoted fields with everything in them.
     */
    wsi_cohort *cohort = read_ok("truth,split,colour,labelled,slide,case,mask\n"
                                 "t.tif,val,red,1,\"a, \"\"b\"\"\nc.tif\",\"P,1\",m.tif");
    const wsi_cohort_row *row = wsi_cohort_get(cohort, 0);
    g_autofree char *slide = temp_path("a, \"b\"\nc.tif"), *truth = temp_path("t.tif");
    g_assert_cmpstr(row->slide, ==, slide);
    g_assert_cmpstr(row->truth, ==, truth);
    g_assert_cmpstr(row->case_id, ==, "P,1");
    g_assert_cmpint(row->split, ==, WSI_SPLIT_VAL);
    wsi_cohort_destroy(cohort);
}

static void test_refused(void)
{
    static const struct {
        const char *text, *where, *word;
    } cases[] = {
        {"", "cohort.csv:1", "empty"},
        {HEADER, "cohort.csv", "no slides"},
        {"slide,mask,case,labelled\na,b,c,1\n", "cohort.csv:1", "no column 'split'"},
        {"slide,slide,case,split,labelled\n", "cohort.csv:1", "'slide' is there twice"},
        {HEADER "a,b,c,train,1\n", "cohort.csv:2", "5 fields where the header has 6"},
        {HEADER ",b,c,train,1,\n", "cohort.csv:2", "slide ''"},
        {HEADER "a,b,,train,1,\n", "cohort.csv:2", "case ''"},
        {HEADER "a,b,c,training,1,\n", "cohort.csv:2", "'training': must be train, val or test"},
        {HEADER "a,b,c,train,yes,\n", "cohort.csv:2", "'yes': must be 0 or 1"},
        {HEADER "a,,c,train,1,\n", "cohort.csv:2", "mask is empty"},
        {HEADER "a,b,c,train,1,0.5um\n", "cohort.csv:2", "'0.5um'"},
        {HEADER "a,b,c,train,1,-1\n", "cohort.csv:2", "'-1'"},
        {HEADER "a,b,c,train,1,nan\n", "cohort.csv:2", "'nan'"},
        {HEADER "a,b,c,train,1,250\n", "cohort.csv:2", "'250'"},
        {HEADER "a,b,c,train,1,\n\"d,b,c,train,1,\n", "cohort.csv:3", "never closed"},
        {HEADER "\"a\"b,b,c,train,1,\n", "cohort.csv:2", "closing quote"},
        {HEADER "a,b,c,train,1,\nb\xFF,b,c,train,1,\n", "cohort.csv:3", "0xFF is not UTF-8"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        expect_refused(cases[i].text, QS_ERROR_FORMAT, cases[i].where, cases[i].word);
    GError *error = NULL;
    g_assert_null(wsi_cohort_read("/no/such/cohort.csv", &error));
    expect_error(error, QS_ERROR_IO, "/no/such/cohort.csv", NULL);
}

static void test_leaks(void)
{
    /* The case is in two splits: both places, splits and slides are named. */
    GError *error = NULL;
    g_assert_null(
        read_text(HEADER "a.svs,,P1,train,0,\nb.svs,,P2,val,0,\nc.svs,,P1,test,0,\n", &error));
    expect_error(error, QS_ERROR_MISMATCH, "cohort.csv:4", "cohort.csv:2", "'P1'", "in test",
                 "in train", "a.svs", "c.svs", NULL);
    /* The slide is listed twice, also by another spelling of its path. */
    error = NULL;
    g_assert_null(read_text(HEADER "d/a.svs,,P1,train,0,\nd/../d//a.svs,,P2,test,0,\n", &error));
    expect_error(error, QS_ERROR_MISMATCH, "cohort.csv:3", "cohort.csv:2", "train", "test",
                 "d/a.svs", NULL);
    expect_refused(HEADER "a.svs,,P1,train,0,\na.svs,,P1,train,0,\n", QS_ERROR_MISMATCH,
                   "cohort.csv:3", "already listed");
    /* A cohort made in memory is guarded too, and nothing is written. */
    wsi_cohort *cohort = wsi_cohort_new();
    char x[] = "x.svs", y[] = "y.svs", p[] = "P";
    wsi_cohort_add(cohort, &(wsi_cohort_row){.slide = x, .case_id = p, .split = WSI_SPLIT_TRAIN});
    wsi_cohort_add(cohort, &(wsi_cohort_row){.slide = y, .case_id = p, .split = WSI_SPLIT_TEST});
    g_autofree char *path = temp_path("leaky.csv");
    error = NULL;
    g_assert_false(wsi_cohort_write(cohort, path, &error));
    expect_error(error, QS_ERROR_MISMATCH, "row 2", "row 1", NULL);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    wsi_cohort_destroy(cohort);
}

static void test_round_trip(void)
{
    static const char *const names[] = {"plain.svs",  "with space.svs", "-dash.svs",
                                        "comma,.svs", "quote\".svs",    "naïve ünïcode 病理.svs",
                                        " edge ",     "new\nline.svs"};
    wsi_cohort *out = wsi_cohort_new();
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *slide = temp_path(names[i]),
                        *mask = g_strconcat("/masks/", names[i], NULL);
        g_autofree char *name = g_strdup(names[i]);
        wsi_cohort_add(out, &(wsi_cohort_row){.slide = slide,
                                              .mask = mask,
                                              .truth = i % 2 ? mask : NULL,
                                              .case_id = name,
                                              .split = (wsi_split)(i % 3),
                                              .labelled = i % 2,
                                              .mpp = 0.1 * (double)(i + 1)});
    }
    GError *error = NULL;
    g_autofree char *path = temp_path("round.csv"), *text = NULL;
    g_assert_true(wsi_cohort_write(out, path, &error));
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_true(
        g_str_has_prefix(text, "slide,mask,case,split,labelled,mpp,truth\nplain.svs,/masks/"));
    wsi_cohort *in = wsi_cohort_read(path, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(in->rows->len, ==, out->rows->len);
    for (guint i = 0; i < in->rows->len; i++) {
        const wsi_cohort_row *a = wsi_cohort_get(out, i), *b = wsi_cohort_get(in, i);
        g_assert_cmpstr(a->slide, ==, b->slide);
        g_assert_cmpstr(a->mask, ==, b->mask);
        g_assert_cmpstr(a->truth, ==, b->truth);
        g_assert_cmpstr(a->case_id, ==, b->case_id);
        g_assert_cmpint(a->split, ==, b->split);
        g_assert_cmpint(a->labelled, ==, b->labelled);
        g_assert_cmpfloat_with_epsilon(a->mpp, b->mpp, 1e-9);
    }
    wsi_cohort_destroy(in);
    wsi_cohort_destroy(out);
}

/* ---- DigestPath ---- */

static void test_digestpath_names(void)
{
    static const struct {
        const char *name, *prefix, *stamp;
        int64_t x, y, w, h;
    } good[] = {
        {"18-09926B_2019-05-08 00_06_27-lv1-17470-7434-5594-5478.jpg", "18-09926B",
         "2019-05-08 00_06_27", 17470, 7434, 5594, 5478},
        {"2019-05-28 19_06_57-lv1-0-0-1-12000.jpg", NULL, "2019-05-28 19_06_57", 0, 0, 1, 12000},
        {"D_2018_a b_2018-03-12 09_41_07-lv1-1-2-3-4.jpg", "D_2018_a b", "2018-03-12 09_41_07", 1,
         2, 3, 4},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        wsi_digestpath_name n;
        g_assert_true(wsi_digestpath_parse(good[i].name, &n));
        g_assert_cmpstr(n.case_prefix, ==, good[i].prefix);
        g_assert_cmpstr(n.stamp, ==, good[i].stamp);
        g_assert_true(n.x == good[i].x && n.y == good[i].y && n.w == good[i].w && n.h == good[i].h);
        g_autofree char *again = wsi_digestpath_format(&n);
        g_assert_cmpstr(again, ==, good[i].name);
        g_free(n.case_prefix);
    }
    static const char *const bad[] = {"a.jpg",
                                      "2019-05-28 19_06_57-lv1-0-0-1.jpg",
                                      "2019-05-28 19:06:57-lv1-0-0-1-2.jpg",
                                      "P2019-05-28 19_06_57-lv1-0-0-1-2.jpg",
                                      "_2019-05-28 19_06_57-lv1-0-0-1-2.jpg",
                                      "2019-05-28 19_06_57-lv2-0-0-1-2.jpg",
                                      "2019-05-28 19_06_57-lv1-0-0-1-2_mask.jpg",
                                      "2019-05-28 19_06_57-lv1-0-0-1-2.png"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        wsi_digestpath_name n;
        g_assert_false(wsi_digestpath_parse(bad[i], &n));
    }
    g_autofree char *mask = wsi_digestpath_mask_of("d.jpg/2019-05-28 19_06_57-lv1-0-0-1-2.jpg");
    g_assert_cmpstr(mask, ==, "d.jpg/2019-05-28 19_06_57-lv1-0-0-1-2_mask.jpg");
}

static void touch(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    write_file(path, "x", 1);
}

static void remove_tree(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_tree(child);
    }
    if (dir)
        g_dir_close(dir);
    g_remove(path);
}

/* n cases of two crops each, one of which lacks the prefix; one negative without a mask. */
static char *make_folders(int n)
{
    char *root = temp_path("digest");
    g_autofree char *pos = g_build_filename(root, "tissue-train-pos-v1", NULL);
    g_autofree char *neg = g_build_filename(root, "tissue-train-neg", NULL);
    g_mkdir_with_parents(pos, 0777);
    g_mkdir_with_parents(neg, 0777);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 2; k++) {
            wsi_digestpath_name name = {.x = 10 * k, .y = i, .w = 100, .h = 200};
            g_autofree char *prefix = g_strdup_printf("18-%03d", i);
            name.case_prefix = k == 0 ? prefix : NULL;
            g_snprintf(name.stamp, sizeof name.stamp, "2018-01-01 10_00_%02d", i);
            g_autofree char *image = wsi_digestpath_format(&name);
            g_autofree char *mask = wsi_digestpath_mask_of(image);
            touch(pos, image);
            touch(pos, mask);
        }
    touch(neg, "2018-02-02 10_00_00-lv1-0-0-5-5.jpg");
    touch(neg, "notes.txt");
    touch(neg, "overview.jpg");
    return root;
}

static void test_digestpath_scan(void)
{
    GError *error = NULL;
    g_autofree char *root = make_folders(20), *path = temp_path("dp.csv");
    wsi_cohort_split_options options = {
        .val_share = 0.1, .test_share = 0.2, .labelled_share = 0.25, .seed = 3};
    wsi_cohort *cohort = wsi_cohort_scan_digestpath(root, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(cohort->rows->len, ==, 41);
    g_assert_true(wsi_cohort_write(cohort, path, &error)); /* passes the leak guard */
    int n[3] = {0}, n_labelled = 0;
    g_autoptr(GHashTable) cases = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < 41; i++) {
        const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
        n[row->split]++;
        n_labelled += row->split == WSI_SPLIT_TRAIN && row->labelled;
        g_assert_true(!row->labelled || row->mask);
        g_assert_cmpfloat(row->mpp, ==, 0.475);
        g_hash_table_add(cases, row->case_id);
    }
    g_assert_cmpuint(g_hash_table_size(cases), ==, 21); /* crops without a prefix joined theirs */
    g_assert_cmpint(n[WSI_SPLIT_TEST], >=, 7);
    g_assert_cmpint(n[WSI_SPLIT_TEST], <=, 9);
    g_assert_cmpint(n[WSI_SPLIT_VAL], >=, 3);
    g_assert_cmpint(n[WSI_SPLIT_VAL], <=, 5);
    g_assert_cmpint(n_labelled, >=, 6);
    g_assert_cmpint(n_labelled, <=, 8);
    /* The same seed gives the same split, another seed another. */
    wsi_cohort *again = wsi_cohort_scan_digestpath(root, &options, &error);
    options.seed = 4;
    wsi_cohort *other = wsi_cohort_scan_digestpath(root, &options, &error);
    int n_same = 0, n_other = 0;
    for (guint i = 0; i < 41; i++) {
        wsi_split s = wsi_cohort_get(cohort, i)->split;
        n_same += wsi_cohort_get(again, i)->split == s;
        n_other += wsi_cohort_get(other, i)->split == s;
    }
    g_assert_cmpint(n_same, ==, 41);
    g_assert_cmpint(n_other, <, 41);
    wsi_cohort_destroy(cohort);
    wsi_cohort_destroy(again);
    wsi_cohort_destroy(other);
    remove_tree(root);
}

static void test_digestpath_refused(void)
{
    GError *error = NULL;
    wsi_cohort_split_options options = {.val_share = 0.1, .test_share = 0.2, .labelled_share = 1};
    g_autofree char *root = temp_path("empty");
    g_mkdir_with_parents(root, 0777);
    g_assert_null(wsi_cohort_scan_digestpath(root, &options, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_FORMAT, "empty", "no image named", NULL);
    g_assert_null(wsi_cohort_scan_digestpath("/no/such/folder", &options, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_IO, "/no/such/folder", NULL);
    options.test_share = 0.95;
    g_assert_null(wsi_cohort_scan_digestpath(root, &options, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "0.95", NULL);
    remove_tree(root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cohort/plain", test_plain);
    g_test_add_func("/cohort/columns", test_columns);
    g_test_add_func("/cohort/refused", test_refused);
    g_test_add_func("/cohort/leaks", test_leaks);
    g_test_add_func("/cohort/round-trip", test_round_trip);
    g_test_add_func("/cohort/digestpath-names", test_digestpath_names);
    g_test_add_func("/cohort/digestpath-scan", test_digestpath_scan);
    g_test_add_func("/cohort/digestpath-refused", test_digestpath_refused);
    int status = g_test_run();
    temp_clean();
    return status;
}
