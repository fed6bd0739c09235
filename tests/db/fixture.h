/* What the store's tests share: temporary stores whose every pixel, label and number follows from
 * (slide, cell), so that a reader can tell what must be there without having seen it written. */
#ifndef QS_TESTS_DB_FIXTURE_H
#define QS_TESTS_DB_FIXTURE_H

#include "base/error.h"
#include "db/store.h"

#include <string.h>

enum { FIX_PX = 16 };

/* A new folder below the temporary one; freed by the caller. fix_fast_dir: in memory where that is
 * possible, for tests that make hundreds of stores or commits. */
char *fix_dir(void);
char *fix_fast_dir(void);
/* Removes the folder and all below it. */
void fix_remove(const char *dir);
/* Patches of FIX_PX, stride FIX_PX, 0.5 µm, three classes. */
void fix_config(db_store_config *config, db_codec codec);
db_store *fix_create(const char *dir, db_codec codec);

/* A slide row of n_cells cells with that name, pending, put into the store. Returns its id. */
int64_t fix_put_slide(db_store *store, const char *name, int64_t n_cells);
void fix_slide(db_slide *slide, const char *name,
               int64_t n_cells); /* the row alone; db_slide_clear it */

/* Cell c is kept unless c % 4 == 3, and has a label unless c % 3 == 2. */
bool fix_kept(int64_t cell);
bool fix_has_label(int64_t cell);
void fix_rgb(int64_t slide_id, int64_t cell, int px, uint8_t *rgb);
void fix_label(int64_t slide_id, int64_t cell, int px, uint8_t *label);
/* Adds cells first … end-1 and commits, or finishes the slide. Asserts that all goes well and that
 * the slide was at `first`. */
void fix_fill(db_store *store, int64_t slide_id, int64_t first, int64_t end, bool finish);
/* Encodes and adds one cell. */
bool fix_add(db_store *store, db_writer *writer, int64_t slide_id, int64_t cell, GError **error);

/* NULL when cells 0 … n_cells-1 of the slide, and at least those, are stored exactly and the store
 * checks clean; else what is wrong, owned. *n_found gets the number of rows (may be NULL). */
char *fix_verify(db_store *store, int64_t slide_id, int64_t n_cells, int64_t *n_found);
/* Problems of db_store_check joined by newlines, "" when sound; owned. */
char *fix_check(db_store *store);

#define fix_assert_fails(error, wanted_code, part)                                                 \
    do {                                                                                           \
        g_assert_error(error, QS_ERROR, (int)(wanted_code));                                       \
        if (!strstr((error)->message, part))                                                       \
            g_error("\"%s\" does not contain \"%s\"", (error)->message, part);                     \
        g_clear_error(&(error));                                                                   \
    } while (0)

#endif
