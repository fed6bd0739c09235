/* The whole way: a slide through the program into a store, read back and compared with OpenSlide
 * byte for byte; resume, failed slides and exit statuses on the way. */
#include "tests/wsi/helpers.h"
#include "tests/wsi/make_tiff.h"
#include "db/store.h"

#include <openslide.h>

#include <sys/wait.h>

static const char *program; /* build folder's quadslide */

/* Runs `quadslide tile …` (NULL-terminated), returns its exit status; stderr into *text when asked.
 */
static int tile(char **text, ...)
{
    GPtrArray *args = g_ptr_array_new();
    g_ptr_array_add(args, (gpointer)(uintptr_t)program);
    g_ptr_array_add(args, (gpointer)(uintptr_t) "tile");
    va_list list;
    va_start(list, text);
    for (char *arg; (arg = va_arg(list, char *));)
        g_ptr_array_add(args, arg);
    va_end(list);
    g_ptr_array_add(args, NULL);
    int status = -1;
    char *out = NULL, *err = NULL;
    GError *error = NULL;
    g_spawn_sync(NULL, (char **)args->pdata, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, &err, &status,
                 &error);
    g_assert_no_error(error);
    g_ptr_array_unref(args);
    g_test_message("%s%s", out, err);
    g_free(out);
    if (text)
        *text = g_steal_pointer(&err);
    g_free(err);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
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

/* Every kept patch of the store's only slide against OpenSlide at the coordinates in its row. */
static int64_t compare(const char *dir, const char *slide)
{
    GError *error = NULL;
    db_store *store = db_store_open(dir, true, &error);
    g_assert_no_error(error);
    GArray *patches = db_patch_list(store, 0, true, &error);
    g_assert_no_error(error);
    int patch = db_store_get_config(store)->patch_px;
    openslide_t *peer = openslide_open(slide);
    g_assert_nonnull(peer);
    size_t n = (size_t)patch * (size_t)patch;
    uint32_t *argb = g_new(uint32_t, n);
    uint8_t *rgb = g_malloc(n * 3);
    for (guint i = 0; i < patches->len; i++) {
        const db_patch *p = &g_array_index(patches, db_patch, i);
        g_assert_true(db_patch_read(store, p, rgb, NULL, &error));
        openslide_read_region(peer, argb, p->x_l0, p->y_l0, 0, patch, patch);
        for (size_t k = 0; k < n; k++) {
            if ((int)(k % (size_t)patch) >= p->valid_w || (int)(k / (size_t)patch) >= p->valid_h)
                continue;
            uint32_t got = 0xff000000u | (uint32_t)rgb[3 * k] << 16 |
                           (uint32_t)rgb[3 * k + 1] << 8 | rgb[3 * k + 2];
            if (got != argb[k])
                g_error("%s patch %u pixel %zu: %08x, OpenSlide says %08x", slide, i, k, got,
                        argb[k]);
        }
    }
    int64_t count = patches->len;
    g_array_unref(patches);
    openslide_close(peer);
    db_store_close(store);
    g_free(argb);
    g_free(rgb);
    return count;
}

static void test_made(void)
{
    g_autofree char *slide = temp_path("a [slide].tif"), *store = temp_path("store");
    make_tiff_options o = {.w = 700, .h = 530, .pixel = make_noise};
    make_tiff(slide, &o);
    g_assert_cmpint(
        tile(NULL, "--store", store, "--level0", "--no-tissue", "--patch", "128", slide, NULL), ==,
        0);
    g_assert_cmpint(compare(store, slide), ==, 30);
    /* the same again: nothing to do, nothing changed */
    g_assert_cmpint(
        tile(NULL, "--store", store, "--level0", "--no-tissue", "--patch", "128", slide, NULL), ==,
        0);
    g_assert_cmpint(compare(store, slide), ==, 30);
    /* other rules: refused */
    char *text;
    g_assert_cmpint(tile(&text, "--store", store, "--level0", "--patch", "128", slide, NULL), ==,
                    1);
    g_free(text);
    remove_tree(store);
}

static void test_real(void)
{
    g_autofree char *slide = real_data("slides/CMU-1-Small-Region.svs"),
                    *store = temp_path("real-store");
    if (!slide)
        return;
    g_assert_cmpint(tile(NULL, "--store", store, "--level0", slide, NULL), ==, 0);
    g_assert_cmpint(compare(store, slide), >=, 20);
    remove_tree(store);
}

/* All that a store says of its patches, and their blobs' checksums, as one text. */
static char *content(const char *dir)
{
    GError *error = NULL;
    db_store *store = db_store_open(dir, true, &error);
    g_assert_no_error(error);
    GArray *patches = db_patch_list(store, 0, false, &error);
    g_assert_no_error(error);
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < patches->len; i++) {
        const db_patch *p = &g_array_index(patches, db_patch, i);
        g_string_append_printf(text, "%d %d,%d %s %a %a %a %d %d %016" G_GINT64_MODIFIER "x\n",
                               (int)p->cell, (int)p->x_l0, (int)p->y_l0, p->reason,
                               (double)p->tissue, (double)p->saturation, (double)p->blur, p->format,
                               (int)p->n_bytes, p->checksum);
    }
    g_array_unref(patches);
    db_store_close(store);
    return g_string_free(text, FALSE);
}

/* Neither threads nor the reader decide what is stored. */
static void test_same_content(void)
{
    static const char *const ways[][2] = {
        {"1", "direct"}, {"2", "direct"}, {"3", "openslide"}, {"2", "auto"}};
    g_autofree char *slide = temp_path("ways.tif"), *first = NULL;
    make_tiff_options o = {
        .w = 900, .h = 700, .n_levels = 2, .compression = COMPRESSION_JPEG, .pixel = make_smooth};
    make_tiff(slide, &o);
    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autofree char *store = temp_path("ways");
        g_assert_cmpint(tile(NULL, "--store", store, "--level0", "--patch", "96", "--stride", "80",
                             "--threads", ways[i][0], "--reader", ways[i][1], slide, NULL),
                        ==, 0);
        g_autofree char *got = content(store);
        if (first)
            g_assert_cmpstr(got, ==, first);
        else
            first = g_steal_pointer(&got);
        remove_tree(store);
    }
}

/* Codec copy: where a patch is a tile the store holds its JPEG, which shows what OpenSlide shows;
 * border patches are encoded anew. */
static void test_copy(void)
{
    g_autofree char *slide = temp_path("copy.tif"), *store = temp_path("copied");
    make_tiff_options o = {
        .w = 640, .h = 512, .tile = 128, .compression = COMPRESSION_JPEG, .pixel = make_smooth};
    make_tiff(slide, &o);
    g_assert_cmpint(tile(NULL, "--store", store, "--level0", "--no-tissue", "--patch", "128",
                         "--codec", "copy", slide, NULL),
                    ==, 0);
    g_assert_cmpint(compare(store, slide), ==, 20);
    remove_tree(store);
    o.w = 700; /* the last column is no tile: 4 of 24 */
    make_tiff(slide, &o);
    g_assert_cmpint(tile(NULL, "--store", store, "--level0", "--no-tissue", "--patch", "128",
                         "--codec", "copy", slide, NULL),
                    ==, 0);
    GError *error = NULL;
    db_store *opened = db_store_open(store, true, &error);
    g_assert_no_error(error);
    GArray *patches = db_patch_list(opened, 0, true, &error);
    int n_copied = 0;
    g_autofree uint8_t *rgb = g_malloc(128 * 128 * 3);
    for (guint i = 0; i < patches->len; i++) {
        const db_patch *p = &g_array_index(patches, db_patch, i);
        n_copied += p->format == 4;
        g_assert_true(db_patch_read(opened, p, rgb, NULL, &error));
        g_assert_cmpfloat(fabs((double)p->saturation), <=, 1);
    }
    g_assert_cmpint(patches->len, ==, 24);
    g_assert_cmpint(n_copied, ==, 20);
    g_array_unref(patches);
    db_store_close(opened);
    remove_tree(store);
}

static void test_exit_status(void)
{
    g_autofree char *good = temp_path("good.tif"), *bad = temp_path("bad.svs"),
                    *store = temp_path("mixed");
    make_tiff_options o = {.w = 300, .h = 300, .pixel = make_noise};
    make_tiff(good, &o);
    write_file(bad, "not a slide\n", 12);
    char *text;
    g_assert_cmpint(tile(&text, "--store", store, "--level0", "--no-tissue", good, bad, NULL), ==,
                    3);
    g_assert_nonnull(strstr(text, "text file"));
    g_free(text);
    g_assert_cmpint(tile(NULL, "--store", store, "--level0", "--no-tissue", bad, NULL), ==, 1);
    g_assert_cmpint(tile(NULL, "--store", store, good, NULL), ==,
                    2); /* neither --mpp nor --level0 */
    GError *error = NULL;
    db_store *opened = db_store_open(store, true, &error);
    g_assert_no_error(error);
    GArray *slides = db_slide_list(opened, &error);
    int n_failed = 0;
    for (guint i = 0; i < slides->len; i++) {
        const db_slide *s = &g_array_index(slides, db_slide, i);
        n_failed += s->state == DB_SLIDE_FAILED && strstr(s->error, "text file");
    }
    g_assert_cmpint(n_failed, ==, 1);
    g_array_unref(slides);
    db_store_close(opened);
    remove_tree(store);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    const char *build = g_getenv("QS_BINARY_DIR");
    g_autofree char *path = g_build_filename(build ? build : "build/release", "quadslide", NULL);
    program = path;
    g_test_add_func("/stored/made", test_made);
    g_test_add_func("/stored/real", test_real);
    g_test_add_func("/stored/exit-status", test_exit_status);
    g_test_add_func("/stored/same-content", test_same_content);
    g_test_add_func("/stored/copy", test_copy);
    int rc = g_test_run();
    temp_clean();
    return rc;
}
