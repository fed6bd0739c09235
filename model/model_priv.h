/* What the model room's own files share. */
#ifndef QS_MODEL_MODEL_PRIV_H
#define QS_MODEL_MODEL_PRIV_H

#include "model/model.h"
#include "model/safetensors.h"

/* Its presence says that the metadata is ours. */
#define MODEL_VERSION_KEY "quadslide_version"

/* string → string, for st_write. Owned by the caller. */
GHashTable *model_spec_to_metadata(const model_spec *spec);
/* From the metadata, or from the shapes of a file of PyTorch's. */
bool model_spec_from_file(const st_file *file, model_spec *spec, GError **error);

#endif
