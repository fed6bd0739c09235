/* What feeds the passes of a device: batches are made there, from patches as bytes, so the host
 * sends a few hundred bytes an image in a step (the draws) and, where the data set does not fit,
 * the patches, a quarter of what finished images would be.
 *
 *   all patches lie there:  draws ─────────────► weak → strong → inputs of forwards, planes of
 * losses a ring of batches:      draws, patches ────► the same
 *
 * The results are those of the loader's threads: to the bit in images and labels, to the last
 * places in the noise (kernels/engine/augment_pixel.h). One thread drives it; a step allocates nothing. */
#ifndef QS_TRAIN_FEED_H
#define QS_TRAIN_FEED_H

#include "train/data/loader.h"
#include "train/data/mix.h"

typedef struct tr_feed tr_feed;

/* Can the engine make batches? */
bool tr_feed_can(const kn_engine *engine);
/* Bytes where the engine computes: of all, and of the whole data set if it lies there. */
int64_t tr_feed_memory(const ssl_plan *plan, int patch_px);
int64_t tr_feed_data_bytes(const tr_source *source);

/* plan, options, source and spec are borrowed. resident: all patches will lie there (tr_feed_load
 * brings them). */
tr_feed *tr_feed_create(kn_engine *engine, const tr_options *options, const ssl_plan *plan,
                        const tr_source *source, const model_spec *spec, bool resident,
                        GError **error);
void tr_feed_destroy(tr_feed *feed); /* NULL accepted */
/* The form in which the loader has to hand batches over. */
tr_form tr_feed_form(const tr_feed *feed);
/* Reads all patches, by the engine's team, and brings them; nothing to do for a ring. progress may
 * be NULL. QS_ERROR_STOPPED when a stop was requested; the reader's errors. */
bool tr_feed_load(tr_feed *feed, void (*progress)(void *user, size_t done, size_t total),
                  void *user, GError **error);

/* Makes the batch of step `it` on the device. The one returned is borrowed until the next; its
 * planes are the device's. */
const tr_batch *tr_feed_batch(tr_feed *feed, const tr_batch *raw, int64_t it);
/* The images of forward f into its input; noise as tr_input_fill's. */
void tr_feed_input(tr_feed *feed, int f, uint64_t stream, const kn_tensor *dst);
/* What a loss may see of forward f's mixed images; of the batch (kn_ops.images_whole). */
void tr_feed_mixed(tr_feed *feed, int f, const kn_planes *planes);
void tr_feed_whole(tr_feed *feed, uint8_t *both, uint8_t *held);
/* All of the step has been asked of the engine. Waits for the step before, whose batch the loader
 * may then overwrite. */
void tr_feed_end(tr_feed *feed);
/* rgb (n,h,w,3) of the last batch, brought to the host. Borrowed until the next call. */
const uint8_t *tr_feed_picture(tr_feed *feed);

#endif
