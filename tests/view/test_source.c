/* What a partly reviewed slide gives to training: a patch whose pixels are all ignored has a label
 * file and no label. It never counts as labelled, nor as one whose truth is known. */
#include "tests/db/fixture.h"

#include "jobs/train/source.h"

/* Cell 0: half a class, half ignored. 1: all ignored. 2: no label. 3: all background. */
static void add(db_store *store, db_writer *writer, int64_t slide_id, int64_t cell)
{
    uint8_t rgb[FIX_PX * FIX_PX * 3], label[FIX_PX * FIX_PX];
    db_blob image = {0}, mask = {0};
    db_patch patch = {.cell = cell,
                      .x_l0 = cell * 2 * FIX_PX,
                      .w_l0 = 2 * FIX_PX,
                      .h_l0 = 2 * FIX_PX,
                      .valid_w = FIX_PX,
                      .valid_h = FIX_PX,
                      .level = 1,
                      .mpp = 0.5,
                      .kept = true,
                      .tissue = 1,
                      .has_label = cell != 2};
    GError *error = NULL;
    fix_rgb(slide_id, cell, FIX_PX, rgb);
    memset(label, cell == 3 ? 0 : QS_CLASS_IGNORE, sizeof label);
    if (cell == 0)
        memset(label, 1, sizeof label / 2);
    for (size_t i = 0; i < sizeof label && patch.has_label; i++) {
        patch.ignore_px += label[i] == QS_CLASS_IGNORE;
        if (label[i] < 3)
            patch.class_px[label[i]]++;
    }
    bool ok = db_encode_image(db_store_get_config(store), rgb, FIX_PX, &image, &error) &&
              db_encode_label(label, FIX_PX, &mask, &error) &&
              db_writer_add(writer, &patch, &image, patch.has_label ? &mask : NULL, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    db_blob_clear(&image);
    db_blob_clear(&mask);
}

static void test_ignored_patches(void)
{
    static const bool labelled[] = {true, false, false, true};
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    int64_t next, id = fix_put_slide(store, "partly", 4);
    db_writer *writer = db_writer_open(store, id, &next, &error);
    g_assert_no_error(error);
    for (int64_t cell = 0; cell < 4; cell++)
        add(store, writer, id, cell);
    g_assert_true(db_writer_commit(writer, &error));
    db_writer_close(writer);
    job_train_source source;
    const job_label_budget budget = {0};
    g_assert_true(job_train_source_open(&source, store, &budget, NULL, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(source.source.n_items, ==, 4);
    for (size_t i = 0; i < 4; i++) {
        g_assert_true(source.source.items[i].labelled == labelled[i]);
        g_assert_true(source.source.items[i].has_label == labelled[i]);
    }
    job_train_source_close(&source);
    db_store_close(store);
    fix_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/view/ignored_patches", test_ignored_patches);
    return g_test_run();
}
