#include "tests/db/fixture.h"

#include "base/philox.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

char *fix_dir(void)
{
    GError *error = NULL;
    char *dir = g_dir_make_tmp("qs-db-XXXXXX", &error);
    g_assert_no_error(error);
    return dir;
}

char *fix_fast_dir(void)
{
    if (g_access("/dev/shm", W_OK) != 0)
        return fix_dir();
    char *dir = g_strdup("/dev/shm/qs-db-XXXXXX");
    g_assert_nonnull(g_mkdtemp(dir));
    return dir;
}

void fix_remove(const char *dir)
{
    GDir *open = g_dir_open(dir, 0, NULL);
    const char *name;
    while (open && (name = g_dir_read_name(open))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        if (g_file_test(path, G_FILE_TEST_IS_DIR) && !g_file_test(path, G_FILE_TEST_IS_SYMLINK))
            fix_remove(path);
        else
            g_unlink(path);
    }
    if (open)
        g_dir_close(open);
    g_rmdir(dir);
}

void fix_config(db_store_config *config, db_codec codec)
{
    *config = (db_store_config){
        .patch_px = FIX_PX, .stride_px = FIX_PX, .mpp = 0.5, .codec = codec, .jpeg_quality = 90};
    qs_classes_init_n(&config->classes, 3);
    config->grid_rules = g_strdup("tissue_min=0.25");
}

db_store *fix_create(const char *dir, db_codec codec)
{
    GError *error = NULL;
    db_store_config config;
    fix_config(&config, codec);
    db_store *store = db_store_create(dir, &config, &error);
    g_assert_no_error(error);
    g_assert_nonnull(store);
    db_store_config_clear(&config);
    return store;
}

void fix_slide(db_slide *slide, const char *name, int64_t n_cells)
{
    *slide = (db_slide){.name = g_strdup(name),
                        .path = g_strdup_printf("/slides/%s.svs", name),
                        .case_id = g_strdup_printf("case of %s", name),
                        .content_hash = g_strdup("0123456789abcdef0123456789abcdef"),
                        .driver = g_strdup("test"),
                        .lane = g_strdup("none"),
                        .mpp_origin = g_strdup("metadata"),
                        .split = DB_SPLIT_TRAIN,
                        .labelled = true,
                        .w_l0 = 4 * FIX_PX * 4,
                        .h_l0 = 4 * FIX_PX * 4,
                        .mpp = 0.25,
                        .level = 1,
                        .downsample = 2.0,
                        .n_cells = n_cells,
                        .tissue_share = 0.5};
}

int64_t fix_put_slide(db_store *store, const char *name, int64_t n_cells)
{
    GError *error = NULL;
    db_slide slide;
    fix_slide(&slide, name, n_cells);
    bool ok = db_slide_put(store, &slide, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    int64_t id = slide.id;
    db_slide_clear(&slide);
    return id;
}

bool fix_kept(int64_t cell)
{
    return cell % 4 != 3;
}

bool fix_has_label(int64_t cell)
{
    return cell % 3 != 2;
}

void fix_rgb(int64_t slide_id, int64_t cell, int px, uint8_t *rgb)
{
    for (int i = 0; i < px * px; i++) {
        qs_philox4 r = qs_philox((uint64_t)slide_id, (uint64_t)i, (uint64_t)cell);
        rgb[3 * i] = (uint8_t)(180 + (r.v[0] & 31));
        rgb[3 * i + 1] = (uint8_t)(100 + (r.v[1] & 63));
        rgb[3 * i + 2] = (uint8_t)(160 + (r.v[2] & 31));
    }
}

void fix_label(int64_t slide_id, int64_t cell, int px, uint8_t *label)
{
    for (int i = 0; i < px * px; i++)
        label[i] = (uint8_t)((slide_id + cell + i / (px * 3)) % 4 == 3
                                 ? QS_CLASS_IGNORE
                                 : (slide_id + cell + i / (px * 3)) % 4);
}

static void fix_patch(int64_t slide_id, int64_t cell, const uint8_t *label, db_patch *p)
{
    *p = (db_patch){.cell = cell,
                    .x_l0 = cell * 2 * FIX_PX,
                    .y_l0 = slide_id * 1000,
                    .w_l0 = 2 * FIX_PX,
                    .h_l0 = 2 * FIX_PX,
                    .valid_w = FIX_PX,
                    .valid_h = FIX_PX,
                    .level = 1,
                    .mpp = 0.5,
                    .kept = fix_kept(cell),
                    .tissue = (float)cell / 1024.0f,
                    .blur = 3.25f,
                    .has_label = fix_has_label(cell)};
    g_strlcpy(p->reason, p->kept ? "" : "tissue", sizeof p->reason);
    for (int i = 0; p->has_label && i < FIX_PX * FIX_PX; i++) {
        if (label[i] == QS_CLASS_IGNORE)
            p->ignore_px++;
        else
            p->class_px[label[i]]++;
    }
}

bool fix_add(db_store *store, db_writer *writer, int64_t slide_id, int64_t cell, GError **error)
{
    uint8_t rgb[FIX_PX * FIX_PX * 3], label[FIX_PX * FIX_PX];
    db_blob image = {0}, mask = {0};
    db_patch patch;
    fix_rgb(slide_id, cell, FIX_PX, rgb);
    fix_label(slide_id, cell, FIX_PX, label);
    fix_patch(slide_id, cell, label, &patch);
    bool ok = true;
    if (patch.kept)
        ok = db_encode_image(db_store_get_config(store), rgb, FIX_PX, &image, error) &&
             (!patch.has_label || db_encode_label(label, FIX_PX, &mask, error));
    ok = ok && db_writer_add(writer, &patch, patch.kept ? &image : NULL,
                             patch.kept && patch.has_label ? &mask : NULL, error);
    db_blob_clear(&image);
    db_blob_clear(&mask);
    return ok;
}

void fix_fill(db_store *store, int64_t slide_id, int64_t first, int64_t end, bool finish)
{
    GError *error = NULL;
    int64_t next = -1;
    db_writer *writer = db_writer_open(store, slide_id, &next, &error);
    g_assert_no_error(error);
    g_assert_cmpint(next, ==, first);
    bool ok = true;
    for (int64_t cell = first; ok && cell < end; cell++)
        ok = fix_add(store, writer, slide_id, cell, &error);
    if (ok && finish) {
        GArray *slides = db_slide_list(store, NULL);
        for (guint i = 0; i < slides->len; i++) {
            db_slide *slide = &g_array_index(slides, db_slide, i);
            if (slide->id != slide_id)
                continue;
            slide->n_cells = end;
            ok = db_writer_finish(writer, slide, &error);
        }
        g_array_unref(slides);
    } else if (ok) {
        ok = db_writer_commit(writer, &error);
    }
    g_assert_no_error(error);
    g_assert_true(ok);
    db_writer_close(writer);
}

static char *verify_patch(db_store *store, const db_patch *p)
{
    uint8_t rgb[FIX_PX * FIX_PX * 3], label[FIX_PX * FIX_PX], got[FIX_PX * FIX_PX * 3],
        got_label[FIX_PX * FIX_PX];
    db_patch want;
    fix_rgb(p->slide_id, p->cell, FIX_PX, rgb);
    fix_label(p->slide_id, p->cell, FIX_PX, label);
    fix_patch(p->slide_id, p->cell, label, &want);
    if (p->kept != want.kept || strcmp(p->reason, want.reason) != 0 || p->x_l0 != want.x_l0 ||
        p->y_l0 != want.y_l0 || p->has_label != want.has_label || p->ignore_px != want.ignore_px ||
        memcmp(p->class_px, want.class_px, sizeof p->class_px) != 0 ||
        !(p->tissue >= want.tissue && p->tissue <= want.tissue))
        return g_strdup_printf("cell %d: its row is another", (int)p->cell);
    if (!p->kept)
        return NULL;
    GError *error = NULL;
    if (!db_patch_read(store, p, got, got_label, &error)) {
        char *text = g_strdup_printf("cell %d: %s", (int)p->cell, error->message);
        g_error_free(error);
        return text;
    }
    if (!p->has_label)
        memset(label, QS_CLASS_IGNORE, sizeof label);
    bool lossy = db_store_get_config(store)->codec == DB_CODEC_JPEG;
    if ((!lossy && memcmp(rgb, got, sizeof rgb) != 0) ||
        memcmp(label, got_label, sizeof label) != 0)
        return g_strdup_printf("cell %d: its pixels are others", (int)p->cell);
    return NULL;
}

char *fix_check(db_store *store)
{
    GError *error = NULL;
    db_check_report report;
    if (!db_store_check(store, NULL, &report, &error)) {
        g_ptr_array_add(report.problems, g_strdup(error->message));
        g_error_free(error);
    }
    g_ptr_array_add(report.problems, NULL);
    char *text = g_strjoinv("\n", (char **)report.problems->pdata);
    db_check_report_clear(&report);
    return text;
}

char *fix_verify(db_store *store, int64_t slide_id, int64_t n_cells, int64_t *n_found)
{
    char *check = fix_check(store);
    if (*check)
        return check;
    g_free(check);
    GError *error = NULL;
    GArray *patches = db_patch_list(store, slide_id, false, &error);
    if (!patches) {
        char *text = g_strdup(error->message);
        g_error_free(error);
        return text;
    }
    if (n_found)
        *n_found = patches->len;
    char *wrong = NULL;
    if (patches->len < n_cells)
        wrong =
            g_strdup_printf("%u cells are there, %d were committed", patches->len, (int)n_cells);
    for (guint i = 0; !wrong && i < patches->len; i++) {
        const db_patch *p = &g_array_index(patches, db_patch, i);
        wrong = p->cell == i ? verify_patch(store, p) : g_strdup_printf("cell %u has no row", i);
    }
    g_array_unref(patches);
    return wrong;
}
