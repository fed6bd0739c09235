/* Presets: options set together under a name. A preset is applied first, so that options given
 * beside it count; what a run writes down is the options that came out, not the name. */
#ifndef QS_TRAIN_PRESET_H
#define QS_TRAIN_PRESET_H

#include "train/plan/options.h"

typedef struct {
    const char *name, *summary;
    const char *const *settings; /* option, value, …, NULL: as tr_options_set takes them */
} tr_preset;

/* Ends with name NULL. */
extern const tr_preset tr_presets[];
/* QS_ERROR_ARG naming those that exist. */
bool tr_options_preset(tr_options *options, const char *name, GError **error);

#endif
