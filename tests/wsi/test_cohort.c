/* The manifest: what is read, what is refused and how it is said, round trips with hostile names,
 * leaks, and DigestPath's folders. */
#include "tests/wsi/helpers.h"
#include "wsi/cohort/cohort.h"
#include "wsi/cohort/digestpath.h"

#include <stdint.h>
#include <stdio.h>

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

/* ---- pairs and slides ---- */

static char *in_tree(const char *root, const char *name)
{
    char *path = g_build_filename(root, name, NULL);
    g_autofree char *dir = g_path_get_dirname(path);
    g_mkdir_with_parents(dir, 0777);
    return path;
}

/* Files whose content is their name. */
static char *make_tree(const char *name, const char *const *files)
{
    char *root = temp_path(name);
    g_mkdir_with_parents(root, 0777);
    for (; *files; files++) {
        g_autofree char *path = in_tree(root, *files);
        write_file(path, *files, strlen(*files));
    }
    return root;
}

static const wsi_cohort_row *row_of(const wsi_cohort *cohort, const char *end)
{
    for (guint i = 0; i < cohort->rows->len; i++)
        if (g_str_has_suffix(wsi_cohort_get(cohort, i)->slide, end))
            return wsi_cohort_get(cohort, i);
    g_error("no row of %s", end);
}

static void expect_mask(const wsi_cohort *cohort, const char *slide, const char *mask)
{
    const wsi_cohort_row *row = row_of(cohort, slide);
    if (!mask)
        g_assert_null(row->mask);
    else if (!row->mask || !g_str_has_suffix(row->mask, mask))
        g_error("%s has the mask %s, not %s", slide, row->mask, mask);
}

static void test_pairs(void)
{
    /* Spaces, a leading dash, both normal forms of ü, a prefix that either side lacks, the same
     * stem in two folders, an annotation file, an image without a mask, a mask without an image. */
    static const char *const files[] = {
        "im/with space.png", "m/with space_mask.png", "im/-dash.jpg",   "m/-dash.png",
        "im/\xc3\xbc.tif",   "m/u\xcc\x88_Mask.TIF",  "im/18-1_a.jpg",  "m/a_mask.jpg",
        "im/b.jpg",          "m/18-2_b-mask.png",     "im/s1/same.png", "im/s2/same.png",
        "m/s1/same_seg.png", "m/s2/same_seg.png",     "im/drawn.svs",   "m/drawn.xml",
        "im/alone.png",      "m/nobody_mask.png",     "im/notes.txt",   NULL};
    GError *error = NULL;
    g_autofree char *root = make_tree("pairs", files),
                    *images = g_build_filename(root, "im/", NULL),
                    *masks = g_build_filename(root, "m", NULL);
    wsi_cohort_split_options options;
    wsi_cohort_split_options_init(&options);
    wsi_cohort *cohort = wsi_cohort_scan_pairs(images, masks, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(cohort->rows->len, ==, 9);
    expect_mask(cohort, "/with space.png", "/with space_mask.png");
    expect_mask(cohort, "/-dash.jpg", "/-dash.png");
    expect_mask(cohort, "/\xc3\xbc.tif", "_Mask.TIF");
    expect_mask(cohort, "/18-1_a.jpg", "/a_mask.jpg");
    expect_mask(cohort, "/b.jpg", "/18-2_b-mask.png");
    expect_mask(cohort, "/s1/same.png", "/s1/same_seg.png");
    expect_mask(cohort, "/s2/same.png", "/s2/same_seg.png");
    expect_mask(cohort, "/drawn.svs", "/drawn.xml");
    expect_mask(cohort, "/alone.png", NULL);
    g_assert_false(row_of(cohort, "/alone.png")->labelled);
    /* two images of one stem are one case unless the folder is the case */
    g_assert_cmpstr(row_of(cohort, "/s1/same.png")->case_id, ==, "same");
    wsi_cohort_destroy(cohort);
    options.case_rule = "folder";
    cohort = wsi_cohort_scan_pairs(images, masks, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(row_of(cohort, "/s1/same.png")->case_id, ==, "s1");
    wsi_cohort_destroy(cohort);
    remove_tree(root);
}

static void test_pairs_in_one_folder(void)
{
    static const char *const files[] = {"P1_1.png", "P1_1.gt.png", "P1_2.png", "P1_2.gt.png",
                                        "P2_1.png", "P2_1.gt.png", NULL};
    GError *error = NULL;
    g_autofree char *root = make_tree("one", files);
    wsi_cohort_split_options options;
    wsi_cohort_split_options_init(&options);
    options.mask_suffix = ".gt";
    options.case_rule = "^([^_]+)_";
    wsi_cohort *cohort = wsi_cohort_scan_pairs(root, NULL, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(cohort->rows->len, ==, 3);
    expect_mask(cohort, "/P1_2.png", "/P1_2.gt.png");
    g_assert_cmpstr(row_of(cohort, "/P1_2.png")->case_id, ==, "P1");
    g_assert_cmpint(row_of(cohort, "/P1_1.png")->split, ==, row_of(cohort, "/P1_2.png")->split);
    wsi_cohort_destroy(cohort);
    remove_tree(root);
}

static void test_slides(void)
{
    static const char *const files[] = {"TCGA-CR-7395-01A-01-TS1.svs",
                                        "TCGA-CR-7395-01Z-00-DX1.svs",
                                        "TCGA-CR-73950-01Z.svs",
                                        "sub/x.mrxs",
                                        "sub/x/Data0001.dat",
                                        "thumb.jpg",
                                        "TCGA-CR-7395-01A-01-TS1.geojson",
                                        NULL};
    GError *error = NULL;
    g_autofree char *root = make_tree("slides", files);
    wsi_cohort_split_options options;
    wsi_cohort_split_options_init(&options);
    wsi_cohort *cohort = wsi_cohort_scan_slides(root, NULL, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(cohort->rows->len, ==, 4);
    expect_mask(cohort, "TS1.svs", "TS1.geojson");
    expect_mask(cohort, "DX1.svs", NULL);
    g_assert_cmpstr(row_of(cohort, "TS1.svs")->case_id, ==, "TCGA-CR-7395");
    g_assert_cmpstr(row_of(cohort, "DX1.svs")->case_id, ==, "TCGA-CR-7395");
    g_assert_cmpstr(row_of(cohort, "73950-01Z.svs")->case_id, ==, "TCGA-CR-73950-01Z");
    wsi_cohort_destroy(cohort);
    remove_tree(root);
}

static void expect_scan_error(const char *const *files, const wsi_cohort_split_options *options,
                              int code, const char *a, const char *b)
{
    GError *error = NULL;
    g_autofree char *root = make_tree("bad", files);
    g_assert_null(wsi_cohort_scan_pairs(root, NULL, options, &error));
    expect_error(error, code, a, b, NULL);
    remove_tree(root);
}

static void test_pairs_refused(void)
{
    static const char *const two[] = {"a.png", "a_mask.png", "a_seg.png", NULL};
    static const char *const shared[] = {"x/a.png", "y/a.png", "m/a_mask.png", NULL};
    static const char *const none[] = {"a.txt", NULL};
    static const char *const one[] = {"a.png", "a_mask.png", "b.png", NULL};
    wsi_cohort_split_options options;
    wsi_cohort_split_options_init(&options);
    expect_scan_error(two, &options, QS_ERROR_MISMATCH, "a_mask.png", "a_seg.png");
    expect_scan_error(shared, &options, QS_ERROR_MISMATCH, "m/a_mask.png", "two images");
    expect_scan_error(none, &options, QS_ERROR_FORMAT, "bad", "no slide or image");
    options.labelled_cases = 5;
    options.val_share = options.test_share = 0;
    expect_scan_error(one, &options, QS_ERROR_ARG, "5 labelled cases", "only 1");
    options.labelled_cases = 0;
    options.case_rule = "^(x)";
    expect_scan_error(one, &options, QS_ERROR_FORMAT, "a.png", "no case");
    options.case_rule = "^x";
    expect_scan_error(one, &options, QS_ERROR_ARG, "--case '^x'", "one group");
    options.case_rule = "(";
    expect_scan_error(one, &options, QS_ERROR_ARG, "--case '('", "group");
}

/* ---- splits ---- */

static void touch_once(const char *path)
{
    FILE *file = fopen(path, "a");
    g_assert_nonnull(file);
    fclose(file);
}

/* n cases of one image each, with masks. */
static wsi_cohort *split_of(const char *root, int n, const wsi_cohort_split_options *options)
{
    GError *error = NULL;
    g_mkdir_with_parents(root, 0777);
    for (int i = 0; i < n; i++) {
        g_autofree char *image = g_strdup_printf("%s/case%03d.png", root, i);
        g_autofree char *mask = g_strdup_printf("%s/case%03d_mask.png", root, i);
        touch_once(image);
        touch_once(mask);
    }
    wsi_cohort *cohort = wsi_cohort_scan_pairs(root, NULL, options, &error);
    g_assert_no_error(error);
    return cohort;
}

static int count_labelled(const wsi_cohort *cohort)
{
    int n = 0;
    for (guint i = 0; i < cohort->rows->len; i++)
        n += wsi_cohort_get(cohort, i)->labelled &&
             wsi_cohort_get(cohort, i)->split == WSI_SPLIT_TRAIN;
    return n;
}

/* Seeded; a case more moves few others; 5 % labelled lies within 10 %, and that within 12 cases. */
static void test_split_is_stable(void)
{
    g_autofree char *root = temp_path("stable");
    wsi_cohort_split_options options;
    wsi_cohort_split_options_init(&options);
    options.labelled_share = 0.05;
    wsi_cohort *few = split_of(root, 100, &options), *again = split_of(root, 100, &options);
    options.labelled_share = 0.1;
    wsi_cohort *more = split_of(root, 100, &options);
    options.labelled_cases = 12;
    wsi_cohort *twelve = split_of(root, 100, &options);
    options.seed = 2;
    wsi_cohort *other = split_of(root, 100, &options);
    g_assert_cmpint(count_labelled(few), ==, 3); /* 5 % of 70 are 3.5 */
    g_assert_cmpint(count_labelled(more), ==, 7);
    g_assert_cmpint(count_labelled(twelve), ==, 12);
    options.seed = 1;
    wsi_cohort *grown = split_of(root, 101, &options);
    int n_moved = 0, n_other = 0;
    for (guint i = 0; i < 100; i++) {
        const wsi_cohort_row *row = wsi_cohort_get(few, i);
        g_assert_cmpint(row->split, ==, wsi_cohort_get(again, i)->split);
        g_assert_cmpint(row->labelled, ==, wsi_cohort_get(again, i)->labelled);
        g_assert_true(!row->labelled || wsi_cohort_get(more, i)->labelled);
        g_assert_true(!wsi_cohort_get(more, i)->labelled || wsi_cohort_get(twelve, i)->labelled);
        n_moved += row->split != wsi_cohort_get(grown, i)->split;
        n_other += row->split != wsi_cohort_get(other, i)->split;
    }
    g_assert_cmpint(n_moved, <=, 2);
    g_assert_cmpint(n_other, >, 10);
    wsi_cohort *const all[] = {few, again, more, twelve, other, grown};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        wsi_cohort_destroy(all[i]);
    remove_tree(root);
}

/* ---- the whole check ---- */

static int count_findings(const GArray *findings, wsi_cohort_finding_kind kind, const char *a,
                          const char *b)
{
    int n = 0;
    for (guint i = 0; i < findings->len; i++) {
        const wsi_cohort_finding *f = &g_array_index(findings, wsi_cohort_finding, i);
        n += f->kind == kind && strstr(f->text, a) && strstr(f->text, b);
    }
    return n;
}

static void test_check(void)
{
    static const char *const files[] = {"a.svs", "b.svs", "d/a.svs", NULL};
    GError *error = NULL;
    g_autofree char *root = make_tree("check", files), *csv = in_tree(root, "c.csv");
    g_autofree char *copy = in_tree(root, "copy.svs"), *twin = in_tree(root, "twin.svs");
    write_file(copy, "a.svs", 5);
    write_file(twin, "a.svs", 5);
    static const char text[] = HEADER "a.svs,,P1,train,0,\n"
                                      "b.svs,,P1,test,0,\n"
                                      "./b.svs,,P1,test,0,\n"
                                      "copy.svs,,P2,test,0,\n"
                                      "twin.svs,,P3,train,0,\n"
                                      "d/a.svs,gone.png,P4,train,1,\n";
    write_file(csv, text, strlen(text));
    wsi_cohort *cohort = wsi_cohort_read_unguarded(csv, &error);
    g_assert_no_error(error);
    GArray *f = wsi_cohort_check(cohort, true, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(count_findings(f, WSI_COHORT_CASE_LEAK, "c.csv:3", "c.csv:2"), ==, 1);
    g_assert_cmpint(count_findings(f, WSI_COHORT_SLIDE_TWICE, "c.csv:4", "c.csv:3"), ==, 1);
    g_assert_cmpint(
        count_findings(f, WSI_COHORT_CONTENT_LEAK, "copy.svs' (test)", "a.svs' (train)"), ==, 1);
    g_assert_cmpint(count_findings(f, WSI_COHORT_COPY, "twin.svs' (train)", "a.svs' (train)"), ==,
                    1);
    g_assert_cmpint(count_findings(f, WSI_COHORT_MISSING, "c.csv:7", "gone.png"), ==, 1);
    g_assert_cmpint(count_findings(f, WSI_COHORT_SAME_NAME, "c.csv:7", "a~2"), ==, 1);
    g_assert_cmpuint(f->len, ==, 7); /* and ./b.svs has the base name of b.svs */
    g_array_unref(f);
    f = wsi_cohort_check(cohort, false, NULL, &error);
    g_assert_cmpuint(f->len, ==, 5);
    g_array_unref(f);
    wsi_cohort_destroy(cohort);
    remove_tree(root);
}

/* Two MIRAX slides may have one preview: it is their Slidedat.ini that tells them apart. */
static void test_check_mirax(void)
{
    static const char *const files[] = {
        "a.mrxs", "b.mrxs", "c.mrxs", "a/Slidedat.ini", "b/Slidedat.ini", "c/Slidedat.ini", NULL};
    GError *error = NULL;
    g_autofree char *root = make_tree("mirax", files), *csv = in_tree(root, "c.csv");
    for (int i = 0; i < 3; i++) {
        g_autofree char *preview = in_tree(root, files[i]), *ini = in_tree(root, files[3 + i]);
        write_file(preview, "preview", 7);
        write_file(ini, i == 1 ? "id 2" : "id 1", 4);
    }
    static const char text[] =
        HEADER "a.mrxs,,P1,train,0,\nb.mrxs,,P2,test,0,\nc.mrxs,,P3,test,0,\n";
    write_file(csv, text, strlen(text));
    wsi_cohort *cohort = wsi_cohort_read_unguarded(csv, &error);
    GArray *f = wsi_cohort_check(cohort, true, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(f->len, ==, 1);
    g_assert_cmpint(count_findings(f, WSI_COHORT_CONTENT_LEAK, "c.mrxs' (test)", "a.mrxs' (train)"),
                    ==, 1);
    g_array_unref(f);
    wsi_cohort_destroy(cohort);
    remove_tree(root);
}

/* The mask of an image may have the prefix that the image lacks, and the other way round. */
static void test_digestpath_prefixes(void)
{
    static const char *const files[] = {"18-1_2018-01-01 10_00_00-lv1-1-2-3-4.jpg",
                                        "2018-01-01 10_00_00-lv1-1-2-3-4_mask.jpg",
                                        "2018-01-02 10_00_00-lv1-1-2-3-4.jpg",
                                        "18-2_2018-01-02 10_00_00-lv1-1-2-3-4_mask.jpg",
                                        "18-3_2018-01-03 10_00_00-lv1-1-2-3-4.jpg",
                                        "18-4_2018-01-03 10_00_00-lv1-1-2-3-4_mask.jpg",
                                        NULL};
    GError *error = NULL;
    g_autofree char *root = make_tree("prefixes", files);
    wsi_cohort_split_options options;
    wsi_cohort_split_options_init(&options);
    wsi_cohort *cohort = wsi_cohort_scan_digestpath(root, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(cohort->rows->len, ==, 3);
    expect_mask(cohort, files[0], files[1]);
    expect_mask(cohort, files[2], files[3]);
    expect_mask(cohort, files[4], NULL); /* another case's */
    g_assert_cmpstr(row_of(cohort, files[2])->case_id, ==, "18-2");
    wsi_cohort_destroy(cohort);
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
    g_test_add_func("/cohort/digestpath-prefixes", test_digestpath_prefixes);
    g_test_add_func("/cohort/pairs", test_pairs);
    g_test_add_func("/cohort/pairs-in-one-folder", test_pairs_in_one_folder);
    g_test_add_func("/cohort/slides", test_slides);
    g_test_add_func("/cohort/pairs-refused", test_pairs_refused);
    g_test_add_func("/cohort/split-is-stable", test_split_is_stable);
    g_test_add_func("/cohort/check", test_check);
    g_test_add_func("/cohort/check-mirax", test_check_mirax);
    int status = g_test_run();
    temp_clean();
    return status;
}
