/* Where the trainer takes its patches from: a table and a reader. cli connects it to the store. */
#ifndef QS_TRAIN_SOURCE_H
#define QS_TRAIN_SOURCE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t slide_id;
    bool labelled;        /* may the labelled losses see its label? */
    bool has_label;       /* is there one at all (FullSup and region accuracy may see it) */
    int valid_w, valid_h; /* pixels that lie on the slide, the rest is padding; 0: all of them */
} tr_item;

typedef struct {
    void *user;
    int patch_px;
    size_t n_items;       /* training patches only */
    const tr_item *items; /* borrowed */
    /* rgb (patch,patch,3) u8, label (patch,patch) u8 (255 = ignore or no label) or NULL when not
     * wanted. Called from several threads. */
    bool (*read)(void *user, size_t item, uint8_t *rgb, uint8_t *label, GError **error);
} tr_source;

#endif
