/* A batch as the loss saw it, as one PNG: docs/training.md has the legend. */
#ifndef QS_JOBS_TRAIN_SNAPSHOT_H
#define QS_JOBS_TRAIN_SNAPSHOT_H

#include "train/run/trainer.h"

/* One column an image, labelled ones first, at most `max_images` of each half; rows: image, label,
 * prediction, reference, regions (the last two where the loss has them). Written to
 * DIR/<iteration, 8 digits>.png. */
bool job_train_snapshot_write(const tr_snapshot *snapshot, const qs_classes *classes,
                              int max_images, const char *dir, GError **error);

#endif
